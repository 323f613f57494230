/* SPDX-License-Identifier: MIT */
#include "daemon/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/drain.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/runtime.h"
#include "daemon/sentence.h"
#include "embed/host.h"

#define FIRST_FD 100 /* above the numbers that scripts like to choose for themselves */

/* What the signal handler needs. It is set before the handlers are, and only they change it afterwards. */
static pid_t own_pid;
static int wake_fd = -1; /* an eventfd: the connection has ended, or a signal came */
static atomic_bool is_serving;
static atomic_int signals;

static atomic_bool has_ended;
static char end_reason[AX_SENTENCE_SIZE]; /* written before has_ended is set */

/* ---- signals ---- */

/*
 * A child that user code forks has this handler too, and is none of our business: it gets the signal as if there were
 * no handler.
 */
static void on_signal(int number)
{
    int saved = errno;

    if (getpid() != own_pid) {
        signal(number, SIG_DFL);
        raise(number);
    } else if (!is_serving || atomic_fetch_add(&signals, 1) > 0) {
        _exit(0); /* there is nothing to drain yet; or the second signal: at once */
    } else {
        eventfd_write(wake_fd, 1);
    }
    errno = saved;
}

static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* ---- descriptors ---- */

static bool is_stream(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

static int move_up(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);

    return moved >= 0 ? moved : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

static bool is_same_socket(int left, int right)
{
    struct stat a, b;

    return fstat(left, &a) == 0 && fstat(right, &b) == 0 && S_ISSOCK(a.st_mode) && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* 0, or -1 with errno. */
static int take_standard_fds(int *in, int *out)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    *in = move_up(STDIN_FILENO);
    *out = is_same_socket(STDIN_FILENO, STDOUT_FILENO) ? *in : move_up(STDOUT_FILENO);
    if (null < 0 || *in < 0 || *out < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return -1;
    close(null);
    return 0;
}

/* ---- the connection ---- */

static void on_ended(void *arg, const char *reason)
{
    (void)arg;
    snprintf(end_reason, sizeof end_reason, "%s", reason != NULL ? reason : "");
    has_ended = true;
    eventfd_write(wake_fd, 1);
}

static void await_end(void)
{
    struct pollfd item = {.fd = wake_fd, .events = POLLIN};

    while (!has_ended && signals == 0)
        poll(&item, 1, -1); /* a signal that comes between the test and the call has made wake_fd readable */
}

_Noreturn static void finish(const struct ax_options *options)
{
    bool quiet;
    int status = 0;

    if (has_ended && end_reason[0] != '\0') {
        ax_log(AX_LOG_ERROR, "the connection broke: %s", end_reason);
        status = 1;
    }
    quiet = ax_drain(options->grace_ms, "The server is stopping");
    ax_drain_exit(quiet, status);
}

int ax_stdio_run(const struct ax_options *options)
{
    int in, out, status, code;

    if (!is_stream(STDIN_FILENO) || !is_stream(STDOUT_FILENO)) {
        ax_log(AX_LOG_ERROR, "--stdio needs pipes or sockets at both ends: let a program start it, like "
                             "Connection.from_command(['acrossd', '--stdio']), or write --listen ADDRESS");
        return 2;
    }
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0 || take_standard_fds(&in, &out) < 0) {
        ax_log(AX_LOG_ERROR, "cannot take over standard input and output: %s", strerror(errno));
        return 1;
    }
    own_pid = getpid();
    watch_signals();
    status = ax_runtime_start(options, NULL);
    if (status != 0)
        return status;
    is_serving = true;
    watch_signals(); /* again: the interpreter may have set its own */
    code = ax_host_add(&(struct ax_host_offer){.in_fd = in, .out_fd = out, .ended = on_ended});
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot serve standard input and output: %s", strerror(-code));
        return 1;
    }
    await_end();
    finish(options);
}
