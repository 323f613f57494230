/* SPDX-License-Identifier: MIT */
#include "daemon/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/sentence.h"

static void on_control(uv_poll_t *poll, int status, int events);

static void watch_control(struct ax_child *child)
{
    int wanted = child->wants_to_write || child->has_stop ? UV_READABLE | UV_WRITABLE : UV_READABLE;

    uv_poll_start(&child->control_poll, wanted, on_control);
}

void ax_child_kill(struct ax_child *child)
{
    ax_process_signal(child->pidfd, SIGKILL);
}

/* ---- messages ---- */

static void take_message(struct ax_child *child, const struct ax_control *message)
{
    switch (message->type) {
    case AX_CONTROL_READY:
        if (child->state != AX_CHILD_STARTING)
            break;
        child->state = AX_CHILD_READY;
        child->ready_at = uv_now(child->control_poll.loop);
        child->events->ready(child);
        break;
    case AX_CONTROL_ENDED:
        child->events->ended(child, message->connection, message->size > 0 ? (const char *)message->text : NULL);
        break;
    case AX_CONTROL_FAILED: /* its process ends by itself */
        child->has_explained = true;
        break;
    default:
        break;
    }
}

/* Takes all messages that are there. Returns whether more can come. */
static bool take_messages(struct ax_child *child)
{
    struct ax_control message;
    int result, fd;

    while ((result = ax_control_receive(child->control_fd, &message, &fd)) > 0) {
        if (fd >= 0)
            close(fd);
        take_message(child, &message);
    }
    return result == -EAGAIN;
}

static void send_stop(struct ax_child *child)
{
    child->has_stop = ax_control_send(child->control_fd, &child->stop, -1) == -EAGAIN;
}

static void on_control(uv_poll_t *poll, int status, int events)
{
    struct ax_child *child = poll->data;

    if (status < 0 || ((events & UV_READABLE) != 0 && !take_messages(child))) {
        /*
         * It is ending, which its exit will tell; or user code has closed its control socket, and nothing else can
         * end it.
         */
        uv_poll_stop(poll);
        ax_child_kill(child);
        return;
    }
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

int ax_child_give(struct ax_child *child, const struct ax_client *client)
{
    struct ax_control message = {.type = AX_CONTROL_CONNECTION, .connection = client->id};
    int result;

    ax_control_set_text(&message, client->received, client->received_size);
    result = ax_control_send(child->control_fd, &message, client->fd);
    if (result == 0)
        child->given++;
    if (result == -EAGAIN) {
        child->wants_to_write = true;
        watch_control(child);
    }
    return result;
}

void ax_child_stop(struct ax_child *child, uint32_t grace_ms, const char *reason)
{
    child->state = AX_CHILD_STOPPING;
    child->stop = (struct ax_control){.type = AX_CONTROL_STOP, .value = grace_ms};
    ax_control_set_text(&child->stop, reason, strlen(reason));
    send_stop(child);
    if (child->has_stop)
        watch_control(child);
}

/* ---- its end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct ax_child *child = handle->data;

    if (--child->open_handles == 0)
        free(child);
}

static void describe_end(int status, char *how, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(how, size, "was killed by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WCOREDUMP(status) ? ", and left a core dump" : "");
    else
        snprintf(how, size, "exited with status %d", WEXITSTATUS(status));
}

static void on_exit_readable(uv_poll_t *poll, int poll_status, int events)
{
    struct ax_child *child = poll->data;
    char how[AX_SENTENCE_SIZE] = "is gone";
    bool in_order = false;
    int status;

    (void)poll_status;
    (void)events;
    uv_poll_stop(&child->control_poll);
    take_messages(child); /* what it said last */
    /* What it started and left behind. Its number is its own, and its group's, until it has been waited for. */
    kill(-child->pid, SIGKILL);
    if (waitpid(child->pid, &status, 0) == child->pid) {
        describe_end(status, how, sizeof how);
        in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    uv_close((uv_handle_t *)&child->exit_poll, on_closed);
    uv_close((uv_handle_t *)&child->control_poll, on_closed);
    close(child->pidfd);
    close(child->control_fd);
    child->events->died(child, in_order, how);
}

/* ---- its start ---- */

/* Starts to watch; on an error the child is nobody's, and has to go. */
static int watch(struct ax_child *child, uv_loop_t *loop)
{
    int code = uv_poll_init(loop, &child->exit_poll, child->pidfd);

    child->exit_poll.data = child;
    child->control_poll.data = child;
    if (code == 0) {
        child->open_handles++;
        code = uv_poll_init(loop, &child->control_poll, child->control_fd);
    }
    if (code == 0) {
        child->open_handles++;
        code = uv_poll_start(&child->exit_poll, UV_READABLE, on_exit_readable);
    }
    if (code == 0)
        watch_control(child);
    return code;
}

static void abandon(struct ax_child *child)
{
    ax_child_kill(child);
    waitpid(child->pid, NULL, 0);
    if (child->open_handles == 2)
        uv_close((uv_handle_t *)&child->control_poll, on_closed);
    if (child->open_handles > 0)
        uv_close((uv_handle_t *)&child->exit_poll, on_closed);
    close(child->pidfd);
    close(child->control_fd);
    if (child->open_handles == 0)
        free(child);
}

int ax_child_start(struct ax_child **result, uv_loop_t *loop, const struct ax_texts *arguments,
                   const struct ax_child_events *events, void *owner)
{
    struct ax_child *child = calloc(1, sizeof *child);
    int pair[2];
    int code;

    if (child == NULL)
        return -ENOMEM;
    code = ax_control_pair(pair);
    if (code < 0) {
        free(child);
        return code;
    }
    child->events = events;
    child->owner = owner;
    child->control_fd = pair[0];
    child->pid = ax_process_start(arguments, pair[1], &child->pidfd);
    close(pair[1]);
    if (child->pid < 0) {
        code = child->pid;
        close(pair[0]);
        free(child);
        return code;
    }
    code = watch(child, loop);
    if (code < 0) {
        abandon(child);
        return code;
    }
    *result = child;
    return 0;
}
