/* SPDX-License-Identifier: MIT */
#include "daemon/admission/admission.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/access.h"
#include "daemon/admission/goodbye.h"
#include "daemon/admission/origin.h"
#include "daemon/base/address.h"
#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/listen/listener.h"

#define ELLIPSIS "..." /* at the end of a name that does not fit */

/* ---- ends ---- */

void ax_admission_end(struct ax_admission *admission, struct ax_client *client, const char *reason)
{
    ax_client_move(&admission->clients, client, AX_CLIENT_ENDED, reason);
}

static void refuse(struct ax_admission *admission, struct ax_client *client, const char *reason)
{
    ax_goodbye_refuse(client->fd, client->received, client->received_size, reason);
    ax_admission_end(admission, client, reason);
}

static void end_hung_up(struct ax_admission *admission, struct ax_client *client)
{
    ax_admission_end(admission, client, "The peer hung up before it was served");
}

/* ---- clients that wait for a worker ---- */

static void on_waiting_timer(uv_timer_t *timer);

static void watch_deadline(struct ax_admission *admission)
{
    const struct ax_client *first = admission->clients.first[AX_CLIENT_WAITING];
    uint64_t now = uv_now(admission->loop);

    if (first == NULL || first->deadline == UINT64_MAX)
        uv_timer_stop(&admission->waiting_timer);
    else
        uv_timer_start(&admission->waiting_timer, on_waiting_timer, first->deadline > now ? first->deadline - now : 0,
                       0);
}

static void watch_for_hangup(struct ax_admission *admission, struct ax_client *client)
{
    ax_hangups_add(&admission->hangups, client->fd, client->id);
    client->is_watched = true;
}

/* Clients not watched yet are at the end of the list, or at its beginning if they have come back from a worker. */
static void watch_for_hangups(struct ax_admission *admission)
{
    struct ax_clients *all = &admission->clients;
    struct ax_client *client;

    for (client = all->last[AX_CLIENT_WAITING]; client != NULL && !client->is_watched; client = client->previous)
        watch_for_hangup(admission, client);
    for (client = all->first[AX_CLIENT_WAITING]; client != NULL && !client->is_watched; client = client->next)
        watch_for_hangup(admission, client);
}

static void report_demand(struct ax_admission *admission)
{
    admission->events->demand(admission->owner, admission->clients.count[AX_CLIENT_WAITING]);
}

static void on_hung_up(void *owner, uint64_t id)
{
    struct ax_admission *admission = owner;
    struct ax_client *client = ax_clients_find(&admission->clients, id);

    if (client == NULL || client->state != AX_CLIENT_WAITING || !ax_hangup_has(client->fd))
        return;
    end_hung_up(admission, client);
    watch_deadline(admission);
    report_demand(admission);
}

/*
 * What is left of its handshake's time in milliseconds; 0: no limit. At least 1 for a client that was not refused yet.
 */
static uint32_t time_left(const struct ax_client *client, uint64_t now)
{
    if (client->deadline == UINT64_MAX)
        return 0;
    return client->deadline > now ? (uint32_t)(client->deadline - now) : 1;
}

/* Returns whether the next client may be offered. */
static bool offer(struct ax_admission *admission, struct ax_client *client)
{
    int result;

    if (ax_hangup_has(client->fd)) { /* it needs no worker */
        end_hung_up(admission, client);
        return true;
    }
    result = admission->events->offer(admission->owner, client, time_left(client, uv_now(admission->loop)));
    if (result == 0)
        return false;
    if (result < 0) {
        refuse(admission, client, strerror(-result));
        return true;
    }
    if (client->is_watched)
        ax_hangups_remove(&admission->hangups, client->fd);
    ax_client_move(&admission->clients, client, AX_CLIENT_SERVED, NULL);
    return true;
}

void ax_admission_dispatch(struct ax_admission *admission)
{
    struct ax_client *client;

    while (admission->events->has_room(admission->owner) && (client = ax_clients_choose(&admission->clients)) != NULL &&
           offer(admission, client))
        continue;
    watch_deadline(admission);
    watch_for_hangups(admission);
    report_demand(admission);
}

static void on_waiting_timer(uv_timer_t *timer)
{
    struct ax_admission *admission = timer->data;
    uint64_t now = uv_now(admission->loop);
    struct ax_client *client;

    while ((client = admission->clients.first[AX_CLIENT_WAITING]) != NULL && client->deadline <= now)
        refuse(admission, client, "No worker was ready in the time that a handshake may take");
    ax_admission_dispatch(admission);
}

void ax_admission_return(struct ax_admission *admission, struct ax_client *client)
{
    ax_client_return(&admission->clients, client);
}

struct ax_client *ax_admission_find(const struct ax_admission *admission, uint64_t id)
{
    return ax_clients_find(&admission->clients, id);
}

/* ---- access rules and limits ---- */

/* A certificate names no user of this system. */
static int check_certificate(const struct ax_admission *admission, const struct ax_client *client, char *reason,
                             size_t size)
{
    if (ax_peer_rules_are_set(&admission->rules) || admission->needs_user)
        return ax_error_format(reason, size, "Only certain users may connect, and a certificate tells no user");
    if (!client->is_admitted)
        return ax_error_format(reason, size, "None of the names in the certificate may connect");
    return 0;
}

static int check_limits(const struct ax_admission *admission, const struct ax_client *client, char *reason, size_t size)
{
    const struct ax_clients *all = &admission->clients;

    if (all->count[AX_CLIENT_WAITING] + all->count[AX_CLIENT_SERVED] > admission->limit)
        return ax_error_format(reason, size, "The server has as many connections as it may have: %zu",
                               admission->limit);
    if (client->source->connections > admission->source_limit)
        return ax_error_format(reason, size, "The server has as many connections from the same %s as it may have: %zu",
                               client->source->key.family == AF_UNIX ? "user" : "address", admission->source_limit);
    return 0;
}

/* Whether a client may be served, once its handshake is done. 0, or -1 with the reason. */
static int check_client(const struct ax_admission *admission, const struct ax_client *client, char *reason, size_t size)
{
    if (client->has_certificate ? check_certificate(admission, client, reason, size) < 0
                                : ax_peer_check(&admission->rules, client->fd, reason, size) < 0)
        return -1;
    /* A request for the status occupies no place: it is needed most when all of them are taken. */
    if (ax_status_request_is_begun(client->received, client->received_size))
        return 0;
    return check_limits(admission, client, reason, size);
}

/* ---- handshakes ---- */

/* NULL: out of memory. */
static struct ax_client *new_client(struct ax_admission *admission, const struct ax_listener *listener, int fd,
                                    const char *peer)
{
    struct ax_client *client = ax_client_new(&admission->clients, peer, uv_now(admission->loop));
    struct ax_origin_key source, process;

    if (client == NULL)
        return NULL;
    ax_origin_find_key(&source, &process, fd, (uint32_t)(listener - admission->acceptor.listeners));
    if (ax_client_come_from(&admission->clients, client, &source, &process) == 0)
        return client;
    ax_admission_end(admission, client, NULL);
    return NULL;
}

static void on_accepted(void *arg, const struct ax_listener *listener, int fd)
{
    struct ax_admission *admission = arg;
    uint32_t timeout = admission->handshakes.timeout_ms;
    bool needs_proof = listener->address.kind == AX_ADDRESS_TCP && admission->secret != NULL;
    bool needs_tls = listener->address.kind == AX_ADDRESS_TLS;
    struct ax_client *client;
    char peer[AX_PEER_TEXT];

    ax_peer_describe(fd, needs_tls ? "tls" : "tcp", peer, sizeof peer);
    client = new_client(admission, listener, fd, peer);
    if (client == NULL) {
        ax_log(AX_LOG_WARNING, "a connection from %s was refused: out of memory", peer);
        close(fd);
        return;
    }
    client->deadline = timeout == AX_DURATION_NONE ? UINT64_MAX : uv_now(admission->loop) + timeout;
    client->has_certificate = needs_tls;
    ax_handshakes_add(&admission->handshakes, client->source, fd, needs_tls, needs_proof, client);
}

/* The server's side of TLS, with the certificate in use now. */
static struct ax_tls *make_tls(struct ax_handshakes *set, void *arg, int fd, const void *first, size_t first_size)
{
    const struct ax_admission *admission = set->data;
    const struct ax_identity *identity = admission->identity;

    (void)arg;
    return identity->crypto->tls_new(identity->context, fd, first, first_size);
}

/* Appends the name in its certificate to what the log calls the peer. */
static void name_client(struct ax_client *client, const char *name)
{
    size_t length = strlen(client->peer);
    size_t room = sizeof client->peer - length;
    int needed = snprintf(client->peer + length, room, " %s", name[0] != '\0' ? name : "without a name");

    if (needed >= 0 && (size_t)needed >= room && room > strlen(ELLIPSIS))
        memcpy(client->peer + sizeof client->peer - sizeof ELLIPSIS, ELLIPSIS, sizeof ELLIPSIS);
}

static int on_secured(struct ax_handshakes *set, void *arg, int fd, struct ax_tls *tls)
{
    struct ax_admission *admission = set->data;
    struct ax_client *client = arg;
    char name[AX_IDENTITY_NAME];

    client->is_admitted = ax_identity_admits(admission->identity, tls, name);
    name_client(client, name);
    return ax_relay_start(&admission->relays, fd, tls, client->id);
}

static void on_relay_gone(struct ax_relays *relays, uint64_t id)
{
    struct ax_admission *admission = relays->owner;
    struct ax_client *client = ax_clients_find(&admission->clients, id);

    if (client != NULL && client->state == AX_CLIENT_SERVED)
        admission->events->abandoned(admission->owner, client);
}

static void on_relay_ended(struct ax_relays *relays)
{
    ax_admission_relieved(relays->owner);
}

/* The connection is not among those that the answer describes: its record ends first. */
static void pass_status_request(struct ax_admission *admission, struct ax_client *client)
{
    char unused[AX_ERROR_TEXT_SIZE];
    enum ax_status_format format;
    bool is_valid = ax_status_request_decode(&format, client->received, unused, sizeof unused) == 0;
    int fd = client->fd;

    client->fd = -1;
    ax_admission_end(admission, client, NULL);
    if (is_valid)
        admission->events->status_asked(admission->owner, fd, format);
    else
        close(fd);
}

static void on_handshake_done(struct ax_handshakes *set, void *arg, int fd, const unsigned char *received, size_t size)
{
    struct ax_admission *admission = set->data;
    struct ax_client *client = arg;
    char reason[AX_ERROR_TEXT_SIZE];

    client->fd = fd;
    client->received_size = size;
    memcpy(client->received, received, size);
    ax_client_move(&admission->clients, client, AX_CLIENT_WAITING, NULL);
    if (check_client(admission, client, reason, sizeof reason) < 0)
        refuse(admission, client, reason);
    else if (ax_status_request_is_begun(received, size))
        pass_status_request(admission, client);
    ax_admission_dispatch(admission);
    ax_admission_relieved(admission);
}

static void on_handshake_failed(struct ax_handshakes *set, void *arg, const char *reason)
{
    struct ax_admission *admission = set->data;

    ax_admission_end(admission, arg, reason);
    ax_admission_relieved(admission);
}

/* ---- opening ---- */

static void warn_of_address(const struct ax_admission *admission, const char *address)
{
    if (admission->secret != NULL)
        ax_log(AX_LOG_WARNING,
               "%s can be reached from other hosts, without encryption (--insecure): whoever can read or change the "
               "traffic may run anything, even without the secret",
               address);
    else
        ax_log(AX_LOG_WARNING,
               "%s can be reached from other hosts, without encryption (--insecure): whoever connects may run anything",
               address);
}

/* A name with several addresses has one line: they share a port. */
static void announce(const struct ax_admission *admission)
{
    const struct ax_acceptor *acceptor = &admission->acceptor;
    char previous[AX_ADDRESS_TEXT] = "";
    char text[AX_ADDRESS_TEXT];

    for (size_t i = 0; i < acceptor->count; i++) {
        const struct ax_listener *listener = &acceptor->listeners[i];

        ax_listener_format(text, listener);
        if (strcmp(text, previous) != 0) {
            if (listener->address.kind == AX_ADDRESS_TCP && !ax_sockaddr_is_local(&listener->bound))
                warn_of_address(admission, text);
            ax_log_bare("listening on %s", text);
        }
        memcpy(previous, text, sizeof text);
    }
}

void ax_admission_open(struct ax_admission *admission)
{
    announce(admission);
    ax_acceptor_resume(&admission->acceptor);
}

void ax_admission_relieved(struct ax_admission *admission)
{
    ax_acceptor_relieved(&admission->acceptor);
}

/* ---- settings ---- */

void ax_admission_set_secret(struct ax_admission *admission, struct ax_secret *secret)
{
    ax_secret_free(admission->secret);
    admission->secret = secret;
    admission->handshakes.secret = secret;
}

void ax_admission_set_identity(struct ax_admission *admission, struct ax_identity *identity)
{
    ax_identity_free(admission->identity);
    admission->identity = identity;
}

void ax_admission_set_timeout(struct ax_admission *admission, uint32_t timeout_ms)
{
    ax_handshakes_set_timeout(&admission->handshakes, timeout_ms);
}

/* ---- life ---- */

static int load_identity(struct ax_admission *admission, const struct ax_options *options, char *error, size_t size)
{
    if (!ax_options_have_identity(options))
        return 0;
    admission->identity = ax_identity_load(options, error, size);
    if (admission->identity == NULL)
        return -1;
    /* Keeps the key from other processes of this user, workers among them. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return 0;
}

int ax_admission_load(struct ax_admission *admission, const struct ax_options *options, char *error, size_t error_size)
{
    if (ax_access_check(options, error, error_size) < 0 ||
        ax_access_read_secret(options, &admission->secret, error, error_size) < 0 ||
        ax_peer_rules_init(&admission->rules, &options->allow_uid, &options->allow_gid, error, error_size) < 0)
        return -1;
    return load_identity(admission, options, error, error_size);
}

void ax_admission_unload(struct ax_admission *admission)
{
    ax_peer_rules_fini(&admission->rules);
    ax_identity_free(admission->identity);
    ax_secret_free(admission->secret);
    admission->identity = NULL;
    admission->secret = NULL;
}

static int init_handshakes(struct ax_admission *admission, const struct ax_options *options,
                           const struct ax_fd_budget *budget, size_t lanes)
{
    const struct ax_handshake_limits limits = {budget->handshakes, budget->handshakes_of_source, lanes};
    int code = ax_handshakes_init(&admission->handshakes, admission->loop, options->handshake_timeout_ms, limits,
                                  on_handshake_done, on_handshake_failed);

    admission->handshakes.data = admission;
    admission->handshakes.secret = admission->secret;
    admission->handshakes.make_tls = make_tls;
    admission->handshakes.secured = on_secured;
    return code;
}

int ax_admission_init(struct ax_admission *admission, uv_loop_t *loop, const struct ax_options *options,
                      const struct ax_fd_budget *budget, struct ax_listener *listeners, size_t count,
                      const struct ax_admission_events *events, void *owner)
{
    int code;

    admission->loop = loop;
    admission->events = events;
    admission->owner = owner;
    admission->limit = budget->connections;
    admission->source_limit = budget->connections_of_source;
    admission->needs_user = options->run_as_peer;
    code = ax_acceptor_init(&admission->acceptor, loop, listeners, count, on_accepted, admission);
    if (code == 0 && ax_clients_init(&admission->clients) < 0)
        code = UV_ENOMEM;
    if (code == 0)
        code = init_handshakes(admission, options, budget, count > 0 ? count : 1);
    if (code == 0)
        code = ax_hangups_init(&admission->hangups, loop, on_hung_up, admission);
    if (code == 0)
        code = ax_relays_init(&admission->relays, loop, on_relay_gone, on_relay_ended, admission);
    if (code == 0)
        code = uv_timer_init(loop, &admission->waiting_timer);
    admission->waiting_timer.data = admission;
    return code;
}

void ax_admission_stop(struct ax_admission *admission)
{
    struct ax_clients *all = &admission->clients;

    uv_timer_stop(&admission->waiting_timer);
    ax_acceptor_close(&admission->acceptor);
    ax_handshakes_fail_all(&admission->handshakes, NULL);
    while (all->first[AX_CLIENT_WAITING] != NULL)
        ax_admission_end(admission, all->first[AX_CLIENT_WAITING], NULL);
}

void ax_admission_close(struct ax_admission *admission)
{
    ax_handshakes_fini(&admission->handshakes);
    ax_hangups_close(&admission->hangups);
    ax_relays_hurry(&admission->relays);
    uv_close((uv_handle_t *)&admission->waiting_timer, NULL);
}

void ax_admission_free_memory(struct ax_admission *admission)
{
    ax_acceptor_free_memory(&admission->acceptor);
    ax_clients_fini(&admission->clients);
    ax_relays_free_memory(&admission->relays);
    ax_admission_unload(admission);
}
