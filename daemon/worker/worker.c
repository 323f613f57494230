/* SPDX-License-Identifier: MIT */
#include "daemon/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/admission/goodbye.h"
#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/process/control.h"
#include "daemon/process/login.h"
#include "daemon/process/process.h"
#include "daemon/process/shared_stats.h"
#include "daemon/worker/drain.h"
#include "embed/host.h"

/* When the system runs out of memory, it should kill one worker rather than the supervisor with all of them. */
#define OOM_SCORE "300"

/* A connection of this worker, and later the report of its end. */
struct served {
    struct worker *worker;
    uint64_t id;
    char *reason; /* owned; NULL: ended in order */
    struct served *next;
};

struct worker {
    const struct ax_options *options; /* borrowed */
    int control_fd;
    struct ax_shared_stats *stats; /* mapped as long as the process lives */
    int wake_fd;                   /* an eventfd: reports are queued */
    /* Reports for the supervisor, oldest first. The engine's threads append them, the main thread sends them. */
    pthread_mutex_t lock;
    struct served *first; /* guarded by lock */
    struct served *last;  /* guarded by lock */
    bool has_user;     /* with --run-as-peer: it has switched to a peer's user, or begun to, and can serve no other */
    bool has_reported; /* the end of a connection has been reported; main thread only */
};

/*
 * The socket and the process of ax_worker_out_of_memory(): in forked children it is closed. Set before other threads
 * start.
 */
static int dying_fd = -1;
static pid_t dying_pid;

/* ---- reports ---- */

static void report(struct served *served)
{
    struct worker *worker = served->worker;

    served->next = NULL;
    pthread_mutex_lock(&worker->lock);
    if (worker->last != NULL)
        worker->last->next = served;
    else
        worker->first = served;
    worker->last = served;
    pthread_mutex_unlock(&worker->lock);
    eventfd_write(worker->wake_fd, 1);
}

static void on_ended(void *arg, const char *reason)
{
    struct served *served = arg;

    if (reason != NULL && reason[0] != '\0')
        served->reason = strdup(reason);
    report(served);
}

/* The oldest report, or NULL. Only this thread removes reports. */
static struct served *peek_report(struct worker *worker)
{
    struct served *served;

    pthread_mutex_lock(&worker->lock);
    served = worker->first;
    pthread_mutex_unlock(&worker->lock);
    return served;
}

static void drop_report(struct worker *worker, struct served *served)
{
    pthread_mutex_lock(&worker->lock);
    worker->first = served->next;
    if (worker->first == NULL)
        worker->last = NULL;
    pthread_mutex_unlock(&worker->lock);
    free(served->reason);
    free(served);
}

/* Without blocking. Returns whether it was sent. */
static bool send_report(struct worker *worker, uint64_t id, const char *reason)
{
    struct ax_control message = {.type = AX_CONTROL_ENDED, .connection = id};

    if (reason != NULL)
        ax_control_set_reason(&message, reason);
    if (ax_control_is_full(ax_control_send(worker->control_fd, &message, NULL)))
        return false;
    worker->has_reported = true;
    return true;
}

/* Sends what can be sent without blocking. Returns whether that was everything. */
static bool send_reports(struct worker *worker)
{
    struct served *served;

    while ((served = peek_report(worker)) != NULL) {
        if (!send_report(worker, served->id, served->reason))
            return false;
        drop_report(worker, served);
    }
    return true;
}

/* For a connection without memory for a queued report. */
static void report_now(struct worker *worker, uint64_t id, const char *reason)
{
    struct pollfd writable = {.fd = worker->control_fd, .events = POLLOUT};

    while (!send_report(worker, id, reason))
        poll(&writable, 1, -1);
}

/* ---- messages from the supervisor ---- */

/*
 * With --run-as-peer: switches to the user at the other end of this connection. 0, or -1 with the reason, which the
 * peer has been told.
 */
static int become_user(struct worker *worker, const struct ax_control *message, int fd, char *reason, size_t size)
{
    int code = -1;

    if (worker->has_user)
        ax_error_format(reason, size, "This worker already runs as another user");
    else
        code = ax_login_as_peer(worker->options, fd, reason, size);
    worker->has_user = true;
    if (code < 0)
        ax_goodbye_refuse(fd, message->text, message->size, reason);
    return code;
}

static void serve(struct worker *worker, const struct ax_control *message, struct ax_control_fds *fds)
{
    struct served *served = calloc(1, sizeof *served);
    char reason[AX_ERROR_TEXT_SIZE];
    int code = -EMFILE; /* a descriptor that did not arrive exceeded this process's limit */

    if (served == NULL) {
        ax_control_close(fds);
        report_now(worker, message->connection, strerror(ENOMEM));
        return;
    }
    served->worker = worker;
    served->id = message->connection;
    if (fds->fd[0] >= 0 && worker->options->run_as_peer &&
        become_user(worker, message, fds->fd[0], reason, sizeof reason) < 0) {
        ax_control_close(fds);
        on_ended(served, reason);
        return;
    }
    if (fds->fd[0] >= 0)
        code = ax_host_add(&(struct ax_host_offer){
            .in_fd = fds->fd[0],
            .out_fd = fds->fd[1] >= 0 ? fds->fd[1] : fds->fd[0],
            .received = message->text,
            .size = message->size,
            .handshake_ms = message->value,
            .wire = &worker->stats->wires[message->slot],
            .ended = on_ended,
            .arg = served,
        });
    if (code < 0)
        on_ended(served, strerror(-code));
}

_Noreturn static void stop(struct worker *worker, uint32_t grace_ms, const char *reason)
{
    bool quiet = ax_drain(grace_ms, reason);

    send_reports(worker);
    ax_drain_exit(quiet, 0);
}

static void take_message(struct worker *worker)
{
    struct ax_control message;
    struct ax_control_fds fds;
    int result = ax_control_receive(worker->control_fd, &message, &fds);

    if (result == 0)
        _exit(1); /* the supervisor is gone */
    if (result < 0) {
        ax_log(AX_LOG_ERROR, "worker %ld cannot hear its supervisor: %s", (long)getpid(), strerror(-result));
        _exit(1);
    }
    if (message.type == AX_CONTROL_CONNECTION)
        serve(worker, &message, &fds);
    else
        ax_control_close(&fds);
    if (message.type == AX_CONTROL_STOP)
        stop(worker, message.value, (const char *)message.text);
}

/* Returns whether the worker is done: it has served its only connection. */
static bool has_had_its_connection(const struct worker *worker)
{
    return worker->has_reported && worker->options->isolation == AX_ISOLATION_PROCESS;
}

_Noreturn static void run(struct worker *worker)
{
    for (;;) {
        bool sent = send_reports(worker);
        struct pollfd items[] = {
            {.fd = worker->control_fd, .events = (short)(sent ? POLLIN : POLLIN | POLLOUT)},
            {.fd = worker->wake_fd, .events = POLLIN},
        };
        eventfd_t ignored;

        if (has_had_its_connection(worker))
            stop(worker, worker->options->grace_ms, NULL);
        if (poll(items, 2, -1) < 0)
            continue;
        if ((items[1].revents & POLLIN) != 0)
            eventfd_read(worker->wake_fd, &ignored);
        if ((items[0].revents & ~POLLOUT) != 0)
            take_message(worker);
    }
}

/* ---- start ---- */

/* Undoes what the process inherited from the zygote and should not keep. */
static void become_ordinary(const struct ax_options *options)
{
    int oom_fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    prctl(PR_SET_NAME, "acrossd-worker");
    setsid();
    ax_process_reset_signals();
    if (oom_fd >= 0) {
        (void)!write(oom_fd, OOM_SCORE, strlen(OOM_SCORE));
        close(oom_fd);
    }
    if (options->no_new_privileges)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (options->worker_memory > 0) {
        const struct rlimit limit = {options->worker_memory, options->worker_memory};

        setrlimit(RLIMIT_DATA, &limit);
    }
}

void ax_worker_out_of_memory(void)
{
    struct ax_control message = {.type = AX_CONTROL_DYING};

    ax_control_set_reason(&message, "ran out of the memory that --worker-memory allows");
    if (getpid() == dying_pid)
        ax_control_send(dying_fd, &message, NULL);
    _exit(1);
}

/* 0, or a negative errno. */
static int tell_ready(const struct worker *worker)
{
    const struct ax_control message = {.type = AX_CONTROL_READY};

    return ax_control_send(worker->control_fd, &message, NULL);
}

_Noreturn void ax_worker_run(const struct ax_options *options, int control_fd, int stats_fd)
{
    struct worker worker = {.options = options, .control_fd = control_fd, .lock = PTHREAD_MUTEX_INITIALIZER};

    become_ordinary(options);
    worker.stats = ax_shared_stats_map(stats_fd);
    worker.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker.stats != NULL)
        ax_host_set_stats(&worker.stats->calls);
    if (worker.stats == NULL || worker.wake_fd < 0 || ax_host_warm_up() < 0) {
        ax_control_report_failure(control_fd, errno);
        _exit(1);
    }
    close(stats_fd);
    ax_host_keep_private(control_fd);
    ax_host_keep_private(worker.wake_fd);
    dying_fd = control_fd;
    dying_pid = getpid();
    if (tell_ready(&worker) < 0)
        _exit(1); /* no request would ever arrive */
    run(&worker);
}
