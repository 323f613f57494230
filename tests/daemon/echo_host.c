/* SPDX-License-Identifier: MIT */
/*
 * embed/host.h without an interpreter, for tests of the daemon alone: a thread per connection echoes what the client
 * sends. Some bytes are commands:
 *
 *   K  this process kills itself (SIGKILL)      X  this process exits with status 3
 *   B  a call starts to run                     D  it is done
 *   E  the connection ends with an error        P  prints "printed" to descriptor 1, reads from descriptor 0
 *   M  a call runs out of memory                G  leaves an orphan behind, in a session of its own
 *   S  reads no more, and does not notice that the client has gone; ends with the reason that it is closed for
 *
 * The environment variable ECHO_HOST_FAIL names a file: while it exists, the interpreter does not start. If the file is
 * not empty, the interpreter starts, but its process is killed (SIGALRM) a millisecond later.
 */
#include "embed/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct connection {
    int in_fd;
    int out_fd;
    bool is_deaf;
    ax_host_ended_fn *ended;
    void *arg;
    struct connection *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct connection *connections; /* guarded by lock */
static struct ax_host_counts counts;   /* guarded by lock */
static int closing[2] = {-1, -1};      /* a pipe that becomes readable when all connections are to be closed */
static struct ax_call_stats *calls;    /* NULL: not published */
static char closing_reason[100];       /* written before that */
static void (*out_of_memory)(void);

int ax_host_init(const struct ax_host_config *config)
{
    const char *fail = getenv("ECHO_HOST_FAIL");

    struct stat status;

    if (fail != NULL && stat(fail, &status) == 0) {
        const struct itimerval soon = {.it_value.tv_usec = 1000};

        if (S_ISREG(status.st_mode) && status.st_size > 0)
            return setitimer(ITIMER_REAL, &soon, NULL);
        fputs("Traceback: the echo host was told to fail\n", stderr);
        return -1;
    }
    out_of_memory = config->out_of_memory;
    return config->python != NULL && config->package_dir != NULL ? 0 : -1;
}

pid_t ax_host_fork(void (*first)(pid_t parent))
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0)
        first(parent);
    return pid;
}

void ax_host_set_stats(struct ax_call_stats *new_stats)
{
    calls = new_stats;
}

void ax_host_keep_private(int fd)
{
    (void)fd;
}

int ax_host_warm_up(void)
{
    return 0;
}

void ax_host_set_variables(const char *const *variables)
{
    for (; *variables != NULL; variables += 2)
        if (setenv(variables[0], variables[1], 1) < 0)
            abort();
}

static void end(struct connection *connection, const char *reason)
{
    struct connection **link = &connections;

    shutdown(connection->out_fd, SHUT_RDWR);
    close(connection->in_fd);
    if (connection->out_fd != connection->in_fd)
        close(connection->out_fd);
    if (connection->ended != NULL)
        connection->ended(connection->arg, reason);
    pthread_mutex_lock(&lock);
    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    counts.connections--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    free(connection);
}

static void count_call(int change)
{
    pthread_mutex_lock(&lock);
    counts.calls_running = (uint32_t)((int)counts.calls_running + change);
    if (calls != NULL)
        calls->calls_running = counts.calls_running;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* A process that keeps the log open: a test notices if it is not killed. */
static void leave_behind(void)
{
    if (fork() > 0)
        return;
    setsid();
    for (;;)
        pause();
}

static const char *act(struct connection *connection, char byte)
{
    char buffer[8];

    switch (byte) {
    case 'K':
        raise(SIGKILL);
        break;
    case 'X':
        _exit(3);
    case 'B':
        count_call(1);
        break;
    case 'D':
        count_call(-1);
        break;
    case 'E':
        return "broken on purpose";
    case 'M':
        if (out_of_memory != NULL)
            out_of_memory();
        break;
    case 'S':
        connection->is_deaf = true;
        break;
    case 'G':
        leave_behind();
        break;
    case 'P':
        if (write(STDOUT_FILENO, "printed\n", 8) != 8 || read(STDIN_FILENO, buffer, sizeof buffer) != 0)
            return "the standard descriptors are wrong";
        break;
    }
    return NULL;
}

/* Waits for bytes, and echoes them. NULL: continue; otherwise the reason for the end. */
static const char *echo(struct connection *connection)
{
    struct pollfd items[] = {{.fd = connection->is_deaf ? -1 : connection->in_fd, .events = POLLIN},
                             {.fd = closing[0], .events = POLLIN}};
    char buffer[4096];
    ssize_t size;

    if (poll(items, 2, -1) < 0)
        return NULL;
    if (items[1].revents != 0)
        return connection->is_deaf ? closing_reason : "";
    size = read(connection->in_fd, buffer, sizeof buffer);
    if (size <= 0)
        return size < 0 ? strerror(errno) : "";
    for (ssize_t i = 0; i < size; i++) {
        const char *reason = act(connection, buffer[i]);

        if (reason != NULL)
            return reason;
    }
    return write(connection->out_fd, buffer, (size_t)size) == size ? NULL : "the peer does not read";
}

static void *run(void *arg)
{
    struct connection *connection = arg;
    const char *reason;

    do
        reason = echo(connection);
    while (reason == NULL);
    end(connection, reason);
    return NULL;
}

int ax_host_add(const struct ax_host_offer *offer)
{
    struct connection *connection = calloc(1, sizeof *connection);
    pthread_t thread;

    *connection =
        (struct connection){.in_fd = offer->in_fd, .out_fd = offer->out_fd, .ended = offer->ended, .arg = offer->arg};
    if (offer->wire != NULL)
        *offer->wire = AX_WIRE_BUSY;
    if (offer->size > 0 && write(offer->out_fd, offer->received, offer->size) != (ssize_t)offer->size)
        abort();
    if (closing[0] < 0 && pipe2(closing, O_CLOEXEC) < 0)
        abort();
    pthread_mutex_lock(&lock);
    connection->next = connections;
    connections = connection;
    counts.connections++;
    pthread_mutex_unlock(&lock);
    if (pthread_create(&thread, NULL, run, connection) != 0)
        abort();
    pthread_detach(thread);
    return 0;
}

void ax_host_count(struct ax_host_counts *result)
{
    pthread_mutex_lock(&lock);
    *result = counts;
    pthread_mutex_unlock(&lock);
}

bool ax_host_wait_idle(uint32_t timeout_ms)
{
    struct timespec until;
    bool idle;
    int code = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    while ((counts.connections > 0 || counts.calls_running > 0) && code == 0)
        code = pthread_cond_timedwait(&changed, &lock, &until);
    idle = counts.connections == 0 && counts.calls_running == 0;
    pthread_mutex_unlock(&lock);
    return idle;
}

void ax_host_close_all(const char *reason)
{
    snprintf(closing_reason, sizeof closing_reason, "%s", reason);
    (void)!write(closing[1], reason, 1);
}

void ax_host_fini(void)
{
}
