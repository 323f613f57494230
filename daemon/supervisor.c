/* SPDX-License-Identifier: MIT */
#include "daemon/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "daemon/acceptor.h"
#include "daemon/address.h"
#include "daemon/child.h"
#include "daemon/client.h"
#include "daemon/handshake.h"
#include "daemon/interpreter.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/sentence.h"

/* Handshakes at a time, and connections that wait for a worker: each costs a descriptor, of which half may go there. */
#define HANDSHAKES_MAX 1024u
#define WAITING_MAX 1024u

/* A worker that dies sooner, without ever having had a connection, has failed to start. */
#define GOOD_START_MS 10000u
#define FAILED_STARTS_MAX 5u
#define FIRST_RESTART_MS 100u /* after a failed start; doubles with each one */

/* What a worker needs beyond the grace period to say goodbye and end its interpreter (drain.c), and some more. */
#define STOP_MARGIN_MS 6000u

enum state {
    STARTING, /* no worker has been ready yet */
    SERVING,
    STOPPING,
};

struct supervisor {
    const struct ax_options *options;
    enum state state;
    int status; /* the exit status */
    uv_loop_t loop;
    struct ax_acceptor acceptor;
    struct ax_handshakes handshakes;
    struct ax_clients clients;
    size_t waiting_limit;
    struct ax_texts worker_arguments;
    struct ax_child *workers; /* a list; one of them today: all connections share it */
    unsigned failed_starts;   /* in a row */
    uv_timer_t restart_timer;
    uv_timer_t stop_timer;
    uv_signal_t sigterm;
    uv_signal_t sigint;
};

static void start_worker(struct supervisor *supervisor);
static void begin_stop(struct supervisor *supervisor, int status);

/* ---- connections on their way to a worker ---- */

static struct ax_child *pick_worker(const struct supervisor *supervisor)
{
    for (struct ax_child *child = supervisor->workers; child != NULL; child = child->next)
        if (child->state == AX_CHILD_READY && !child->wants_to_write)
            return child;
    return NULL;
}

/* Hands over what waits, as far as workers take it; and accepts more only while there is room to wait in. */
static void dispatch(struct supervisor *supervisor)
{
    struct ax_clients *all = &supervisor->clients;
    struct ax_client *client;
    struct ax_child *child;

    while ((client = all->first[AX_CLIENT_WAITING]) != NULL && (child = pick_worker(supervisor)) != NULL) {
        int code = ax_child_give(child, client);

        if (code == -EAGAIN)
            continue;
        if (code == -EPIPE) /* it is dying, of which we shall hear */
            break;
        if (code == 0) {
            client->child = child;
            ax_client_move(all, client, AX_CLIENT_SERVED, NULL);
        } else {
            ax_client_move(all, client, AX_CLIENT_ENDED, strerror(-code));
        }
    }
    if (supervisor->state != SERVING)
        return;
    if (all->count[AX_CLIENT_WAITING] >= supervisor->waiting_limit)
        ax_acceptor_pause(&supervisor->acceptor);
    else if (!supervisor->acceptor.is_short)
        ax_acceptor_resume(&supervisor->acceptor);
}

static void on_accepted(void *arg, int fd)
{
    struct supervisor *supervisor = arg;
    struct ax_client *client;
    char peer[AX_PEER_SIZE];

    ax_address_describe_peer(fd, peer, sizeof peer);
    client = ax_client_new(&supervisor->clients, peer);
    if (client == NULL) {
        ax_log(AX_LOG_WARNING, "a connection from %s was refused: out of memory", peer);
        close(fd);
        return;
    }
    ax_handshakes_add(&supervisor->handshakes, fd, client);
}

static void on_handshake_done(struct ax_handshakes *set, void *arg, int fd, const unsigned char *received, size_t size)
{
    struct supervisor *supervisor = set->data;
    struct ax_client *client = arg;

    client->fd = fd;
    client->received_size = size;
    memcpy(client->received, received, size);
    ax_client_move(&supervisor->clients, client, AX_CLIENT_WAITING, NULL);
    dispatch(supervisor);
    ax_acceptor_relieved(&supervisor->acceptor);
}

static void on_handshake_failed(struct ax_handshakes *set, void *arg, const char *reason)
{
    struct supervisor *supervisor = set->data;

    ax_client_move(&supervisor->clients, arg, AX_CLIENT_ENDED, reason);
    ax_acceptor_relieved(&supervisor->acceptor);
}

/* ---- what workers tell ---- */

/* A name with several addresses has one line: they share a port. */
static void announce(const struct ax_acceptor *acceptor)
{
    char previous[AX_ADDRESS_TEXT] = "";
    char text[AX_ADDRESS_TEXT];

    for (size_t i = 0; i < acceptor->count; i++) {
        ax_listener_format(text, &acceptor->listeners[i]);
        if (strcmp(text, previous) != 0)
            ax_log_bare("listening on %s", text);
        memcpy(previous, text, sizeof text);
    }
}

static void on_worker_ready(struct ax_child *child)
{
    struct supervisor *supervisor = child->owner;

    if (supervisor->state == STARTING) {
        supervisor->state = SERVING;
        announce(&supervisor->acceptor);
    }
    dispatch(supervisor);
}

static void on_worker_writable(struct ax_child *child)
{
    dispatch(child->owner);
}

static void on_client_ended(struct ax_child *child, uint64_t id, const char *reason)
{
    struct supervisor *supervisor = child->owner;
    struct ax_client *client = ax_clients_find(&supervisor->clients, id);

    if (client != NULL && client->child == child)
        ax_client_move(&supervisor->clients, client, AX_CLIENT_ENDED, reason);
}

/* ---- workers' ends ---- */

static void forget_worker(struct supervisor *supervisor, const struct ax_child *child)
{
    struct ax_child **link = &supervisor->workers;

    while (*link != child)
        link = &(*link)->next;
    *link = child->next;
}

/* Returns how many there were. */
static size_t end_clients_of(struct supervisor *supervisor, const struct ax_child *child)
{
    struct ax_client *client = supervisor->clients.first[AX_CLIENT_SERVED];
    size_t count = 0;

    while (client != NULL) {
        struct ax_client *next = client->next;

        if (client->child == child) {
            ax_client_move(&supervisor->clients, client, AX_CLIENT_ENDED, NULL);
            count++;
        }
        client = next;
    }
    return count;
}

static void on_restart(uv_timer_t *timer)
{
    start_worker(timer->data);
}

static void replace_worker(struct supervisor *supervisor, bool started_well, const char *how)
{
    supervisor->failed_starts = started_well ? 0 : supervisor->failed_starts + 1;
    if (supervisor->failed_starts == FAILED_STARTS_MAX) {
        ax_log(AX_LOG_ERROR, "giving up: %u workers in a row failed to start, the last one %s", FAILED_STARTS_MAX, how);
        begin_stop(supervisor, 1);
    } else if (supervisor->failed_starts > 0) {
        uv_timer_start(&supervisor->restart_timer, on_restart, FIRST_RESTART_MS << supervisor->failed_starts, 0);
    } else {
        start_worker(supervisor);
    }
}

static void close_handles(struct supervisor *supervisor)
{
    ax_handshakes_fini(&supervisor->handshakes);
    uv_close((uv_handle_t *)&supervisor->restart_timer, NULL);
    uv_close((uv_handle_t *)&supervisor->stop_timer, NULL);
    uv_close((uv_handle_t *)&supervisor->sigterm, NULL);
    uv_close((uv_handle_t *)&supervisor->sigint, NULL);
}

static void on_worker_died(struct ax_child *child, bool in_order, const char *how)
{
    struct supervisor *supervisor = child->owner;
    uint64_t now = uv_now(&supervisor->loop);
    bool started_well =
        child->given > 0 || (child->state != AX_CHILD_STARTING && now - child->ready_at >= GOOD_START_MS);
    size_t lost = end_clients_of(supervisor, child);

    forget_worker(supervisor, child);
    if (supervisor->state == STOPPING) {
        if (!in_order && child->state == AX_CHILD_STOPPING)
            ax_log(AX_LOG_WARNING, "the worker, process %ld, %s while it stopped", (long)child->pid, how);
        if (supervisor->workers == NULL)
            close_handles(supervisor);
    } else if (supervisor->state == STARTING) {
        if (!child->has_explained)
            ax_log(AX_LOG_ERROR, "the worker, process %ld, did not start: it %s", (long)child->pid, how);
        begin_stop(supervisor, 1);
    } else {
        ax_log(AX_LOG_WARNING, "the worker, process %ld, %s; connections lost: %zu", (long)child->pid, how, lost);
        replace_worker(supervisor, started_well, how);
    }
}

/* ---- workers' starts ---- */

static void start_worker(struct supervisor *supervisor)
{
    static const struct ax_child_events events = {
        .ready = on_worker_ready,
        .ended = on_client_ended,
        .writable = on_worker_writable,
        .died = on_worker_died,
    };
    struct ax_child *child;
    int code = ax_child_start(&child, &supervisor->loop, &supervisor->worker_arguments, &events, supervisor);

    if (code == 0) {
        child->next = supervisor->workers;
        supervisor->workers = child;
        return;
    }
    if (supervisor->state == STARTING) {
        ax_log(AX_LOG_ERROR, "cannot start a worker: %s", strerror(-code));
        begin_stop(supervisor, 1);
    } else {
        ax_log(AX_LOG_WARNING, "cannot start a worker: %s", strerror(-code));
        replace_worker(supervisor, false, "could not be made");
    }
}

static int make_worker_arguments(struct supervisor *supervisor)
{
    struct ax_options options = *supervisor->options; /* borrows its texts */

    options.role = AX_PROCESS_WORKER;
    options.control_fd = AX_PROCESS_CONTROL_FD;
    if (ax_texts_add(&supervisor->worker_arguments, "acrossd") < 0)
        return -1;
    return ax_options_to_arguments(&options, AX_OPTION_WORKER, &supervisor->worker_arguments);
}

/* ---- stopping ---- */

static void kill_workers(struct supervisor *supervisor)
{
    for (struct ax_child *child = supervisor->workers; child != NULL; child = child->next)
        ax_child_kill(child);
}

static void on_stop_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;

    ax_log(AX_LOG_WARNING, "a worker did not end in time, and is killed");
    kill_workers(supervisor);
}

static void stop_workers(struct supervisor *supervisor)
{
    for (struct ax_child *child = supervisor->workers; child != NULL; child = child->next) {
        if (child->state == AX_CHILD_READY)
            ax_child_stop(child, supervisor->options->grace_ms, "The server is stopping");
        else
            ax_child_kill(child);
    }
    uv_timer_start(&supervisor->stop_timer, on_stop_timer, (uint64_t)supervisor->options->grace_ms + STOP_MARGIN_MS, 0);
}

static void begin_stop(struct supervisor *supervisor, int status)
{
    struct ax_clients *all = &supervisor->clients;

    supervisor->state = STOPPING;
    supervisor->status = status;
    uv_timer_stop(&supervisor->restart_timer);
    ax_acceptor_close(&supervisor->acceptor);
    ax_handshakes_fail_all(&supervisor->handshakes, NULL);
    while (all->first[AX_CLIENT_WAITING] != NULL)
        ax_client_move(all, all->first[AX_CLIENT_WAITING], AX_CLIENT_ENDED, NULL);
    if (supervisor->workers == NULL)
        close_handles(supervisor);
    else
        stop_workers(supervisor);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct supervisor *supervisor = handle->data;

    ax_log(AX_LOG_DEBUG, "got signal %d (%s)", number, strsignal(number));
    if (supervisor->state == STOPPING)
        kill_workers(supervisor);
    else
        begin_stop(supervisor, 0);
}

/* ---- starting ---- */

/* Opens everything that is to be listened on, into an array of its own. Returns an exit status. */
static int open_listeners(const struct ax_options *options, struct ax_listener **listeners, size_t *count)
{
    char error[AX_SENTENCE_SIZE];

    *count = 0;
    *listeners = calloc(options->listen.count * AX_LISTENERS_MAX, sizeof **listeners);
    if (*listeners == NULL) {
        ax_log(AX_LOG_ERROR, "out of memory");
        return 1;
    }
    for (size_t i = 0; i < options->listen.count; i++) {
        struct ax_address address;
        enum ax_listener_result result = AX_LISTENER_REFUSED;
        size_t opened = 0;

        if (ax_address_parse(&address, options->listen.items[i], error, sizeof error) == 0)
            result = ax_listener_open(*listeners + *count, &opened, &address, options->insecure, options->socket_mode,
                                      AX_LISTENER_OWN_GROUP, error, sizeof error);
        *count += opened;
        if (result == AX_LISTENER_OK)
            continue;
        ax_log(AX_LOG_ERROR, "%s", error);
        while (*count > 0)
            ax_listener_close(*listeners + --*count);
        free(*listeners);
        return result == AX_LISTENER_REFUSED ? 2 : 1;
    }
    return 0;
}

/* Whether workers will find what they need. Returns an exit status. */
static int check_interpreter(const struct ax_options *options)
{
    struct ax_interpreter interpreter;
    char error[AX_SENTENCE_SIZE];
    enum ax_interpreter_result result = ax_interpreter_find(&interpreter, options, error, sizeof error);

    if (result == AX_INTERPRETER_OK) {
        ax_interpreter_fini(&interpreter);
        return 0;
    }
    ax_log(AX_LOG_ERROR, "%s", error);
    return result == AX_INTERPRETER_REFUSED ? 2 : 1;
}

static int watch_signal(struct supervisor *supervisor, uv_signal_t *handle, int number)
{
    int code = uv_signal_init(&supervisor->loop, handle);

    handle->data = supervisor;
    return code < 0 ? code : uv_signal_start(handle, on_signal, number);
}

static size_t at_most_half(unsigned files, unsigned most)
{
    return files / 2 < most ? files / 2 : most;
}

/* Everything that the loop holds. 0, or a negative errno. */
static int init(struct supervisor *supervisor, struct ax_listener *listeners, size_t count)
{
    unsigned files = ax_process_raise_file_limit();
    int code = uv_loop_init(&supervisor->loop);

    if (code < 0)
        return code;
    supervisor->waiting_limit = at_most_half(files, WAITING_MAX);
    if (ax_clients_init(&supervisor->clients) < 0 || make_worker_arguments(supervisor) < 0)
        return UV_ENOMEM;
    code = ax_acceptor_init(&supervisor->acceptor, &supervisor->loop, listeners, count, on_accepted, supervisor);
    if (code == 0)
        code = ax_handshakes_init(&supervisor->handshakes, &supervisor->loop, supervisor->options->handshake_timeout_ms,
                                  at_most_half(files, HANDSHAKES_MAX), on_handshake_done, on_handshake_failed);
    supervisor->handshakes.data = supervisor;
    uv_timer_init(&supervisor->loop, &supervisor->restart_timer);
    uv_timer_init(&supervisor->loop, &supervisor->stop_timer);
    supervisor->restart_timer.data = supervisor;
    supervisor->stop_timer.data = supervisor;
    if (code == 0)
        code = watch_signal(supervisor, &supervisor->sigterm, SIGTERM);
    if (code == 0)
        code = watch_signal(supervisor, &supervisor->sigint, SIGINT);
    return code;
}

static void fini(struct supervisor *supervisor)
{
    uv_loop_close(&supervisor->loop);
    ax_acceptor_free_memory(&supervisor->acceptor);
    ax_clients_fini(&supervisor->clients);
    ax_texts_fini(&supervisor->worker_arguments);
}

int ax_supervisor_run(const struct ax_options *options)
{
    struct supervisor supervisor = {.options = options, .state = STARTING};
    struct ax_listener *listeners;
    size_t count;
    int status = check_interpreter(options);
    int code;

    signal(SIGPIPE, SIG_IGN);
    if (status == 0)
        status = open_listeners(options, &listeners, &count);
    if (status != 0)
        return status;
    code = init(&supervisor, listeners, count);
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot start: %s", uv_strerror(code));
        while (count > 0)
            ax_listener_close(&listeners[--count]);
        return 1; /* the process ends, and what was made so far with it */
    }
    start_worker(&supervisor);
    uv_run(&supervisor.loop, UV_RUN_DEFAULT);
    fini(&supervisor);
    return supervisor.status;
}
