/* SPDX-License-Identifier: MIT */
#include "daemon/process/zygote_handle.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/process/control.h"
#include "daemon/process/process.h"

/* ---- messages ---- */

static void take_message(void *arg, const struct ax_control *message, struct ax_control_fds *fds)
{
    struct ax_zygote_handle *zygote = arg;

    (void)fds;
    switch (message->type) {
    case AX_CONTROL_READY:
        if (zygote->is_ready)
            break;
        zygote->is_ready = true;
        zygote->events->ready(zygote);
        break;
    case AX_CONTROL_PONG:
        zygote->events->pong(zygote);
        break;
    case AX_CONTROL_FAILED: /* its process exits by itself */
        zygote->has_explained = true;
        break;
    default:
        break;
    }
}

static void on_control(uv_poll_t *poll, int status, int events)
{
    struct ax_zygote_handle *zygote = poll->data;

    (void)events;
    if (status == 0 && ax_control_take_all(zygote->control_fd, take_message, zygote))
        return;
    /* It is exiting, which SIGCHLD will report; or a preloaded module has closed its socket, and it is of no use. */
    uv_poll_stop(poll);
    ax_zygote_handle_kill(zygote);
}

int ax_zygote_handle_fork(struct ax_zygote_handle *zygote, int control_fd, int stats_fd, bool has_group)
{
    const struct ax_control message = {.type = AX_CONTROL_FORK, .value = has_group};
    const struct ax_control_fds fds = {{control_fd, stats_fd}};

    return ax_control_send(zygote->control_fd, &message, &fds);
}

void ax_zygote_handle_ping(struct ax_zygote_handle *zygote)
{
    const struct ax_control message = {.type = AX_CONTROL_PING};

    ax_control_send(zygote->control_fd, &message, NULL);
}

void ax_zygote_handle_kill(struct ax_zygote_handle *zygote)
{
    zygote->was_dismissed = true;
    ax_process_signal(zygote->pidfd, SIGKILL);
}

/* ---- its end ---- */

bool ax_zygote_handle_reap(struct ax_zygote_handle *zygote, pid_t pid, int status)
{
    if (zygote == NULL || zygote->is_reaped || zygote->pid != pid)
        return false;
    zygote->is_reaped = true;
    zygote->status = status;
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_zygote_handle *zygote = handle->data;

    if (--zygote->open_handles == 0)
        free(zygote);
}

static void on_exit_readable(uv_poll_t *poll, int poll_status, int events)
{
    struct ax_zygote_handle *zygote = poll->data;
    char how[AX_ERROR_TEXT_SIZE] = "is gone";

    (void)poll_status;
    (void)events;
    uv_poll_stop(&zygote->control_poll);
    ax_control_take_all(zygote->control_fd, take_message, zygote); /* its last messages */
    /* A debugger may have to be notified first. */
    if (!zygote->is_reaped && waitpid(zygote->pid, &zygote->status, WNOHANG) == zygote->pid)
        zygote->is_reaped = true;
    if (zygote->is_reaped)
        ax_process_describe_end(zygote->status, how, sizeof how);
    uv_close((uv_handle_t *)&zygote->exit_poll, on_closed);
    uv_close((uv_handle_t *)&zygote->control_poll, on_closed);
    close(zygote->pidfd);
    close(zygote->control_fd);
    zygote->events->died(zygote, how);
}

/* ---- its start ---- */

/* Starts polling; on an error the process has no owner, and must be killed. */
static int watch(struct ax_zygote_handle *zygote, uv_loop_t *loop)
{
    int code = uv_poll_init(loop, &zygote->exit_poll, zygote->pidfd);

    zygote->exit_poll.data = zygote;
    zygote->control_poll.data = zygote;
    if (code == 0) {
        zygote->open_handles++;
        code = uv_poll_init(loop, &zygote->control_poll, zygote->control_fd);
    }
    if (code == 0) {
        zygote->open_handles++;
        code = uv_poll_start(&zygote->exit_poll, UV_READABLE, on_exit_readable);
    }
    if (code == 0)
        code = uv_poll_start(&zygote->control_poll, UV_READABLE, on_control);
    return code;
}

static void abandon(struct ax_zygote_handle *zygote)
{
    ax_zygote_handle_kill(zygote); /* it is reaped with the other dead children */
    close(zygote->pidfd);
    close(zygote->control_fd);
    if (zygote->open_handles == 0) {
        free(zygote);
        return;
    }
    if (zygote->open_handles == 2)
        uv_close((uv_handle_t *)&zygote->control_poll, on_closed);
    uv_close((uv_handle_t *)&zygote->exit_poll, on_closed);
}

int ax_zygote_handle_start(struct ax_zygote_handle **result, uv_loop_t *loop, const struct ax_string_list *arguments,
                           char *const *environment, const struct ax_zygote_handle_events *events, void *owner)
{
    struct ax_zygote_handle *zygote = calloc(1, sizeof *zygote);
    int pair[2];
    int code;

    if (zygote == NULL)
        return -ENOMEM;
    code = ax_control_pair(pair);
    if (code < 0) {
        free(zygote);
        return code;
    }
    zygote->events = events;
    zygote->owner = owner;
    zygote->started_at = uv_now(loop);
    zygote->control_fd = pair[0];
    zygote->pid = ax_process_start(arguments, environment, pair[1], &zygote->pidfd);
    close(pair[1]);
    if (zygote->pid < 0) {
        code = zygote->pid;
        close(pair[0]);
        free(zygote);
        return code;
    }
    code = watch(zygote, loop);
    if (code < 0) {
        abandon(zygote);
        return code;
    }
    *result = zygote;
    return 0;
}
