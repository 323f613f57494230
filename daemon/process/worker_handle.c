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

static void watch_control(struct ax_child *child)
{
    if (child->is_deaf)
        return;
    int wanted = child->wants_to_write || child->has_stop ? UV_READABLE | UV_WRITABLE : UV_READABLE;

    uv_poll_start(&child->control_poll, wanted, on_control);
}

/* ---- its end ---- */

void ax_child_kill(struct ax_child *child)
{
    child->was_killed = true;
    if (child->keeper_fd >= 0)
        ax_process_signal(child->keeper_fd, SIGKILL);
    else
        shutdown(child->control_fd, SHUT_RDWR); /* if it is being forked, it finds itself without a supervisor */
}

static void on_ending_due(uv_timer_t *timer)
{
    struct ax_child *child = timer->data;
    uint64_t wait_ms;

    switch (ax_ending_next(&child->ending, child->board->tally.calls_running, &wait_ms)) {
    case AX_ENDING_TELL:
        if (child->state == AX_CHILD_READY)
            ax_child_stop(child, 0, "The client has gone");
        break;
    case AX_ENDING_WAIT:
        break;
    case AX_ENDING_KILL:
        ax_log(AX_LOG_WARNING, "worker %ld did not end in time, and is killed", (long)child->pid);
        ax_child_kill(child);
        return;
    }
    uv_timer_start(timer, on_ending_due, wait_ms, 0);
}

void ax_child_end_after(struct ax_child *child, uint32_t grace_ms)
{
    uint64_t wait_ms;

    if (ax_ending_begin(&child->ending, grace_ms, &wait_ms))
        uv_timer_start(&child->timer, on_ending_due, wait_ms, 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_child *child = handle->data;

    if (--child->open_handles > 0)
        return;
    ax_board_free(child->board, child->slots);
    free(child->free_slots);
    free(child);
}

/* Closing a poll handle touches whatever has its descriptor's number then: so before the descriptor is closed. */
static void unwatch_client(struct ax_child *child)
{
    if (child->watches_client)
        uv_close((uv_handle_t *)&child->client_poll, on_closed);
    child->watches_client = false;
}

static void die(struct ax_child *child, bool in_order, const char *how)
{
    enum ax_child_state before = child->state;

    if (before == AX_CHILD_DEAD)
        return;
    child->state = AX_CHILD_DEAD;
    child->events->died(child, before, in_order, how);
}

static void take_death(struct ax_child *child, int status)
{
    char how[AX_SENTENCE_SIZE];
    bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    ax_process_describe_end(status, how, sizeof how);
    die(child, in_order, child->why[0] != '\0' ? child->why : how);
    ax_child_end_after(child, 0); /* its keeper ends at once, if it was its keeper that said so */
}

static void die_of_keeper(struct ax_child *child)
{
    const char *how = child->why;

    if (how[0] == '\0')
        how = child->was_killed ? "was killed" : "ended together with its keeper";
    die(child, false, how);
}

/* Its keeper is gone, or was never known. What was below it is the supervisor's child now. */
static void finish(struct ax_child *child)
{
    die_of_keeper(child);
    child->events->gone(child);
    uv_close((uv_handle_t *)&child->control_poll, on_closed);
    uv_close((uv_handle_t *)&child->timer, on_closed);
    if (child->watches_keeper)
        uv_close((uv_handle_t *)&child->keeper_poll, on_closed);
    unwatch_client(child);
    close(child->control_fd);
    if (child->keeper_fd >= 0)
        close(child->keeper_fd);
}

/* Whether all others have closed this socket. */
static bool has_ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/*
 * Nothing more comes over the control socket: it has ended, or somebody has written to it what is no message. That shows
 * nothing about the processes, for user code can do either. So the keeper is killed, and on_keeper_ended() does the rest.
 */
static void end(struct ax_child *child)
{
    if (!child->watches_keeper) {
        finish(child);
        return;
    }
    uv_poll_stop(&child->control_poll);
    child->is_deaf = true;
    if (child->why[0] == '\0' && !child->was_killed && !has_ended(child->control_fd))
        ax_sentence(child->why, sizeof child->why, "wrote junk to its control socket, and was killed");
    ax_process_signal(child->keeper_fd, SIGKILL);
    die_of_keeper(child);
    child->was_killed = true;
}

void ax_child_give_up(struct ax_child *child)
{
    ax_child_kill(child);
    finish(child);
}

/* Said last, and before it ended, is what became of the worker. */
static void on_keeper_ended(uv_poll_t *poll, int status, int events)
{
    struct ax_child *child = poll->data;

    (void)status;
    (void)events;
    if (!child->is_deaf)
        ax_control_take_all(child->control_fd, take_message, child);
    finish(child);
}

/* 0, or a negative errno. */
static int watch_keeper(struct ax_child *child)
{
    int code = uv_poll_init(child->control_poll.loop, &child->keeper_poll, child->keeper_fd);

    if (code < 0)
        return code;
    child->keeper_poll.data = child;
    child->watches_keeper = true;
    child->open_handles++;
    return uv_poll_start(&child->keeper_poll, UV_READABLE, on_keeper_ended);
}

/* ---- messages ---- */

/*
 * The keeper says it, before the worker has run anybody's code: from then on it cannot be said again, nor any descriptor
 * be sent here.
 */
static void take_started(struct ax_child *child, const struct ax_control *message, struct ax_control_fds *fds)
{
    if (child->pid != 0)
        return;
    child->pid = (pid_t)message->value;
    child->keeper = (pid_t)message->connection;
    child->started_at = uv_now(child->control_poll.loop);
    child->keeper_fd = fds->fd[0];
    fds->fd[0] = -1;
    ax_rights_refuse(child->control_fd);
    child->events->started(child);
    if (child->keeper_fd >= 0 && watch_keeper(child) < 0)
        ax_child_kill(child);
}

/* Ready is who says so, and is known: its keeper may say that after it. */
static void check_ready(struct ax_child *child)
{
    if (child->state != AX_CHILD_STARTING || !child->says_ready || child->pid == 0)
        return;
    child->state = AX_CHILD_READY;
    child->events->ready(child);
}

static void take_message(void *arg, const struct ax_control *message, struct ax_control_fds *fds)
{
    struct ax_child *child = arg;
    const char *text = (const char *)message->text;

    switch (message->type) {
    case AX_CONTROL_STARTED:
        take_started(child, message, fds);
        check_ready(child);
        break;
    case AX_CONTROL_READY:
        child->says_ready = true;
        check_ready(child);
        break;
    case AX_CONTROL_ENDED:
        if (child->state == AX_CHILD_DEAD)
            break; /* says user code: it has no connections any more */
        child->events->ended(child, message->connection, message->size > 0 ? text : NULL);
        break;
    case AX_CONTROL_FAILED:
    case AX_CONTROL_DYING:
        ax_sentence(child->why, sizeof child->why, "%s", text);
        break;
    case AX_CONTROL_DIED:
        take_death(child, (int)message->value);
        break;
    default:
        break;
    }
}

static void send_stop(struct ax_child *child)
{
    child->has_stop = ax_control_is_full(ax_control_send(child->control_fd, &child->stop, NULL));
}

static void on_control(uv_poll_t *poll, int status, int events)
{
    struct ax_child *child = poll->data;

    /* An error is the end of the other side, which may have said something before. */
    if ((status < 0 || (events & UV_READABLE) != 0) && !ax_control_take_all(child->control_fd, take_message, child)) {
        end(child);
        return;
    }
    if (status < 0)
        watch_control(child); /* whose end comes still */
    if ((events & UV_WRITABLE) != 0) {
        bool was_wanted = child->wants_to_write;

        child->wants_to_write = false;
        if (child->has_stop)
            send_stop(child);
        if (was_wanted)
            child->events->writable(child);
        watch_control(child);
    }
}

void ax_child_stop(struct ax_child *child, uint32_t grace_ms, const char *reason)
{
    if (child->state > AX_CHILD_STOPPING)
        return;
    child->state = AX_CHILD_STOPPING;
    child->stop = (struct ax_control){.type = AX_CONTROL_STOP, .value = grace_ms};
    ax_control_set_sentence(&child->stop, reason);
    send_stop(child);
    if (child->has_stop)
        watch_control(child);
}

/* ---- its clients ---- */

static void enlist_client(struct ax_child *child, struct ax_client *client)
{
    client->next_of_child = NULL;
    client->previous_of_child = child->last_client;
    if (child->last_client != NULL)
        child->last_client->next_of_child = client;
    child->last_client = client;
}

static void delist_client(struct ax_child *child, struct ax_client *client)
{
    if (client->previous_of_child != NULL)
        client->previous_of_child->next_of_child = client->next_of_child;
    if (client->next_of_child != NULL)
        client->next_of_child->previous_of_child = client->previous_of_child;
    else
        child->last_client = client->previous_of_child;
    client->next_of_child = client->previous_of_child = NULL;
}

int ax_child_give(struct ax_child *child, struct ax_client *client, uint32_t handshake_ms)
{
    struct ax_control message = {
        .type = AX_CONTROL_CONNECTION,
        .connection = client->id,
        .value = handshake_ms,
        .slot = child->free_slots[child->free_count - 1],
    };
    const struct ax_control_fds fds = {{client->fd, -1}};
    int result;

    child->board->wires[message.slot] = AX_WIRE_UNTOUCHED;
    ax_control_set_text(&message, client->received, client->received_size);
    result = ax_control_send(child->control_fd, &message, &fds);
    if (result == 0) {
        child->given++;
        child->connections++;
        child->free_count--;
        client->slot = message.slot;
        enlist_client(child, client);
    } else if (result == -EAGAIN) {
        child->wants_to_write = true;
        watch_control(child);
    }
    return result;
}

void ax_child_abandon(struct ax_child *child)
{
    child->was_abandoned = true;
    child->events->abandoned(child);
}

static void on_client_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    uv_poll_stop(poll);
    ax_child_abandon(poll->data);
}

void ax_child_watch_client(struct ax_child *child, const struct ax_client *client)
{
    child->client_poll.data = child;
    if (uv_poll_init(child->control_poll.loop, &child->client_poll, client->fd) < 0)
        return; /* its worker looks, too */
    child->watches_client = true;
    child->open_handles++;
    uv_poll_start(&child->client_poll, UV_DISCONNECT, on_client_event);
}

void ax_child_release(struct ax_child *child, struct ax_client *client)
{
    delist_client(child, client);
    child->free_slots[child->free_count++] = client->slot;
    child->connections--;
    unwatch_client(child);
}

bool ax_child_may_explain(const struct ax_child *child, const struct ax_client *client)
{
    return child->board->wires[client->slot] == AX_WIRE_EXPLAINED;
}

bool ax_child_has_touched(const struct ax_child *child, const struct ax_client *client)
{
    return child->board->wires[client->slot] != AX_WIRE_UNTOUCHED;
}

/* ---- its start ---- */

static void free_unstarted(struct ax_child *child)
{
    if (child->board != NULL)
        ax_board_free(child->board, child->slots);
    free(child->free_slots);
    free(child);
}

static struct ax_child *child_new(uint32_t slots, int *board_fd)
{
    struct ax_child *child = calloc(1, sizeof *child);

    if (child == NULL)
        return NULL;
    child->slots = child->free_count = slots;
    child->keeper_fd = -1;
    child->free_slots = calloc(slots, sizeof *child->free_slots);
    child->board = child->free_slots != NULL ? ax_board_new(slots, board_fd) : NULL;
    if (child->board == NULL) {
        int error = errno;

        free_unstarted(child);
        errno = error;
        return NULL;
    }
    for (uint32_t i = 0; i < slots; i++)
        child->free_slots[i] = i;
    return child;
}

/* 0, or a negative errno. */
static int send_group(int control_fd, const struct ax_group *group)
{
    const struct ax_control message = {.type = AX_CONTROL_GROUP};

    return group != NULL ? ax_control_send(control_fd, &message, &(struct ax_control_fds){{group->procs_fd, -1}}) : 0;
}

int ax_child_ask(struct ax_child **result, uv_loop_t *loop, struct ax_nursery *nursery, uint32_t slots,
                 struct ax_group *group, const struct ax_child_events *events, void *owner)
{
    int board_fd;
    int pair[2];
    struct ax_child *child = child_new(slots, &board_fd);
    int code;

    if (child == NULL)
        return -errno;
    code = ax_control_pair(pair);
    if (code == 0) {
        code = send_group(pair[0], group);
        if (code == 0)
            code = ax_nursery_fork(nursery, pair[1], board_fd, group != NULL);
        close(pair[1]);
        if (code == 0)
            code = uv_poll_init(loop, &child->control_poll, pair[0]);
        if (code < 0)
            close(pair[0]);
    }
    close(board_fd);
    if (code < 0) {
        free_unstarted(child);
        return code;
    }
    child->control_fd = pair[0];
    child->group = group;
    if (group != NULL)
        ax_group_close(group);
    child->events = events;
    child->owner = owner;
    child->asked_at = uv_now(loop);
    uv_timer_init(loop, &child->timer);
    child->open_handles = 2;
    child->control_poll.data = child->timer.data = child;
    watch_control(child);
    *result = child;
    return 0;
}
