/* SPDX-License-Identifier: MIT */
#include "daemon/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/drain.h"
#include "daemon/interpreter.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/sentence.h"
#include "embed/host.h"

/* A connection that this worker serves, and afterwards the report of its end. */
struct served {
    struct worker *worker;
    uint64_t id;
    char *reason; /* owned; NULL: ended in order */
    struct served *next;
};

struct worker {
    int control_fd;
    int wake_fd; /* an eventfd: there are reports */
    /* Reports for the supervisor, oldest first. Threads of the engine add to them, the main thread sends them. */
    pthread_mutex_t lock;
    struct served *first; /* guarded by lock */
    struct served *last;  /* guarded by lock */
};

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

/* The oldest report, which only this thread takes away; or NULL. */
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

/* Sends what can be sent without waiting. Returns whether that was all. */
static bool send_reports(struct worker *worker)
{
    struct served *served;

    while ((served = peek_report(worker)) != NULL) {
        struct ax_control message = {.type = AX_CONTROL_ENDED, .connection = served->id};

        if (served->reason != NULL)
            ax_control_set_text(&message, served->reason, strlen(served->reason));
        if (ax_control_send(worker->control_fd, &message, -1) == -EAGAIN)
            return false;
        drop_report(worker, served);
    }
    return true;
}

/* ---- messages of the supervisor ---- */

static void serve(struct worker *worker, const struct ax_control *message, int fd)
{
    struct served *served = calloc(1, sizeof *served);
    int code;

    if (served == NULL) {
        ax_log(AX_LOG_WARNING, "connection %llu was dropped: out of memory", (unsigned long long)message->connection);
        if (fd >= 0)
            close(fd);
        return;
    }
    served->worker = worker;
    served->id = message->connection;
    /* A descriptor that does not arrive was one too many for this process. */
    code = fd < 0 ? -EMFILE : ax_host_add(fd, fd, message->text, message->size, on_ended, served);
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
    int fd;
    int result = ax_control_receive(worker->control_fd, &message, &fd);

    if (result == 0)
        _exit(1); /* the supervisor is gone: nobody waits for what runs here */
    if (result < 0) {
        ax_log(AX_LOG_ERROR, "worker %ld cannot hear its supervisor: %s", (long)getpid(), strerror(-result));
        _exit(1);
    }
    if (message.type == AX_CONTROL_CONNECTION)
        serve(worker, &message, fd);
    else if (fd >= 0)
        close(fd);
    if (message.type == AX_CONTROL_STOP)
        stop(worker, message.value, (const char *)message.text);
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

        if (poll(items, 2, -1) < 0)
            continue;
        if ((items[1].revents & POLLIN) != 0)
            eventfd_read(worker->wake_fd, &ignored);
        if ((items[0].revents & ~POLLOUT) != 0)
            take_message(worker);
    }
}

/* ---- start ---- */

int ax_worker_start_interpreter(const struct ax_options *options)
{
    static struct ax_interpreter interpreter; /* the host borrows its paths for as long as the process lives */
    struct ax_host_config config;
    char error[AX_SENTENCE_SIZE];
    enum ax_interpreter_result result;
    int code;

    signal(SIGPIPE, SIG_IGN); /* as in every Python; children of user code get the default back from subprocess */
    result = ax_interpreter_find(&interpreter, options, error, sizeof error);
    if (result != AX_INTERPRETER_OK) {
        ax_log(AX_LOG_ERROR, "%s", error);
        return result == AX_INTERPRETER_REFUSED ? 2 : 1;
    }
    if (options->chdir != NULL && chdir(options->chdir) < 0) {
        ax_log(AX_LOG_ERROR, "--chdir %s: %s: write the name of a folder", options->chdir, strerror(errno));
        return 2;
    }
    config = ax_interpreter_host_config(&interpreter, options);
    code = ax_host_init(&config);
    if (code < 0)
        ax_log(AX_LOG_ERROR, "the interpreter did not start, for the reason above");
    return code < 0 ? 1 : 0;
}

static void tell(const struct worker *worker, enum ax_control_type type)
{
    const struct ax_control message = {.type = type};

    ax_control_send(worker->control_fd, &message, -1);
}

/* Somebody may have typed the options, and any file may have that number: the log's, for one. */
static bool is_control_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

int ax_worker_run(const struct ax_options *options)
{
    struct worker worker = {.control_fd = (int)options->control_fd, .lock = PTHREAD_MUTEX_INITIALIZER};
    int status;

    if (worker.control_fd != AX_PROCESS_CONTROL_FD || !is_control_socket(worker.control_fd) ||
        fcntl(worker.control_fd, F_SETFD, FD_CLOEXEC) < 0) {
        ax_log(AX_LOG_ERROR, "--role is for acrossd's own use: leave it out");
        return 2;
    }
    prctl(PR_SET_NAME, "acrossd-worker");
    ax_process_die_with_parent(worker.control_fd);
    worker.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker.wake_fd < 0) {
        ax_log(AX_LOG_ERROR, "cannot start a worker: %s", strerror(errno));
        return 1;
    }
    status = ax_worker_start_interpreter(options);
    tell(&worker, status == 0 ? AX_CONTROL_READY : AX_CONTROL_FAILED);
    if (status != 0)
        return status;
    run(&worker);
}
