/* SPDX-License-Identifier: MIT */
#include "daemon/worker/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/process/control.h"
#include "daemon/process/process.h"
#include "daemon/worker/keeper.h"
#include "daemon/worker/runtime.h"
#include "daemon/worker/worker.h"

static int tell(int control_fd, enum ax_control_type type)
{
    const struct ax_control message = {.type = type};

    return ax_control_send(control_fd, &message, NULL);
}

/* ---- requests ---- */

/* Errors are reported on the worker's own socket, which ends with this process's copy of it. */
static void fork_worker(const struct ax_options *options, int control_fd, bool has_group, struct ax_control_fds *fds)
{
    pid_t pid;

    if (fds->fd[1] < 0) /* one of them exceeded this process's limit */
        return;
    pid = fork(); /* without Python's fork hooks, which are for the worker: the keeper runs no Python */
    if (pid == 0) {
        close(control_fd);
        ax_keeper_run(options, fds->fd[0], fds->fd[1], has_group);
    }
    if (pid < 0)
        ax_control_report_failure(fds->fd[0], errno);
}

_Noreturn static void serve(const struct ax_options *options, int control_fd)
{
    struct ax_control message;
    struct ax_control_fds fds;

    while (ax_control_receive(control_fd, &message, &fds) > 0) {
        if (message.type == AX_CONTROL_FORK)
            fork_worker(options, control_fd, message.value != 0, &fds);
        else if (message.type == AX_CONTROL_PING)
            tell(control_fd, AX_CONTROL_PONG);
        ax_control_close(&fds);
    }
    _exit(0); /* the supervisor does not need it any more */
}

/* ---- start ---- */

/* A user may have typed these options, and the descriptor may be any file, such as the log. */
static bool is_control_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

static int start(const struct ax_options *options, int control_fd)
{
    bool is_limited = options->worker_memory > 0 && options->isolation == AX_ISOLATION_PROCESS;

    return ax_runtime_start(options, control_fd, is_limited ? ax_worker_out_of_memory : NULL);
}

int ax_zygote_run(const struct ax_options *options)
{
    int control_fd = (int)options->control_fd;
    int status, code;

    if (control_fd != AX_PROCESS_CONTROL_FD || !is_control_socket(control_fd) ||
        fcntl(control_fd, F_SETFD, FD_CLOEXEC) < 0) {
        ax_log(AX_LOG_ERROR, "--role is for acrossd's own use: leave it out");
        return 2;
    }
    prctl(PR_SET_NAME, "acrossd-zygote");
    ax_log_start_times();
    status = start(options, control_fd);
    code = tell(control_fd, status == 0 ? AX_CONTROL_READY : AX_CONTROL_FAILED);
    if (status != 0)
        return status;
    if (code < 0) { /* no request would ever arrive */
        ax_log(AX_LOG_ERROR, "the zygote cannot talk to its supervisor: %s", strerror(-code));
        return 1;
    }
    signal(SIGCHLD, SIG_IGN); /* children are reaped by the kernel: keepers report for themselves */
    serve(options, control_fd);
}
