/* SPDX-License-Identifier: MIT */
#include "daemon/process/worker_handle.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/listen/rights.h"
#include "daemon/process/process.h"

static void on_control(uv_poll_t *poll, int status, int events);
static void take_message(void *arg, const struct ax_control *message, struct ax_control_fds *fds);

static void watch_control(struct ax_worker_handle *worker)
{
    if (worker->is_deaf)
        return;
    int wanted = worker->wants_to_write || worker->has_stop ? UV_READABLE | UV_WRITABLE : UV_READABLE;

    uv_poll_start(&worker->control_poll, wanted, on_control);
}

/* ---- its end ---- */

void ax_worker_handle_kill(struct ax_worker_handle *worker)
{
    worker->was_killed = true;
    if (worker->keeper_fd >= 0)
        ax_process_signal(worker->keeper_fd, SIGKILL);
    else
        /* if it is being forked right now, it finds that it has no supervisor */
        shutdown(worker->control_fd, SHUT_RDWR);
}

static void on_ending_due(uv_timer_t *timer)
{
    struct ax_worker_handle *worker = timer->data;
    uint64_t wait_ms;

    switch (ax_ending_next(&worker->ending, worker->stats->calls.calls_running, &wait_ms)) {
    case AX_ENDING_TELL:
        if (worker->state == AX_WORKER_READY)
            ax_worker_handle_stop(worker, 0, "The client has gone");
        break;
    case AX_ENDING_WAIT:
        break;
    case AX_ENDING_KILL:
        ax_log(AX_LOG_WARNING, "worker %ld did not end in time, and is killed", (long)worker->pid);
        ax_worker_handle_kill(worker);
        return;
    }
    uv_timer_start(timer, on_ending_due, wait_ms, 0);
}

void ax_worker_handle_end_after(struct ax_worker_handle *worker, uint32_t grace_ms)
{
    uint64_t wait_ms;

    if (ax_ending_begin(&worker->ending, grace_ms, &wait_ms))
        uv_timer_start(&worker->timer, on_ending_due, wait_ms, 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_worker_handle *worker = handle->data;

    if (--worker->open_handles > 0)
        return;
    ax_shared_stats_free(worker->stats, worker->slots);
    free(worker->free_slots);
    free(worker);
}

/* Closing a poll handle removes its descriptor's number from epoll: so before the descriptor is closed and reused. */
static void unwatch_client(struct ax_worker_handle *worker)
{
    if (worker->watches_client)
        uv_close((uv_handle_t *)&worker->client_poll, on_closed);
    worker->watches_client = false;
}

static void die(struct ax_worker_handle *worker, bool in_order, const char *how)
{
    enum ax_worker_handle_state before = worker->state;

    if (before == AX_WORKER_DEAD)
        return;
    worker->state = AX_WORKER_DEAD;
    worker->events->died(worker, before, in_order, how);
}

static void take_death(struct ax_worker_handle *worker, int status)
{
    char how[AX_ERROR_TEXT_SIZE];
    bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    ax_process_describe_end(status, how, sizeof how);
    die(worker, in_order, worker->why[0] != '\0' ? worker->why : how);
    ax_worker_handle_end_after(worker, 0); /* its keeper exits at once, if it was the keeper that sent this */
}

static void die_of_keeper(struct ax_worker_handle *worker)
{
    const char *how = worker->why;

    if (how[0] == '\0')
        how = worker->was_killed ? "was killed" : "ended together with its keeper";
    die(worker, false, how);
}

/* Its keeper is gone, or was never known. Its descendants are the supervisor's children now. */
static void finish(struct ax_worker_handle *worker)
{
    die_of_keeper(worker);
    worker->events->gone(worker);
    uv_close((uv_handle_t *)&worker->control_poll, on_closed);
    uv_close((uv_handle_t *)&worker->timer, on_closed);
    if (worker->watches_keeper)
        uv_close((uv_handle_t *)&worker->keeper_poll, on_closed);
    unwatch_client(worker);
    close(worker->control_fd);
    if (worker->keeper_fd >= 0)
        close(worker->keeper_fd);
}

/* Whether all other holders have closed this socket. */
static bool has_ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/*
 * Nothing more arrives over the control socket: end of stream, or garbage. User code can cause either, so it proves
 * nothing about the processes: kill the keeper, and let on_keeper_ended() do the rest.
 */
static void end(struct ax_worker_handle *worker)
{
    if (!worker->watches_keeper) {
        finish(worker);
        return;
    }
    uv_poll_stop(&worker->control_poll);
    worker->is_deaf = true;
    if (worker->why[0] == '\0' && !worker->was_killed && !has_ended(worker->control_fd))
        ax_error_format(worker->why, sizeof worker->why, "wrote junk to its control socket, and was killed");
    ax_process_signal(worker->keeper_fd, SIGKILL);
    die_of_keeper(worker);
    worker->was_killed = true;
}

void ax_worker_handle_give_up(struct ax_worker_handle *worker)
{
    ax_worker_handle_kill(worker);
    finish(worker);
}

/* The keeper's last message tells how the worker ended. */
static void on_keeper_ended(uv_poll_t *poll, int status, int events)
{
    struct ax_worker_handle *worker = poll->data;

    (void)status;
    (void)events;
    if (!worker->is_deaf)
        ax_control_take_all(worker->control_fd, take_message, worker);
    finish(worker);
}

/* 0, or a negative errno. */
static int watch_keeper(struct ax_worker_handle *worker)
{
    int code = uv_poll_init(worker->control_poll.loop, &worker->keeper_poll, worker->keeper_fd);

    if (code < 0)
        return code;
    worker->keeper_poll.data = worker;
    worker->watches_keeper = true;
    worker->open_handles++;
    return uv_poll_start(&worker->keeper_poll, UV_READABLE, on_keeper_ended);
}

/* ---- messages ---- */

/* Sent by the keeper before the worker has run any user code: later ones are ignored, and their descriptors closed. */
static void take_started(struct ax_worker_handle *worker, const struct ax_control *message, struct ax_control_fds *fds)
{
    if (worker->pid != 0)
        return;
    worker->pid = (pid_t)message->value;
    worker->keeper = (pid_t)message->connection;
    worker->started_at = uv_now(worker->control_poll.loop);
    worker->keeper_fd = fds->fd[0];
    fds->fd[0] = -1;
    ax_rights_refuse(worker->control_fd);
    worker->events->started(worker);
    if (worker->keeper_fd >= 0 && watch_keeper(worker) < 0)
        ax_worker_handle_kill(worker);
}

/* Ready is a worker that has said so and whose pid is known: its keeper's message may come later. */
static void check_ready(struct ax_worker_handle *worker)
{
    if (worker->state != AX_WORKER_STARTING || !worker->says_ready || worker->pid == 0)
        return;
    worker->state = AX_WORKER_READY;
    worker->events->ready(worker);
}

static void take_message(void *arg, const struct ax_control *message, struct ax_control_fds *fds)
{
    struct ax_worker_handle *worker = arg;
    const char *text = (const char *)message->text;

    switch (message->type) {
    case AX_CONTROL_STARTED:
        take_started(worker, message, fds);
        check_ready(worker);
        break;
    case AX_CONTROL_READY:
        worker->says_ready = true;
        check_ready(worker);
        break;
    case AX_CONTROL_ENDED:
        if (worker->state == AX_WORKER_DEAD)
            break; /* user code wrote it: there are no connections any more */
        worker->events->ended(worker, message->connection, message->size > 0 ? text : NULL);
        break;
    case AX_CONTROL_FAILED:
    case AX_CONTROL_DYING:
        ax_error_format(worker->why, sizeof worker->why, "%s", text);
        break;
    case AX_CONTROL_DIED:
        take_death(worker, (int)message->value);
        break;
    default:
        break;
    }
}

static void send_stop(struct ax_worker_handle *worker)
{
    worker->has_stop = ax_control_is_full(ax_control_send(worker->control_fd, &worker->stop, NULL));
}

static void on_control(uv_poll_t *poll, int status, int events)
{
    struct ax_worker_handle *worker = poll->data;

    /* An error means that the other side has closed; it may have sent something before. */
    if ((status < 0 || (events & UV_READABLE) != 0) && !ax_control_take_all(worker->control_fd, take_message, worker)) {
        end(worker);
        return;
    }
    if (status < 0)
        watch_control(worker); /* its end is still reported */
    if ((events & UV_WRITABLE) != 0) {
        bool was_wanted = worker->wants_to_write;

        worker->wants_to_write = false;
        if (worker->has_stop)
            send_stop(worker);
        if (was_wanted)
            worker->events->writable(worker);
        watch_control(worker);
    }
}

void ax_worker_handle_stop(struct ax_worker_handle *worker, uint32_t grace_ms, const char *reason)
{
    if (worker->state > AX_WORKER_STOPPING)
        return;
    worker->state = AX_WORKER_STOPPING;
    worker->stop = (struct ax_control){.type = AX_CONTROL_STOP, .value = grace_ms};
    ax_control_set_reason(&worker->stop, reason);
    send_stop(worker);
    if (worker->has_stop)
        watch_control(worker);
}

/* ---- its clients ---- */

static void enlist_client(struct ax_worker_handle *worker, struct ax_client *client)
{
    client->next_of_worker = NULL;
    client->previous_of_worker = worker->last_client;
    if (worker->last_client != NULL)
        worker->last_client->next_of_worker = client;
    worker->last_client = client;
}

static void delist_client(struct ax_worker_handle *worker, struct ax_client *client)
{
    if (client->previous_of_worker != NULL)
        client->previous_of_worker->next_of_worker = client->next_of_worker;
    if (client->next_of_worker != NULL)
        client->next_of_worker->previous_of_worker = client->previous_of_worker;
    else
        worker->last_client = client->previous_of_worker;
    client->next_of_worker = client->previous_of_worker = NULL;
}

int ax_worker_handle_give(struct ax_worker_handle *worker, struct ax_client *client, uint32_t handshake_ms)
{
    struct ax_control message = {
        .type = AX_CONTROL_CONNECTION,
        .connection = client->id,
        .value = handshake_ms,
        .slot = worker->free_slots[worker->free_count - 1],
    };
    const struct ax_control_fds fds = {{client->fd, -1}};
    int result;

    worker->stats->wires[message.slot] = AX_WIRE_UNTOUCHED;
    ax_control_set_text(&message, client->received, client->received_size);
    result = ax_control_send(worker->control_fd, &message, &fds);
    if (result == 0) {
        worker->given++;
        worker->connections++;
        worker->free_count--;
        client->slot = message.slot;
        enlist_client(worker, client);
    } else if (result == -EAGAIN) {
        worker->wants_to_write = true;
        watch_control(worker);
    }
    return result;
}

void ax_worker_handle_abandon(struct ax_worker_handle *worker)
{
    worker->was_abandoned = true;
    worker->events->abandoned(worker);
}

static void on_client_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    uv_poll_stop(poll);
    ax_worker_handle_abandon(poll->data);
}

void ax_worker_handle_watch_client(struct ax_worker_handle *worker, const struct ax_client *client)
{
    worker->client_poll.data = worker;
    if (uv_poll_init(worker->control_poll.loop, &worker->client_poll, client->fd) < 0)
        return; /* its worker watches, too */
    worker->watches_client = true;
    worker->open_handles++;
    uv_poll_start(&worker->client_poll, UV_DISCONNECT, on_client_event);
}

void ax_worker_handle_release(struct ax_worker_handle *worker, struct ax_client *client)
{
    delist_client(worker, client);
    worker->free_slots[worker->free_count++] = client->slot;
    worker->connections--;
    unwatch_client(worker);
}

bool ax_worker_handle_may_explain(const struct ax_worker_handle *worker, const struct ax_client *client)
{
    return worker->stats->wires[client->slot] == AX_WIRE_EXPLAINED;
}

bool ax_worker_handle_has_touched(const struct ax_worker_handle *worker, const struct ax_client *client)
{
    return worker->stats->wires[client->slot] != AX_WIRE_UNTOUCHED;
}

/* ---- its start ---- */

static void free_unstarted(struct ax_worker_handle *worker)
{
    if (worker->stats != NULL)
        ax_shared_stats_free(worker->stats, worker->slots);
    free(worker->free_slots);
    free(worker);
}

static struct ax_worker_handle *worker_new(uint32_t slots, int *stats_fd)
{
    struct ax_worker_handle *worker = calloc(1, sizeof *worker);

    if (worker == NULL)
        return NULL;
    worker->slots = worker->free_count = slots;
    worker->keeper_fd = -1;
    worker->free_slots = calloc(slots, sizeof *worker->free_slots);
    worker->stats = worker->free_slots != NULL ? ax_shared_stats_new(slots, stats_fd) : NULL;
    if (worker->stats == NULL) {
        int error = errno;

        free_unstarted(worker);
        errno = error;
        return NULL;
    }
    for (uint32_t i = 0; i < slots; i++)
        worker->free_slots[i] = i;
    return worker;
}

/* 0, or a negative errno. */
static int send_group(int control_fd, const struct ax_group *group)
{
    const struct ax_control message = {.type = AX_CONTROL_GROUP};

    return group != NULL ? ax_control_send(control_fd, &message, &(struct ax_control_fds){{group->procs_fd, -1}}) : 0;
}

int ax_worker_handle_ask(struct ax_worker_handle **result, uv_loop_t *loop, struct ax_zygote_handle *zygote,
                         uint32_t slots, struct ax_group *group, const struct ax_worker_handle_events *events,
                         void *owner)
{
    int stats_fd;
    int pair[2];
    struct ax_worker_handle *worker = worker_new(slots, &stats_fd);
    int code;

    if (worker == NULL)
        return -errno;
    code = ax_control_pair(pair);
    if (code == 0) {
        code = send_group(pair[0], group);
        if (code == 0)
            code = ax_zygote_handle_fork(zygote, pair[1], stats_fd, group != NULL);
        close(pair[1]);
        if (code == 0)
            code = uv_poll_init(loop, &worker->control_poll, pair[0]);
        if (code < 0)
            close(pair[0]);
    }
    close(stats_fd);
    if (code < 0) {
        free_unstarted(worker);
        return code;
    }
    worker->control_fd = pair[0];
    worker->group = group;
    if (group != NULL)
        ax_group_close(group);
    worker->events = events;
    worker->owner = owner;
    worker->asked_at = uv_now(loop);
    uv_timer_init(loop, &worker->timer);
    worker->open_handles = 2;
    worker->control_poll.data = worker->timer.data = worker;
    watch_control(worker);
    *result = worker;
    return 0;
}
