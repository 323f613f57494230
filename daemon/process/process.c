/* SPDX-License-Identifier: MIT */
#include "daemon/process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/log.h"

#define FILES_MAX 65536 /* more connections than that run into other limits first */

void ax_process_open_standard_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

unsigned ax_process_raise_file_limit(void)
{
    struct rlimit limit;
    rlim_t wanted;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1024;
    wanted = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
    if (limit.rlim_cur < wanted) {
        rlim_t before = limit.rlim_cur;

        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            limit.rlim_cur = before;
    }
    return limit.rlim_cur < FILES_MAX ? (unsigned)limit.rlim_cur : FILES_MAX;
}

/*
 * ---- the child's side, between fork and exec: only async-signal-safe functions, since another thread may hold a lock
 * ----
 */

void ax_process_ignore_write_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void ax_process_unblock_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void ax_process_reset_signals(void)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* fails for the few that cannot be caught */
    ax_process_ignore_write_signals();
    ax_process_unblock_signals();
}

static int place_fds(int control_fd)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    /* dup2() would leave close-on-exec set if the descriptor has that number already. */
    if (control_fd == AX_PROCESS_CONTROL_FD) {
        if (fcntl(control_fd, F_SETFD, 0) < 0)
            return -1;
    } else if (dup2(control_fd, AX_PROCESS_CONTROL_FD) < 0) {
        return -1;
    }
    if (null < 0 || dup2(null, STDIN_FILENO) < 0)
        return -1;
    /* acrossd's own descriptors are close-on-exec; this is for inherited ones. Older kernels lack the call. */
    syscall(SYS_close_range, (unsigned)AX_PROCESS_CONTROL_FD + 1, ~0u, 0u);
    return 0;
}

static void run_child(const struct ax_string_list *arguments, char *const *environment, int control_fd)
{
    ax_process_reset_signals();
    setsid();
    if (place_fds(control_fd) == 0)
        execve("/proc/self/exe", arguments->items, environment);
    ax_log_bare("acrossd: cannot start a process of acrossd: %s",
                strerror(errno)); /* uses no clock, which takes a lock */
    _exit(1);
}

/* ---- the parent's side ---- */

/* Block signals: one delivered to the child before it has default dispositions would be handled as the parent's. */
static pid_t fork_quietly(void)
{
    sigset_t all, before;
    pid_t pid;
    int error;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    error = errno;
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return pid;
}

pid_t ax_process_start(const struct ax_string_list *arguments, char *const *environment, int control_fd, int *pidfd)
{
    pid_t pid = fork_quietly();

    if (pid < 0)
        return -errno;
    if (pid == 0)
        run_child(arguments, environment, control_fd);
    *pidfd = (int)syscall(SYS_pidfd_open, pid, 0u); /* only we wait for it, so the pid cannot have been reused */
    if (*pidfd < 0) {
        int code = errno;

        kill(pid, SIGKILL);
        return -code;
    }
    return pid;
}

int ax_process_take_signals(const int *numbers)
{
    sigset_t set;

    sigemptyset(&set);
    for (; *numbers != 0; numbers++)
        sigaddset(&set, *numbers);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool ax_process_is_shielded(int number)
{
    struct sigaction action;
    sigset_t blocked;

    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        return true;
    return sigprocmask(SIG_SETMASK, NULL, &blocked) == 0 && sigismember(&blocked, number) == 1;
}

int ax_process_signal(int pidfd, int number)
{
    return syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0u) < 0 ? -errno : 0;
}

void ax_process_describe_end(int status, char *how, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(how, size, "was killed by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WCOREDUMP(status) ? ", and left a core dump" : "");
    else
        snprintf(how, size, "exited with status %d", WEXITSTATUS(status));
}

void ax_process_die_with_parent(int control_fd)
{
    struct pollfd item = {.fd = control_fd};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (poll(&item, 1, 0) == 1 && (item.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
        _exit(1); /* the parent ended before that call */
}

struct last_resort {
    struct timespec time;
    int status;
};

static void *wait_and_exit(void *arg)
{
    struct last_resort *resort = arg;

    while (nanosleep(&resort->time, &resort->time) < 0 && errno == EINTR)
        continue;
    _exit(resort->status);
}

void ax_process_exit_within(uint32_t milliseconds, int status)
{
    static struct last_resort resort; /* the thread may start after this function has returned */
    pthread_t thread;

    resort = (struct last_resort){
        .time = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000},
        .status = status,
    };
    if (pthread_create(&thread, NULL, wait_and_exit, &resort) != 0)
        _exit(status);
    pthread_detach(thread);
}
