/* SPDX-License-Identifier: MIT */
#include "daemon/worker/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/process/cgroup.h"
#include "daemon/process/control.h"
#include "daemon/process/login.h"
#include "daemon/process/process.h"
#include "daemon/process/tree.h"
#include "daemon/worker/worker.h"
#include "embed/host.h"

struct keeper {
    int control_fd;
    int child_fd; /* a signalfd for SIGCHLD */
    pid_t worker;
};

/* ---- reports to the supervisor ---- */

/* Blocks while the queue is full, as long as there is a supervisor. */
static void tell(const struct keeper *keeper, const struct ax_control *message, const struct ax_control_fds *fds)
{
    struct pollfd writable = {.fd = keeper->control_fd, .events = POLLOUT};

    while (ax_control_is_full(ax_control_send(keeper->control_fd, message, fds)) && poll(&writable, 1, -1) != 0 &&
           (writable.revents & POLLHUP) == 0)
        continue;
}

static void tell_started(const struct keeper *keeper)
{
    const struct ax_control message = {
        .type = AX_CONTROL_STARTED, .value = (uint32_t)keeper->worker, .connection = (uint64_t)getpid()};
    struct ax_control_fds fds = {{(int)syscall(SYS_pidfd_open, getpid(), 0u), -1}};

    tell(keeper, &message, &fds);
    ax_control_close(&fds);
}

static void tell_died(const struct keeper *keeper, int status)
{
    const struct ax_control message = {.type = AX_CONTROL_DIED, .value = (uint32_t)status};

    tell(keeper, &message, NULL);
}

/* ---- keeping ---- */

_Noreturn static void keep(const struct keeper *keeper)
{
    struct pollfd items[] = {
        {.fd = keeper->child_fd, .events = POLLIN},
        {.fd = keeper->control_fd}, /* only for its end: the messages are for the worker */
    };
    struct signalfd_siginfo ignored;
    int status;

    for (;;) {
        poll(items, 2, -1);
        (void)!read(keeper->child_fd, &ignored, sizeof ignored);
        if (ax_tree_reap(keeper->worker, &status)) {
            tell_died(keeper, status);
            break;
        }
        if (items[1].revents != 0)
            break;
    }
    ax_tree_end();
    _exit(0);
}

/* ---- starting ---- */

static int group_socket = -1; /* the socket from which a worker receives its group; set before the fork */

/* The supervisor sent it before it requested this worker. */
static void enter_group(int control_fd)
{
    struct ax_control message;
    struct ax_control_fds fds;
    int code = ax_control_receive(control_fd, &message, &fds);

    if (code > 0)
        code = message.type == AX_CONTROL_GROUP && fds.fd[0] >= 0 ? ax_cgroup_join(fds.fd[0]) : -EMFILE;
    else if (code == 0)
        _exit(1); /* the supervisor is gone */
    if (code < 0)
        ax_log(AX_LOG_WARNING, "worker %ld cannot enter its control group, and goes without: %s", (long)getpid(),
               strerror(-code));
    ax_control_close(&fds);
}

static void begin_worker(pid_t keeper)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != keeper)
        _exit(1); /* the parent ended before that call */
    if (group_socket >= 0)
        enter_group(group_socket);
}

_Noreturn void ax_keeper_run(const struct ax_options *options, int control_fd, int stats_fd, bool has_group)
{
    struct keeper keeper = {.control_fd = control_fd};

    prctl(PR_SET_NAME, "acrossd-keeper");
    group_socket = has_group ? control_fd : -1;
    setsid();
    /*
     * When the parent ends: no effect on a running process. A stopped one continues, and finds that its parent is gone.
     */
    prctl(PR_SET_PDEATHSIG, SIGCONT);
    ax_tree_adopt();
    if (options->run_as_peer)
        ax_login_prepare();
    keeper.child_fd = ax_process_take_signals((const int[]){SIGCHLD, 0});
    keeper.worker = keeper.child_fd >= 0 ? ax_host_fork(begin_worker) : -1;
    if (keeper.worker < 0) {
        ax_control_report_failure(control_fd, errno);
        _exit(1);
    }
    if (keeper.worker == 0) {
        close(keeper.child_fd);
        ax_worker_run(options, control_fd, stats_fd);
    }
    close(stats_fd);
    tell_started(&keeper);
    keep(&keeper);
}
