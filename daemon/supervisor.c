/* SPDX-License-Identifier: MIT */
#include "daemon/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

#include "daemon/admission/access.h"
#include "daemon/admission/client.h"
#include "daemon/admission/fd_budget.h"
#include "daemon/admission/goodbye.h"
#include "daemon/admission/handshake.h"
#include "daemon/admission/hangup.h"
#include "daemon/admission/identity.h"
#include "daemon/admission/origin.h"
#include "daemon/admission/peer.h"
#include "daemon/admission/relay.h"
#include "daemon/admission/secret.h"
#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/listen/acceptor.h"
#include "daemon/base/address.h"
#include "daemon/listen/listener.h"
#include "daemon/listen/sockets.h"
#include "daemon/notify.h"
#include "daemon/process/groups.h"
#include "daemon/process/interpreter.h"
#include "daemon/process/pool.h"
#include "daemon/process/process.h"
#include "daemon/loader.h"
#include "daemon/status/reply.h"
#include "daemon/status/reporter.h"
#include "daemon/status/status.h"

#define STATUS_MS 1000u /* between two that the service manager is told */

/* After the last process has ended: for what is still being said to peers that read slowly. */
#define END_MS 1500u

/* After a second signal the process ends within this time, whatever goes wrong. */
#define LAST_RESORT_MS 10000u

#define CUT_SHORT "..." /* behind a name that does not fit */

enum state {
    STARTING, /* no zygote has been ready yet */
    SERVING,
    STOPPING,
};

struct supervisor {
    const struct ax_options *options; /* borrowed */
    struct ax_options *reloaded;      /* owned: what `options` is after a reload; or NULL */
    struct ax_options *reloading;     /* owned: what it will be; or NULL */
    struct ax_secret *secret;         /* owned: what TCP peers have to know; or NULL */
    int argc;
    char *const *argv;
    enum state state;
    int status; /* the exit status */
    uint64_t started_at;
    uint64_t calls_done; /* by workers that are gone */
    uv_loop_t loop;
    struct ax_acceptor acceptor;
    struct ax_handshakes handshakes;
    struct ax_clients clients;
    struct ax_hangups hangups;    /* of clients that wait */
    size_t connections_of_source; /* that each source may have */
    struct ax_peer_rules rules;
    struct ax_identity *identity; /* owned; NULL: there is no TLS */
    struct ax_relays relays;
    struct ax_replies replies;
    struct ax_reporter reporter;
    struct ax_loader reload;
    struct ax_groups groups;
    struct ax_pool pool;
    uv_timer_t waiting_timer;  /* for the first client that waits */
    uv_timer_t status_timer;   /* a status is to be told */
    uv_timer_t watchdog_timer; /* the service manager wants signs of life */
    uv_timer_t end_timer;      /* runs from the end of the last process on */
    bool is_hurried;           /* there was a second signal */
    uv_signal_t signals[3];
};

static void begin_stop(struct supervisor *supervisor, int status);

/* ---- what the service manager is told ---- */

static void on_status_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;

    ax_notify_status("Serving; connections: %zu", supervisor->clients.count[AX_CLIENT_SERVED]);
}

static void status_changed(struct supervisor *supervisor)
{
    if (supervisor->state == SERVING && ax_notify_is_wanted() &&
        !uv_is_active((uv_handle_t *)&supervisor->status_timer))
        uv_timer_start(&supervisor->status_timer, on_status_timer, STATUS_MS, 0);
}

/* While it stops there is no zygote to answer, and no reason to end it sooner. */
static void on_watchdog_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;

    if (supervisor->state == STOPPING)
        ax_notify_watchdog();
    else
        ax_pool_ping(&supervisor->pool);
}

static void on_pong(struct ax_pool *pool)
{
    (void)pool;
    ax_notify_watchdog();
}

/* ---- clients on their way to a worker ---- */

static void end_client(struct supervisor *supervisor, struct ax_client *client, const char *reason)
{
    if (client->state == AX_CLIENT_SERVED)
        ax_worker_handle_release(client->worker, client);
    ax_client_move(&supervisor->clients, client, AX_CLIENT_ENDED, reason);
    status_changed(supervisor);
}

static void refuse(struct supervisor *supervisor, struct ax_client *client, const char *reason)
{
    ax_goodbye_refuse(client->fd, client->received, client->received_size, reason);
    end_client(supervisor, client, reason);
}

static void on_waiting_timer(uv_timer_t *timer);

static void watch_waiting(struct supervisor *supervisor)
{
    const struct ax_client *first = supervisor->clients.first[AX_CLIENT_WAITING];
    uint64_t now = uv_now(&supervisor->loop);

    if (first == NULL || first->deadline == UINT64_MAX)
        uv_timer_stop(&supervisor->waiting_timer);
    else
        uv_timer_start(&supervisor->waiting_timer, on_waiting_timer, first->deadline > now ? first->deadline - now : 0,
                       0);
}

/* Those who have just begun to wait are at the end, or, if they wait once more, at the beginning. */
static void watch_for_hangups(struct supervisor *supervisor)
{
    struct ax_clients *all = &supervisor->clients;
    struct ax_client *client;

    for (client = all->last[AX_CLIENT_WAITING]; client != NULL && !client->is_watched; client = client->previous) {
        ax_hangups_add(&supervisor->hangups, client->fd, client->id);
        client->is_watched = true;
    }
    for (client = all->first[AX_CLIENT_WAITING]; client != NULL && !client->is_watched; client = client->next) {
        ax_hangups_add(&supervisor->hangups, client->fd, client->id);
        client->is_watched = true;
    }
}

static void end_hung_up(struct supervisor *supervisor, struct ax_client *client)
{
    end_client(supervisor, client, "The peer hung up before it was served");
}

static void on_hung_up(void *owner, uint64_t id)
{
    struct supervisor *supervisor = owner;
    struct ax_client *client = ax_clients_find(&supervisor->clients, id);

    if (client == NULL || client->state != AX_CLIENT_WAITING || !ax_hangup_has(client->fd))
        return;
    end_hung_up(supervisor, client);
    watch_waiting(supervisor);
    ax_pool_demand(&supervisor->pool, supervisor->clients.count[AX_CLIENT_WAITING]);
}

/* Milliseconds of its handshake; 0: it has no end. One that is over has not been refused yet, and is not to begin anew. */
static uint32_t time_left(const struct ax_client *client, uint64_t now)
{
    if (client->deadline == UINT64_MAX)
        return 0;
    return client->deadline > now ? (uint32_t)(client->deadline - now) : 1;
}

/* Hands over what waits, as far as workers take it. */
static void dispatch(struct supervisor *supervisor)
{
    struct ax_clients *all = &supervisor->clients;
    uint64_t now = uv_now(&supervisor->loop);
    struct ax_client *client;

    while (ax_pool_has_open(&supervisor->pool) && (client = ax_clients_choose(all)) != NULL) {
        struct ax_worker_handle *worker;
        int code;

        if (ax_hangup_has(client->fd)) { /* and it needs no worker */
            end_hung_up(supervisor, client);
            continue;
        }
        worker = ax_pool_give(&supervisor->pool, client, time_left(client, now), &code);
        if (worker == NULL && code == 0)
            break;
        if (worker == NULL) {
            refuse(supervisor, client, strerror(-code));
            continue;
        }
        if (client->is_watched)
            ax_hangups_remove(&supervisor->hangups, client->fd);
        client->worker = worker;
        ax_client_move(all, client, AX_CLIENT_SERVED, NULL);
        status_changed(supervisor);
    }
    watch_waiting(supervisor);
    watch_for_hangups(supervisor);
    ax_pool_demand(&supervisor->pool, all->count[AX_CLIENT_WAITING]);
}

static void on_waiting_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;
    uint64_t now = uv_now(&supervisor->loop);
    struct ax_client *client;

    while ((client = supervisor->clients.first[AX_CLIENT_WAITING]) != NULL && client->deadline <= now)
        refuse(supervisor, client, "No worker was ready in the time that a handshake may take");
    dispatch(supervisor);
}

/* A certificate names no user of this system. */
static int check_certificate(const struct supervisor *supervisor, const struct ax_client *client, char *reason,
                             size_t size)
{
    if (ax_peer_rules_are_set(&supervisor->rules) || supervisor->options->run_as_peer)
        return ax_error_format(reason, size, "Only certain users may connect, and a certificate tells no user");
    if (!client->is_admitted)
        return ax_error_format(reason, size, "None of the names in the certificate may connect");
    return 0;
}

/* Whether a client may be served, once it has said what it is. */
static int check_client(const struct supervisor *supervisor, const struct ax_client *client, char *reason, size_t size)
{
    const struct ax_clients *all = &supervisor->clients;
    size_t open = all->count[AX_CLIENT_WAITING] + all->count[AX_CLIENT_SERVED];

    if (client->has_certificate ? check_certificate(supervisor, client, reason, size) < 0
                                : ax_peer_check(&supervisor->rules, client->fd, reason, size) < 0)
        return -1;
    /* Somebody who asks for the status takes no place, and asks the more when there is none. */
    if (open > supervisor->pool.limit && !ax_status_request_is_begun(client->received, client->received_size))
        return ax_error_format(reason, size, "The server has as many connections as it may have: %zu",
                               supervisor->pool.limit);
    if (client->source->connections > supervisor->connections_of_source &&
        !ax_status_request_is_begun(client->received, client->received_size))
        return ax_error_format(reason, size, "The server has as many connections from the same %s as it may have: %zu",
                               client->source->key.family == AF_UNIX ? "user" : "address",
                               supervisor->connections_of_source);
    return 0;
}

/* ---- the status ---- */

static void gather(void *owner, struct ax_report_source *source)
{
    const struct supervisor *supervisor = owner;

    *source = (struct ax_report_source){
        .options = supervisor->options,
        .acceptor = &supervisor->acceptor,
        .clients = &supervisor->clients,
        .pool = &supervisor->pool,
        .handshake_limit = supervisor->handshakes.limit,
        .started_at = supervisor->started_at,
        .calls_done = supervisor->calls_done,
        .now = uv_now(&supervisor->loop),
        .is_stopping = supervisor->state == STOPPING,
    };
}

static void send_status(struct supervisor *supervisor, int fd, const unsigned char *request)
{
    char unused[AX_ERROR_TEXT_SIZE];
    enum ax_status_format format;

    if (ax_status_request_decode(&format, request, unused, sizeof unused) == 0)
        ax_reporter_answer(&supervisor->reporter, fd, format);
    else
        close(fd);
}

/* Who asks is not among the connections that the answer tells of. */
static void answer_status(struct supervisor *supervisor, struct ax_client *client)
{
    unsigned char request[AX_SUPERBLOCK_SIZE];
    int fd = client->fd;

    memcpy(request, client->received, sizeof request);
    client->fd = -1;
    end_client(supervisor, client, NULL);
    send_status(supervisor, fd, request);
}

/* ---- handshakes ---- */

/* The server's side of TLS, with the certificate of this moment. */
static struct ax_tls *on_tls(struct ax_handshakes *set, void *arg, int fd)
{
    const struct supervisor *supervisor = set->data;
    const struct ax_identity *identity = supervisor->identity;

    (void)arg;
    return identity->crypto->tls_new(identity->context, fd);
}

/* NULL: out of memory. */
static struct ax_client *new_client(struct supervisor *supervisor, const struct ax_listener *listener, int fd,
                                    const char *peer)
{
    struct ax_client *client = ax_client_new(&supervisor->clients, peer, uv_now(&supervisor->loop));
    struct ax_origin_key source, process;

    if (client == NULL)
        return NULL;
    ax_origin_find_key(&source, &process, fd, (uint32_t)(listener - supervisor->acceptor.listeners));
    if (ax_client_come_from(&supervisor->clients, client, &source, &process) == 0)
        return client;
    ax_client_move(&supervisor->clients, client, AX_CLIENT_ENDED, NULL);
    return NULL;
}

static void on_accepted(void *arg, const struct ax_listener *listener, int fd)
{
    struct supervisor *supervisor = arg;
    uint64_t now = uv_now(&supervisor->loop);
    uint32_t timeout = supervisor->options->handshake_timeout_ms;
    bool needs_proof = listener->address.kind == AX_ADDRESS_TCP && supervisor->secret != NULL;
    bool needs_tls = listener->address.kind == AX_ADDRESS_TLS;
    struct ax_client *client;
    char peer[AX_PEER_TEXT];

    ax_peer_describe(fd, needs_tls ? "tls" : "tcp", peer, sizeof peer);
    client = new_client(supervisor, listener, fd, peer);
    if (client == NULL) {
        ax_log(AX_LOG_WARNING, "a connection from %s was refused: out of memory", peer);
        close(fd);
        return;
    }
    client->deadline = timeout == AX_DURATION_NONE ? UINT64_MAX : now + timeout;
    client->has_certificate = needs_tls;
    ax_handshakes_add(&supervisor->handshakes, client->source, fd, needs_tls, needs_proof, client);
}

/* The name of its certificate tells most of a peer. */
static void name_client(struct ax_client *client, const char *name)
{
    size_t length = strlen(client->peer);
    size_t room = sizeof client->peer - length;
    int needed = snprintf(client->peer + length, room, " %s", name[0] != '\0' ? name : "without a name");

    if (needed >= 0 && (size_t)needed >= room && room > strlen(CUT_SHORT))
        memcpy(client->peer + sizeof client->peer - sizeof CUT_SHORT, CUT_SHORT, sizeof CUT_SHORT);
}

static int on_secured(struct ax_handshakes *set, void *arg, int fd, struct ax_tls *tls)
{
    struct supervisor *supervisor = set->data;
    struct ax_client *client = arg;
    char name[AX_IDENTITY_NAME];

    client->is_admitted = ax_identity_admits(supervisor->identity, tls, name);
    name_client(client, name);
    return ax_relay_start(&supervisor->relays, fd, tls, client->id);
}

/* For a worker that takes so little of what its client says that it does not come to the end. */
static void on_relay_gone(struct ax_relays *relays, uint64_t id)
{
    struct supervisor *supervisor = relays->owner;
    const struct ax_client *client = ax_clients_find(&supervisor->clients, id);

    if (client != NULL && client->state == AX_CLIENT_SERVED && supervisor->options->isolation == AX_ISOLATION_PROCESS)
        ax_worker_handle_abandon(client->worker);
}

static void on_relay_ended(struct ax_relays *relays)
{
    struct supervisor *supervisor = relays->owner;

    if (supervisor->state != STOPPING)
        ax_acceptor_relieved(&supervisor->acceptor);
}

static void on_handshake_done(struct ax_handshakes *set, void *arg, int fd, const unsigned char *received, size_t size)
{
    struct supervisor *supervisor = set->data;
    struct ax_client *client = arg;
    char reason[AX_ERROR_TEXT_SIZE];

    client->fd = fd;
    client->received_size = size;
    memcpy(client->received, received, size);
    ax_client_move(&supervisor->clients, client, AX_CLIENT_WAITING, NULL);
    if (check_client(supervisor, client, reason, sizeof reason) < 0)
        refuse(supervisor, client, reason);
    else if (ax_status_request_is_begun(received, size))
        answer_status(supervisor, client);
    dispatch(supervisor);
    ax_acceptor_relieved(&supervisor->acceptor);
}

static void on_handshake_failed(struct ax_handshakes *set, void *arg, const char *reason)
{
    struct supervisor *supervisor = set->data;

    end_client(supervisor, arg, reason);
    ax_acceptor_relieved(&supervisor->acceptor);
}

/* ---- what the pool tells ---- */

static void warn_of_address(const struct supervisor *supervisor, const char *address)
{
    if (supervisor->secret != NULL)
        ax_log(AX_LOG_WARNING,
               "%s can be reached from other hosts, without encryption (--insecure): whoever can read or change what "
               "passes by may run anything, without the secret",
               address);
    else
        ax_log(AX_LOG_WARNING,
               "%s can be reached from other hosts, without encryption (--insecure): whoever connects may run anything",
               address);
}

/* A name with several addresses has one line: they share a port. */
static void announce(const struct supervisor *supervisor)
{
    const struct ax_acceptor *acceptor = &supervisor->acceptor;
    char previous[AX_ADDRESS_TEXT] = "";
    char text[AX_ADDRESS_TEXT];

    for (size_t i = 0; i < acceptor->count; i++) {
        const struct ax_listener *listener = &acceptor->listeners[i];

        ax_listener_format(text, listener);
        if (strcmp(text, previous) != 0) {
            if (listener->address.kind == AX_ADDRESS_TCP && !ax_sockaddr_is_local(&listener->bound))
                warn_of_address(supervisor, text);
            ax_log_bare("listening on %s", text);
        }
        memcpy(previous, text, sizeof text);
    }
}

static void on_started(struct ax_pool *pool)
{
    struct supervisor *supervisor = pool->owner;

    supervisor->state = SERVING;
    announce(supervisor);
    ax_notify_ready("Serving");
    ax_acceptor_resume(&supervisor->acceptor);
}

static void on_groups_ready(void *owner)
{
    struct supervisor *supervisor = owner;

    ax_pool_grouped(&supervisor->pool);
}

static void on_failed(struct ax_pool *pool)
{
    begin_stop(pool->owner, 1);
}

static void on_room(struct ax_pool *pool)
{
    struct supervisor *supervisor = pool->owner;

    if (supervisor->state == SERVING)
        dispatch(supervisor);
}

static void on_ended(struct ax_pool *pool, struct ax_worker_handle *worker, uint64_t id, const char *reason)
{
    struct supervisor *supervisor = pool->owner;
    struct ax_client *client = ax_clients_find(&supervisor->clients, id);

    if (client != NULL && client->worker == worker)
        end_client(supervisor, client, reason);
    ax_acceptor_relieved(&supervisor->acceptor);
}

/* Its worker is dead. Returns whether the client is lost; one whose worker had not begun gets another one. */
static bool lose(struct supervisor *supervisor, struct ax_worker_handle *worker, struct ax_client *client,
                 const char *reason)
{
    if (supervisor->state == SERVING && !ax_worker_handle_has_touched(worker, client)) {
        ax_worker_handle_release(worker, client);
        ax_client_return(&supervisor->clients, client);
        return false;
    }
    if (ax_worker_handle_may_explain(worker, client))
        ax_goodbye_explain(client->fd, reason);
    end_client(supervisor, client, NULL); /* the worker's end is one line of the log, for all of them */
    return true;
}

/* From the newest on: those that wait once more do so in the order in which they came. */
static size_t on_lost(struct ax_pool *pool, struct ax_worker_handle *worker, const char *reason)
{
    struct supervisor *supervisor = pool->owner;
    struct ax_client *client = worker->last_client;
    size_t count = 0;

    supervisor->calls_done += worker->stats->calls.calls_done;
    while (client != NULL) {
        struct ax_client *previous = client->previous_of_worker;

        if (lose(supervisor, worker, client, reason))
            count++;
        client = previous;
    }
    if (supervisor->state == SERVING)
        dispatch(supervisor);
    return count;
}

/* What is still open then goes with the process. */
static void on_end_overdue(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void close_handles(struct supervisor *supervisor)
{
    uv_timer_start(&supervisor->end_timer, on_end_overdue, END_MS, 0);
    uv_unref((uv_handle_t *)&supervisor->end_timer);
    ax_handshakes_fini(&supervisor->handshakes);
    ax_hangups_close(&supervisor->hangups);
    ax_reporter_close(&supervisor->reporter);
    ax_loader_close(&supervisor->reload);
    ax_replies_end(&supervisor->replies);
    ax_relays_hurry(&supervisor->relays);
    ax_pool_close(&supervisor->pool);
    ax_groups_close(&supervisor->groups);
    uv_close((uv_handle_t *)&supervisor->waiting_timer, NULL);
    uv_close((uv_handle_t *)&supervisor->status_timer, NULL);
    uv_close((uv_handle_t *)&supervisor->watchdog_timer, NULL);
    for (size_t i = 0; i < sizeof supervisor->signals / sizeof supervisor->signals[0]; i++)
        uv_close((uv_handle_t *)&supervisor->signals[i], NULL);
}

static void on_empty(struct ax_pool *pool)
{
    close_handles(pool->owner);
}

/* ---- reloading ---- */

static void free_options(struct ax_options *options)
{
    if (options == NULL)
        return;
    ax_options_fini(options);
    free(options);
}

static void set_secret(struct supervisor *supervisor, struct ax_secret *secret)
{
    ax_secret_free(supervisor->secret);
    supervisor->secret = secret;
    supervisor->handshakes.secret = secret;
}

static void on_reloaded(struct ax_pool *pool, bool done)
{
    struct supervisor *supervisor = pool->owner;

    if (done) {
        if (supervisor->reloading->secret_file == NULL) { /* others are in use already: see take_secret() */
            set_secret(supervisor, NULL);
            ax_loader_forget_secret(&supervisor->reload);
        }
        free_options(supervisor->reloaded);
        supervisor->options = supervisor->reloaded = supervisor->reloading;
        ax_handshakes_set_timeout(&supervisor->handshakes, supervisor->options->handshake_timeout_ms);
        ax_log(AX_LOG_INFO, "reloaded: new connections get new workers");
    } else {
        free_options(supervisor->reloading);
        ax_log(AX_LOG_ERROR, "the reload failed: new connections get workers as before");
    }
    supervisor->reloading = NULL;
    ax_notify_ready(NULL);
}

/* New connections see what the files hold now. Those whose handshake goes on end it with what they began with. */
static void take_identity(struct supervisor *supervisor, struct ax_loaded *loaded)
{
    if (loaded->identity == NULL) {
        if (loaded->identity_error[0] != '\0')
            ax_log(AX_LOG_ERROR, "%s: TLS goes on with the certificates that it has", loaded->identity_error);
        return;
    }
    ax_identity_free(supervisor->identity);
    supervisor->identity = loaded->identity;
    loaded->identity = NULL;
}

/*
 * A new secret counts from now on, whatever becomes of the rest. That none is demanded any more, or that the one in
 * use cannot be read, is another matter: then the old one stays, in the first case until the new settings are in use.
 */
static void take_secret(struct supervisor *supervisor, struct ax_loaded *loaded)
{
    const struct ax_secret *old = supervisor->secret;
    const struct ax_secret *new = loaded->secret;

    if (new == NULL) {
        if (loaded->secret_error[0] != '\0' && old != NULL)
            ax_log(AX_LOG_ERROR, "%s: the secret stays the one that was read before", loaded->secret_error);
        return;
    }
    if (old == NULL || old->size != new->size || memcmp(old->bytes, new->bytes, new->size) != 0)
        ax_log(AX_LOG_INFO, "the secret has changed: new connections over TCP need the new one");
    set_secret(supervisor, loaded->secret);
    loaded->secret = NULL;
}

static void on_read(void *owner, struct ax_loaded *loaded)
{
    struct supervisor *supervisor = owner;

    if (supervisor->state != SERVING)
        return;
    take_secret(supervisor, loaded);
    take_identity(supervisor, loaded);
}

static void on_loaded(void *owner, struct ax_loaded *loaded)
{
    struct supervisor *supervisor = owner;

    if (supervisor->state != SERVING)
        return;
    if (loaded->options == NULL) {
        ax_log(AX_LOG_ERROR, "cannot reload: %s", loaded->error);
        ax_notify_ready(NULL);
        return;
    }
    free_options(supervisor->reloading); /* one that is not done yet */
    supervisor->reloading = loaded->options;
    loaded->options = NULL;
    ax_pool_reload(&supervisor->pool, supervisor->reloading);
}

static void reload(struct supervisor *supervisor)
{
    int code;

    ax_notify_reloading();
    code = ax_loader_begin(&supervisor->reload);
    if (code == 0)
        return;
    ax_log(AX_LOG_ERROR, "cannot reload: %s",
           code == -EBUSY ? "several reloads before this one still wait for a disk or the name service. It begins when "
                            "the last of them can go on"
                          : strerror(-code));
    ax_notify_ready(NULL);
}

/* ---- stopping ---- */

static void begin_stop(struct supervisor *supervisor, int status)
{
    struct ax_clients *all = &supervisor->clients;

    supervisor->state = STOPPING;
    supervisor->status = status;
    ax_notify_stopping();
    uv_timer_stop(&supervisor->waiting_timer);
    ax_acceptor_close(&supervisor->acceptor);
    ax_handshakes_fail_all(&supervisor->handshakes, NULL);
    while (all->first[AX_CLIENT_WAITING] != NULL)
        end_client(supervisor, all->first[AX_CLIENT_WAITING], NULL);
    ax_pool_stop(&supervisor->pool, supervisor->options->grace_ms, "The server is stopping");
}

static void hurry(struct supervisor *supervisor)
{
    if (!supervisor->is_hurried)
        ax_process_exit_within(LAST_RESORT_MS, supervisor->status);
    supervisor->is_hurried = true;
    ax_pool_kill(&supervisor->pool);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct supervisor *supervisor = handle->data;

    ax_log(AX_LOG_DEBUG, "got signal %d (%s)", number, strsignal(number));
    if (supervisor->state == STOPPING) {
        if (number != SIGHUP)
            hurry(supervisor);
    } else if (number != SIGHUP) {
        begin_stop(supervisor, 0);
    } else if (supervisor->state == SERVING) {
        reload(supervisor);
    }
}

/* ---- starting ---- */

/* Whether zygotes will find what they need. Returns an exit status. */
static int check_interpreter(const struct ax_options *options)
{
    struct ax_interpreter interpreter;
    char error[AX_ERROR_TEXT_SIZE];
    enum ax_interpreter_result result = ax_interpreter_find(&interpreter, options, error, sizeof error);

    if (result == AX_INTERPRETER_OK) {
        ax_interpreter_fini(&interpreter);
        return 0;
    }
    ax_log(AX_LOG_ERROR, "%s", error);
    return result == AX_INTERPRETER_REFUSED ? 2 : 1;
}

static int watch_signals(struct supervisor *supervisor)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    int code = 0;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && code == 0; i++) {
        code = uv_signal_init(&supervisor->loop, &supervisor->signals[i]);
        supervisor->signals[i].data = supervisor;
        if (code == 0)
            code = uv_signal_start(&supervisor->signals[i], on_signal, numbers[i]);
    }
    ax_process_unblock_signals();
    return code;
}

static void start_timers(struct supervisor *supervisor)
{
    uint64_t interval = ax_notify_watchdog_ms() / 2;

    uv_timer_init(&supervisor->loop, &supervisor->waiting_timer);
    uv_timer_init(&supervisor->loop, &supervisor->status_timer);
    uv_timer_init(&supervisor->loop, &supervisor->watchdog_timer);
    uv_timer_init(&supervisor->loop, &supervisor->end_timer);
    supervisor->waiting_timer.data = supervisor->status_timer.data = supervisor->watchdog_timer.data = supervisor;
    if (interval > 0)
        uv_timer_start(&supervisor->watchdog_timer, on_watchdog_timer, interval, interval);
}

/* Where a worker's limits are not those of a control group. */
static void explain_limits(const struct supervisor *supervisor)
{
    const struct ax_groups *groups = &supervisor->groups;
    bool is_bounded = groups->exist && groups->base.has_memory;

    if (supervisor->options->worker_tasks > 0 && !(groups->exist && groups->base.has_pids))
        ax_log(
            AX_LOG_WARNING,
            "--worker-tasks needs a control group (cgroup v2) that is delegated to acrossd, with the controller pids: "
            "there is no such limit");
    if (supervisor->options->worker_memory > 0 && !is_bounded)
        ax_log(AX_LOG_DEBUG,
               "there is no control group for workers that limits memory: --worker-memory holds for each process of a "
               "worker (RLIMIT_DATA)");
}

/* Everything that the loop holds. 0, or a negative errno. */
static int init(struct supervisor *supervisor, struct ax_listener *listeners, size_t count)
{
    static const struct ax_pool_events events = {
        .started = on_started,
        .failed = on_failed,
        .room = on_room,
        .ended = on_ended,
        .lost = on_lost,
        .pong = on_pong,
        .reloaded = on_reloaded,
        .empty = on_empty,
    };
    static const struct ax_loader_events reload_events = {.read = on_read, .loaded = on_loaded};
    const struct ax_options *options = supervisor->options;
    struct ax_fd_budget room = ax_fd_budget_find(options, supervisor->identity != NULL, ax_process_raise_file_limit());
    int code = uv_loop_init(&supervisor->loop);

    if (code < 0)
        return code;
    supervisor->started_at = uv_now(&supervisor->loop);
    supervisor->replies.loop = &supervisor->loop;
    code = ax_loader_init(&supervisor->reload, &supervisor->loop, supervisor->argc, supervisor->argv, options,
                          supervisor->identity != NULL, &reload_events, supervisor);
    if (code < 0)
        return code;
    ax_reporter_init(&supervisor->reporter, &supervisor->loop, &supervisor->replies, gather, supervisor);
    if (ax_clients_init(&supervisor->clients) < 0)
        return UV_ENOMEM;
    code = ax_acceptor_init(&supervisor->acceptor, &supervisor->loop, listeners, count, on_accepted, supervisor);
    if (code == 0)
        code = ax_handshakes_init(
            &supervisor->handshakes, &supervisor->loop, options->handshake_timeout_ms,
            (struct ax_handshake_limits){room.handshakes, room.handshakes_of_source, count > 0 ? count : 1},
            on_handshake_done, on_handshake_failed);
    if (code == 0)
        code = ax_hangups_init(&supervisor->hangups, &supervisor->loop, on_hung_up, supervisor);
    supervisor->connections_of_source = room.connections_of_source;
    supervisor->handshakes.data = supervisor;
    supervisor->handshakes.secret = supervisor->secret;
    supervisor->handshakes.make_tls = on_tls;
    supervisor->handshakes.secured = on_secured;
    if (code == 0)
        code = ax_relays_init(&supervisor->relays, &supervisor->loop, on_relay_gone, on_relay_ended, supervisor);
    if (code == 0)
        code = ax_pool_init(&supervisor->pool, &supervisor->loop, options, room.connections, &events, supervisor);
    if (code == 0)
        code = ax_groups_init(&supervisor->groups, &supervisor->loop, on_groups_ready, supervisor);
    if (code == 0)
        explain_limits(supervisor);
    supervisor->pool.groups = &supervisor->groups;
    start_timers(supervisor);
    return code == 0 ? watch_signals(supervisor) : code;
}

static void fini(struct supervisor *supervisor)
{
    uv_close((uv_handle_t *)&supervisor->end_timer, NULL);
    uv_run(&supervisor->loop, UV_RUN_NOWAIT);
    if (uv_loop_close(&supervisor->loop) < 0) /* some handles are open, and their memory goes with the process */
        ax_log(AX_LOG_DEBUG, "the end was not in order");
    ax_acceptor_free_memory(&supervisor->acceptor);
    ax_clients_fini(&supervisor->clients);
    ax_pool_free_memory(&supervisor->pool);
    ax_peer_rules_fini(&supervisor->rules);
    ax_identity_free(supervisor->identity);
    ax_relays_free_memory(&supervisor->relays);
    ax_reporter_free_memory(&supervisor->reporter);
    ax_loader_free_memory(&supervisor->reload);
    free_options(supervisor->reloaded);
    free_options(supervisor->reloading);
    ax_secret_free(supervisor->secret);
    ax_notify_fini();
}

/* Who may come in, which needs the name service, and that may take its time. Returns an exit status. */
static int find_rules(struct supervisor *supervisor)
{
    const struct ax_options *options = supervisor->options;
    char error[AX_ERROR_TEXT_SIZE];

    if (ax_access_check(options, error, sizeof error) == 0 &&
        ax_access_read_secret(options, &supervisor->secret, error, sizeof error) == 0 &&
        ax_peer_rules_init(&supervisor->rules, &options->allow_uid, &options->allow_gid, error, sizeof error) == 0)
        return 0;
    ax_log(AX_LOG_ERROR, "%s", error);
    return 2;
}

/* Before any address is listened on. Returns an exit status. */
static int load_identity(struct supervisor *supervisor)
{
    char error[AX_ERROR_TEXT_SIZE];

    if (!ax_options_have_identity(supervisor->options))
        return 0;
    supervisor->identity = ax_identity_load(supervisor->options, error, sizeof error);
    if (supervisor->identity != NULL) {
        prctl(PR_SET_DUMPABLE, 0, 0, 0,
              0); /* other processes of this user, workers among them, do not get at the key */
        return 0;
    }
    ax_log(AX_LOG_ERROR, "%s", error);
    return 2;
}

int ax_supervisor_run(const struct ax_options *options, int argc, char *const *argv)
{
    struct supervisor supervisor = {.options = options, .argc = argc, .argv = argv, .state = STARTING};
    struct ax_listener *listeners;
    size_t count;
    int status = check_interpreter(options);
    int code;

    ax_process_ignore_write_signals();
    if (status == 0)
        status = find_rules(&supervisor);
    if (status == 0)
        status = load_identity(&supervisor);
    if (status == 0)
        status = ax_sockets_open(options, &listeners, &count);
    if (status != 0) {
        ax_peer_rules_fini(&supervisor.rules);
        ax_secret_free(supervisor.secret);
        ax_identity_free(supervisor.identity);
        return status;
    }
    ax_notify_init();
    ax_log_start_times();
    code = init(&supervisor, listeners, count);
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot start: %s", uv_strerror(code));
        while (count > 0)
            ax_listener_close(&listeners[--count]);
        return 1; /* the process ends, and what was made so far with it */
    }
    ax_pool_start(&supervisor.pool);
    uv_run(&supervisor.loop, UV_RUN_DEFAULT);
    fini(&supervisor);
    return supervisor.status;
}
