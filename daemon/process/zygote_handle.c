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
    struct ax_nursery *nursery = arg;

    (void)fds;
    switch (message->type) {
    case AX_CONTROL_READY:
        if (nursery->is_ready)
            break;
        nursery->is_ready = true;
        nursery->events->ready(nursery);
        break;
    case AX_CONTROL_PONG:
        nursery->events->pong(nursery);
        break;
    case AX_CONTROL_FAILED: /* its process ends by itself */
        nursery->has_explained = true;
        break;
    default:
        break;
    }
}

static void on_control(uv_poll_t *poll, int status, int events)
{
    struct ax_nursery *nursery = poll->data;

    (void)events;
    if (status == 0 && ax_control_take_all(nursery->control_fd, take_message, nursery))
        return;
    /* It is ending, which its exit will tell; or a preloaded module has closed its socket, and it is of no use. */
    uv_poll_stop(poll);
    ax_nursery_kill(nursery);
}

int ax_nursery_fork(struct ax_nursery *nursery, int control_fd, int board_fd, bool has_group)
{
    const struct ax_control message = {.type = AX_CONTROL_FORK, .value = has_group};
    const struct ax_control_fds fds = {{control_fd, board_fd}};

    return ax_control_send(nursery->control_fd, &message, &fds);
}

void ax_nursery_ping(struct ax_nursery *nursery)
{
    const struct ax_control message = {.type = AX_CONTROL_PING};

    ax_control_send(nursery->control_fd, &message, NULL);
}

void ax_nursery_kill(struct ax_nursery *nursery)
{
    nursery->was_dismissed = true;
    ax_process_signal(nursery->pidfd, SIGKILL);
}

/* ---- its end ---- */

bool ax_nursery_bury(struct ax_nursery *nursery, pid_t pid, int status)
{
    if (nursery == NULL || nursery->is_buried || nursery->pid != pid)
        return false;
    nursery->is_buried = true;
    nursery->status = status;
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_nursery *nursery = handle->data;

    if (--nursery->open_handles == 0)
        free(nursery);
}

static void on_exit_readable(uv_poll_t *poll, int poll_status, int events)
{
    struct ax_nursery *nursery = poll->data;
    char how[AX_SENTENCE_SIZE] = "is gone";

    (void)poll_status;
    (void)events;
    uv_poll_stop(&nursery->control_poll);
    ax_control_take_all(nursery->control_fd, take_message, nursery); /* what it said last */
    /* A debugger may have it first. */
    if (!nursery->is_buried && waitpid(nursery->pid, &nursery->status, WNOHANG) == nursery->pid)
        nursery->is_buried = true;
    if (nursery->is_buried)
        ax_process_describe_end(nursery->status, how, sizeof how);
    uv_close((uv_handle_t *)&nursery->exit_poll, on_closed);
    uv_close((uv_handle_t *)&nursery->control_poll, on_closed);
    close(nursery->pidfd);
    close(nursery->control_fd);
    nursery->events->died(nursery, how);
}

/* ---- its start ---- */

/* Starts to watch; on an error the process is nobody's, and has to go. */
static int watch(struct ax_nursery *nursery, uv_loop_t *loop)
{
    int code = uv_poll_init(loop, &nursery->exit_poll, nursery->pidfd);

    nursery->exit_poll.data = nursery;
    nursery->control_poll.data = nursery;
    if (code == 0) {
        nursery->open_handles++;
        code = uv_poll_init(loop, &nursery->control_poll, nursery->control_fd);
    }
    if (code == 0) {
        nursery->open_handles++;
        code = uv_poll_start(&nursery->exit_poll, UV_READABLE, on_exit_readable);
    }
    if (code == 0)
        code = uv_poll_start(&nursery->control_poll, UV_READABLE, on_control);
    return code;
}

static void abandon(struct ax_nursery *nursery)
{
    ax_nursery_kill(nursery); /* it is buried with what else has ended */
    close(nursery->pidfd);
    close(nursery->control_fd);
    if (nursery->open_handles == 0) {
        free(nursery);
        return;
    }
    if (nursery->open_handles == 2)
        uv_close((uv_handle_t *)&nursery->control_poll, on_closed);
    uv_close((uv_handle_t *)&nursery->exit_poll, on_closed);
}

int ax_nursery_start(struct ax_nursery **result, uv_loop_t *loop, const struct ax_texts *arguments,
                     char *const *environment, const struct ax_nursery_events *events, void *owner)
{
    struct ax_nursery *nursery = calloc(1, sizeof *nursery);
    int pair[2];
    int code;

    if (nursery == NULL)
        return -ENOMEM;
    code = ax_control_pair(pair);
    if (code < 0) {
        free(nursery);
        return code;
    }
    nursery->events = events;
    nursery->owner = owner;
    nursery->started_at = uv_now(loop);
    nursery->control_fd = pair[0];
    nursery->pid = ax_process_start(arguments, environment, pair[1], &nursery->pidfd);
    close(pair[1]);
    if (nursery->pid < 0) {
        code = nursery->pid;
        close(pair[0]);
        free(nursery);
        return code;
    }
    code = watch(nursery, loop);
    if (code < 0) {
        abandon(nursery);
        return code;
    }
    *result = nursery;
    return 0;
}
