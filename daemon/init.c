/* SPDX-License-Identifier: MIT */
#include "daemon/init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/notify.h"

static const int handed_on[] = {SIGTERM, SIGINT, SIGHUP};

#define HANDED_ON (sizeof handed_on / sizeof handed_on[0])

static bool has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* ---- the parent ---- */

/* Exits in the same way as the child did. Process 1 cannot kill itself with a signal. */
_Noreturn static void end_like(int status)
{
    sigset_t none;

    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status));
    signal(WTERMSIG(status), SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    raise(WTERMSIG(status));
    _exit(128 + WTERMSIG(status));
}

static void reap(pid_t child)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == child)
            end_like(status);
}

/* A stream ends only when its last descriptor is closed. */
static void let_go_of_streams(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        close(null);
    }
    for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) /* inherited sockets; there are few */
        close(fd);
}

/*
 * By default systemd accepts messages only from the service's main process. Process 1 is in a PID namespace of its own,
 * where pids mean nothing to a service manager outside.
 */
static void tell_main_process(pid_t child)
{
    char message[32];

    if (getpid() == 1)
        return;
    ax_notify_init();
    snprintf(message, sizeof message, "MAINPID=%ld", (long)child);
    ax_notify_send(message);
    ax_notify_fini();
}

_Noreturn static void wait_for(pid_t child, const sigset_t *awaited)
{
    prctl(PR_SET_NAME, "acrossd-init");
    tell_main_process(child);
    let_go_of_streams();
    for (;;) {
        int number = sigwaitinfo(awaited, NULL);

        if (number == SIGCHLD || number < 0)
            reap(child);
        else
            kill(child, number);
    }
}

/* ---- the child ---- */

/* Variables of the service manager name the parent's pid: rewrites them for this process. */
static void take_over_variable(const char *name, pid_t parent)
{
    const char *value = getenv(name);
    char number[24];

    snprintf(number, sizeof number, "%ld", (long)parent);
    if (value == NULL || strcmp(value, number) != 0)
        return;
    snprintf(number, sizeof number, "%ld", (long)getpid());
    setenv(name, number, 1);
}

static void begin(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);  /* the parent ended before that call */
    setpgid(0, 0); /* the parent forwards a terminal's Ctrl-C, which must not arrive twice */
    take_over_variable("LISTEN_PID", parent);
    take_over_variable("WATCHDOG_PID", parent);
}

int ax_init_stay_apart(void)
{
    sigset_t awaited, before;
    pid_t parent = getpid();
    pid_t child;

    if (parent != 1 && !has_children())
        return 0;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    for (size_t i = 0; i < HANDED_ON; i++)
        sigaddset(&awaited, handed_on[i]);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &awaited, &before);
    child = fork();
    if (child > 0)
        wait_for(child, &awaited);
    if (child == 0)
        begin(parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return child < 0 ? -errno : 0;
}
