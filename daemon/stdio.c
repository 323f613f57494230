/* SPDX-License-Identifier: MIT */
#include "daemon/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/admission/goodbye.h"
#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/process/control.h"
#include "daemon/process/ending.h"
#include "daemon/process/process.h"
#include "daemon/process/shared_stats.h"
#include "daemon/process/tree.h"
#include "daemon/worker/runtime.h"
#include "daemon/worker/worker.h"

#define FIRST_FD 100 /* above the numbers that scripts use for redirections */

struct front {
    const struct ax_options *options; /* borrowed */
    struct ax_shared_stats *stats;    /* mapped until the process exits */
    pid_t worker;
    int control_fd;
    int signal_fd;
    struct ax_control_fds streams; /* the former standard input and output; -1: closed. Equal for a socket */
    bool is_serving;
    bool is_stopping;
    bool is_abandoned; /* the peer has hung up */
    bool has_died;
    struct ax_ending ending;
    uint64_t due_ms;                 /* when the next step of `ending` is due; UINT64_MAX: never */
    int how;                         /* the worker's status, as from waitpid() */
    char broken[AX_ERROR_TEXT_SIZE]; /* why the connection broke, or "" */
    char dying[AX_ERROR_TEXT_SIZE];  /* why the worker exited, or "" */
};

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
static int take_standard_fds(struct ax_control_fds *streams)
{
    int *in = &streams->fd[0];
    int *out = &streams->fd[1];

    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    *in = move_up(STDIN_FILENO);
    *out = is_same_socket(STDIN_FILENO, STDOUT_FILENO) ? *in : move_up(STDOUT_FILENO);
    if (null < 0 || *in < 0 || *out < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return -1;
    close(null);
    return 0;
}

static void close_streams(struct front *front)
{
    if (front->streams.fd[0] == front->streams.fd[1])
        front->streams.fd[1] = -1;
    ax_control_close(&front->streams);
}

/* ---- the worker ---- */

_Noreturn static void become_worker(const struct ax_options *options, int control_fd, int stats_fd)
{
    struct ax_options own = *options; /* borrows its strings */
    int status;

    own.isolation = AX_ISOLATION_PROCESS; /* one connection, then exit */
    status = ax_runtime_start(&own, control_fd, own.worker_memory > 0 ? ax_worker_out_of_memory : NULL);
    if (status != 0)
        _exit(status);
    ax_worker_run(&own, control_fd, stats_fd);
}

/* 0, or -1 with errno. */
static int start_worker(struct front *front)
{
    int pair[2], stats_fd;

    front->stats = ax_shared_stats_new(1, &stats_fd);
    if (front->stats == NULL || ax_control_pair(pair) < 0)
        return -1;
    front->worker = fork();
    if (front->worker == 0) {
        close(pair[0]);
        close(front->signal_fd);
        close_streams(front);
        become_worker(front->options, pair[1], stats_fd);
    }
    front->control_fd = pair[0];
    close(pair[1]);
    close(stats_fd);
    return front->worker < 0 ? -1 : 0;
}

static void send_connection(struct front *front)
{
    const struct ax_control message = {.type = AX_CONTROL_CONNECTION, .connection = 1};
    int code = ax_control_send(front->control_fd, &message, &front->streams);

    front->is_serving = true;
    if (code == 0)
        return;
    ax_error_format(front->dying, sizeof front->dying, "could not be given the connection: %s", strerror(-code));
    kill(front->worker, SIGKILL);
}

static void tell_to_stop(struct front *front, uint32_t grace_ms, const char *reason)
{
    struct ax_control message = {.type = AX_CONTROL_STOP, .value = grace_ms};

    ax_control_set_reason(&message, reason);
    ax_control_send(front->control_fd, &message, NULL);
}

/* ---- ending the worker (ending.h) ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Ends it after the grace period of its calls. */
static void end_worker(struct front *front)
{
    uint64_t wait_ms;

    if (ax_ending_begin(&front->ending, front->options->grace_ms, &wait_ms))
        front->due_ms = now_ms() + wait_ms;
}

/* The reason to stop a worker that does not end by itself. */
static const char *reason_to_stop(const struct front *front)
{
    if (front->is_stopping)
        return "The server is stopping";
    return front->is_abandoned ? "The client has gone" : "The connection has ended";
}

static void end_overdue_worker(struct front *front)
{
    uint64_t wait_ms;

    if (now_ms() < front->due_ms)
        return;
    switch (ax_ending_next(&front->ending, front->stats->calls.calls_running, &wait_ms)) {
    case AX_ENDING_TELL:
        if (!front->is_serving)
            kill(front->worker, SIGKILL); /* it is still starting, and not needed any more */
        else
            tell_to_stop(front, 0, reason_to_stop(front));
        break;
    case AX_ENDING_WAIT:
        break;
    case AX_ENDING_KILL:
        ax_log(AX_LOG_WARNING, "worker %ld did not end in time, and is killed", (long)front->worker);
        kill(front->worker, SIGKILL);
        front->due_ms = UINT64_MAX;
        return;
    }
    front->due_ms = now_ms() + wait_ms;
}

/* On a signal. */
static void stop_worker(struct front *front)
{
    if (front->is_stopping || !front->is_serving)
        kill(front->worker, SIGKILL); /* a second signal; or there is nothing to drain yet */
    else
        tell_to_stop(front, front->options->grace_ms, "The server is stopping");
    end_worker(front);
    front->is_stopping = true;
}

/* ---- events ---- */

static void take_message(void *arg, const struct ax_control *message, struct ax_control_fds *fds)
{
    struct front *front = arg;
    const char *text = (const char *)message->text;

    (void)fds;
    if (message->type == AX_CONTROL_READY) {
        send_connection(front);
    } else if (message->type == AX_CONTROL_ENDED) {
        ax_error_format(front->broken, sizeof front->broken, "%s", text);
        close_streams(front); /* a pipe ends with its last descriptor */
        end_worker(front);
    } else if (message->type == AX_CONTROL_FAILED) {
        ax_log(AX_LOG_ERROR, "cannot start a worker: %s", text);
    } else if (message->type == AX_CONTROL_DYING) {
        ax_error_format(front->dying, sizeof front->dying, "%s", text);
    }
}

static void take_signals(struct front *front)
{
    struct signalfd_siginfo info;

    while (read(front->signal_fd, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD)
            stop_worker(front);
    front->has_died = front->has_died || ax_tree_reap(front->worker, &front->how);
}

/* The peer has hung up. The worker is notified, too, and ends by itself if it can. */
static void abandon(struct front *front)
{
    front->is_abandoned = true;
    end_worker(front);
}

/* Timeout for poll(): until the next step of the worker's end. */
static int time_left(const struct front *front)
{
    uint64_t now = now_ms();

    if (front->due_ms == UINT64_MAX)
        return -1;
    if (front->due_ms <= now)
        return 0;
    return front->due_ms - now < INT_MAX ? (int)(front->due_ms - now) : INT_MAX;
}

static void await_worker(struct front *front)
{
    struct pollfd items[] = {
        {.fd = front->signal_fd, .events = POLLIN},
        {.fd = front->control_fd, .events = POLLIN},
        {.events = POLLRDHUP}, /* the streams, only for hang-ups: their data is for the worker */
        {.events = POLLRDHUP},
    };

    while (!front->has_died) {
        for (int i = 0; i < 2; i++) {
            items[2 + i].fd = front->is_abandoned ? -1 : front->streams.fd[i];
            items[2 + i].revents = 0;
        }
        if (poll(items, 4, time_left(front)) < 0)
            continue;
        if ((items[2].revents | items[3].revents) != 0)
            abandon(front);
        ax_control_take_all(front->control_fd, take_message, front);
        take_signals(front);
        end_overdue_worker(front);
        if ((items[1].revents & POLLHUP) != 0)
            items[1].fd = -1;
    }
    ax_control_take_all(front->control_fd, take_message, front); /* its last messages */
}

/* ---- the end ---- */

/* The worker died while the connection was open: tells the peer why, if possible. */
static void explain(struct front *front)
{
    char how[AX_ERROR_TEXT_SIZE];

    ax_process_describe_end(front->how, how, sizeof how);
    if (front->is_abandoned)
        ax_error_format(front->broken, sizeof front->broken, "The client has gone");
    else
        ax_error_format(front->broken, sizeof front->broken, "The worker, process %ld, %s", (long)front->worker,
                        front->dying[0] != '\0' ? front->dying : how);
    if (front->stats->wires[0] == AX_WIRE_EXPLAINED)
        ax_goodbye_explain(front->streams.fd[1], front->broken);
    close_streams(front);
}

static int finish(struct front *front)
{
    if (!front->is_serving && !front->is_stopping) /* it has reported why it did not start */
        return WIFEXITED(front->how) ? WEXITSTATUS(front->how) : 1;
    if (front->streams.fd[0] >= 0 && !front->is_stopping && front->stats->wires[0] != AX_WIRE_CLOSED)
        explain(front);
    if (front->broken[0] == '\0')
        return 0;
    ax_log(AX_LOG_ERROR, "the connection broke: %s", front->broken);
    return 1;
}

/* A client's terminal sends SIGINT to all of its processes. Stopping at it would break the connection. */
static int watch_signals(void)
{
    if (!ax_process_is_shielded(SIGINT))
        return ax_process_take_signals((const int[]){SIGCHLD, SIGTERM, SIGHUP, SIGINT, 0});
    signal(SIGINT, SIG_IGN);
    return ax_process_take_signals((const int[]){SIGCHLD, SIGTERM, SIGHUP, 0});
}

int ax_stdio_run(const struct ax_options *options)
{
    struct front front = {.options = options, .due_ms = UINT64_MAX};
    int status;

    if (!is_stream(STDIN_FILENO) || !is_stream(STDOUT_FILENO)) {
        ax_log(AX_LOG_ERROR, "--stdio needs pipes or sockets at both ends: let a program start it, like "
                             "Connection.from_command(['acrossd', '--stdio']), or write --listen ADDRESS");
        return 2;
    }
    ax_tree_adopt();
    ax_process_ignore_write_signals();
    front.signal_fd = watch_signals();
    if (front.signal_fd < 0 || take_standard_fds(&front.streams) < 0 || start_worker(&front) < 0) {
        ax_log(AX_LOG_ERROR, "cannot serve standard input and output: %s", strerror(errno));
        return 1;
    }
    fcntl(front.control_fd, F_SETFL, O_NONBLOCK);
    await_worker(&front);
    status = finish(&front);
    ax_tree_end();
    return status;
}
