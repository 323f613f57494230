/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <uv.h>

#include "fuzz.h"

#define FIRST_FD 1000 /* the real system's are below it */
#define SOCKETS 64    /* the two of a pair are adjacent */
#define WATCHES 64    /* handles of the loop */
#define TURNS 40000 /* turns of the loop without a pause: more than reading all bytes of all sockets one by one takes */

struct socket {
    bool is_open;
    bool is_targets;
    bool has_hung_up; /* it has shut down its side */
    bool is_deaf;     /* it reads no more */
    bool is_reset;    /* the other one has reset the connection, and that has not been reported yet */
    size_t capacity;
    size_t size;     /* unread bytes */
    size_t consumed; /* bytes in total */
    unsigned char queue[WORLD_QUEUE];
};

struct watch {
    uv_handle_t *handle; /* NULL: there is none */
    uv_poll_cb on_event; /* of a poll */
    int fd;
    int events;
    uv_timer_cb on_time; /* of a timer */
    uint64_t due;
    bool is_active;
    bool is_closing;
    uv_close_cb on_closed;
};

struct world world;
static struct socket sockets[SOCKETS];
static int socket_count;
static struct watch watches[WATCHES];

/* ---- sockets ---- */

static bool is_ours(int fd)
{
    return fd >= FIRST_FD;
}

static struct socket *socket_of(int fd)
{
    CHECK(is_ours(fd) && fd < FIRST_FD + socket_count && sockets[fd - FIRST_FD].is_open);
    return &sockets[fd - FIRST_FD];
}

static struct socket *other_of(const struct socket *socket)
{
    return &sockets[(socket - sockets) ^ 1];
}

static struct socket *new_socket(bool is_targets, size_t capacity)
{
    struct socket *socket = &sockets[socket_count++];

    CHECK(socket_count <= SOCKETS);
    memset(socket, 0, offsetof(struct socket, queue));
    socket->is_open = true;
    socket->is_targets = is_targets;
    socket->capacity = capacity;
    return socket;
}

void world_pair(int fds[2])
{
    new_socket(true, WORLD_QUEUE);
    new_socket(false, WORLD_QUEUE);
    fds[0] = FIRST_FD + socket_count - 2;
    fds[1] = fds[0] + 1;
}

void world_take(int fd)
{
    socket_of(fd)->is_targets = true;
}

void world_set_capacity(int fd, size_t capacity)
{
    CHECK(capacity <= WORLD_QUEUE);
    socket_of(fd)->capacity = capacity;
}

size_t world_unread(int fd, const unsigned char **data)
{
    const struct socket *socket = socket_of(fd);

    *data = socket->queue;
    return socket->size;
}

size_t world_consumed(int fd)
{
    return socket_of(fd)->consumed;
}

/* Whether nothing sent from here will ever be read. */
static bool is_broken(const struct socket *socket)
{
    const struct socket *other = other_of(socket);

    return socket->has_hung_up || !other->is_open || other->is_deaf;
}

static size_t capacity_of(const struct socket *socket)
{
    return socket->size < socket->capacity ? socket->capacity - socket->size : 0;
}

static bool is_writable(const struct socket *socket)
{
    return is_broken(socket) || capacity_of(other_of(socket)) > 0;
}

bool world_is_writable(int fd)
{
    return is_writable(socket_of(fd));
}

/* Whether no more will arrive. */
static bool is_at_end(const struct socket *socket)
{
    const struct socket *other = other_of(socket);

    return socket->is_deaf || other->has_hung_up || !other->is_open;
}

void world_reset(int fd)
{
    struct socket *socket = socket_of(fd);

    other_of(socket)->is_reset = other_of(socket)->is_open;
    socket->has_hung_up = socket->is_deaf = true;
}

/* ---- system calls ---- */

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __wrap_shutdown(int fd, int how);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_close(int fd);
int __real_close(int fd);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);

static int fail(int code)
{
    errno = code;
    return -1;
}

static bool has_fault(enum world_fault fault)
{
    bool has = world.fault == fault;

    if (has)
        world.fault = WORLD_NO_FAULT;
    return has;
}

static ssize_t read_queue(struct socket *socket, void *data, size_t size)
{
    size_t taken = socket->size < size ? socket->size : size;

    memcpy(data, socket->queue, taken);
    memmove(socket->queue, socket->queue + taken, socket->size - taken);
    socket->size -= taken;
    socket->consumed += taken;
    return (ssize_t)taken;
}

static ssize_t peek(const struct socket *socket, void *data, size_t size)
{
    size_t taken = socket->size < size ? socket->size : size;

    memcpy(data, socket->queue, taken);
    if (taken > 0)
        return (ssize_t)taken;
    return socket->is_reset ? fail(ECONNRESET) : is_at_end(socket) ? 0 : fail(EAGAIN);
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    struct socket *socket = socket_of(fd);

    if (flags == MSG_PEEK)
        return peek(socket, data, size);
    CHECK(size > 0 && (flags & ~MSG_DONTWAIT) == 0);
    if (!socket->is_targets && has_fault(WORLD_FAULT_RECV_INTERRUPTED))
        return fail(EINTR);
    if (!socket->is_targets && has_fault(WORLD_FAULT_RECV))
        return fail(ETIMEDOUT);
    if (socket->size > 0)
        return read_queue(socket, data, size);
    if (socket->is_reset) {
        socket->is_reset = false;
        return fail(ECONNRESET);
    }
    return is_at_end(socket) ? 0 : fail(EAGAIN);
}

static ssize_t send_to(struct socket *socket, const unsigned char *data, size_t size)
{
    struct socket *other = other_of(socket);
    size_t taken = capacity_of(other) < size ? capacity_of(other) : size;

    memcpy(other->queue + other->size, data, taken);
    other->size += taken;
    return (ssize_t)taken;
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    struct socket *socket = socket_of(fd);

    CHECK(size > 0 && flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
    if (is_broken(socket))
        return fail(EPIPE);
    return capacity_of(other_of(socket)) > 0 ? send_to(socket, data, size) : fail(EAGAIN);
}

/* Small messages, which are sent whole or not at all. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct socket *socket = socket_of(fd);
    struct socket *other = other_of(socket);
    size_t size = 0;

    CHECK(flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
    for (size_t i = 0; i < message->msg_iovlen; i++)
        size += message->msg_iov[i].iov_len;
    if (is_broken(socket))
        return fail(EPIPE);
    if (capacity_of(other) < size)
        return fail(EAGAIN);
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        const struct iovec *part = &message->msg_iov[i];

        if (part->iov_len > 0)
            memcpy(other->queue + other->size, part->iov_base, part->iov_len);
        other->size += part->iov_len;
    }
    return (ssize_t)size;
}

int __wrap_shutdown(int fd, int how)
{
    struct socket *socket = socket_of(fd);

    CHECK(how == SHUT_WR || how == SHUT_RD);
    if (how == SHUT_WR)
        socket->has_hung_up = true;
    else
        socket->is_deaf = true;
    return 0;
}

int __wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
    CHECK(domain == AF_UNIX && type == (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK) && protocol == 0);
    if (has_fault(WORLD_FAULT_SOCKETPAIR))
        return fail(EMFILE);
    for (int i = 0; i < 2; i++) {
        new_socket(false, world.pair_capacity);
        fds[i] = FIRST_FD + socket_count - 1;
    }
    return 0;
}

/* Whether a handle polls this descriptor now. */
static bool is_polled(int fd)
{
    for (size_t i = 0; i < WATCHES; i++)
        if (watches[i].handle != NULL && watches[i].is_active && watches[i].fd == fd)
            return true;
    return false;
}

/* The coverage runtime and libFuzzer close files of their own. */
int __wrap_close(int fd)
{
    struct socket *socket;

    if (!is_ours(fd))
        return __real_close(fd);
    CHECK(!is_polled(fd));
    socket = socket_of(fd);
    if (socket->size > 0)
        other_of(socket)->is_reset = other_of(socket)->is_open;
    socket->is_open = false;
    return 0;
}

/* Every other call is interrupted. */
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    static bool is_interrupted;

    CHECK(flags == 0);
    is_interrupted = !is_interrupted;
    if (is_interrupted)
        return fail(EINTR);
    if (has_fault(WORLD_FAULT_RANDOM))
        return fail(ENOSYS);
    world.random(bytes, size);
    return (ssize_t)size;
}

/* ---- libuv's functions ---- */

static struct watch *find_watch(const void *handle)
{
    for (size_t i = 0; i < WATCHES; i++)
        if (watches[i].handle == handle)
            return &watches[i];
    return NULL;
}

static struct watch *watch_of(const void *handle)
{
    struct watch *watch = find_watch(handle);

    CHECK(watch != NULL && !watch->is_closing);
    return watch;
}

static struct watch *new_watch(void *handle)
{
    struct watch *watch = find_watch(NULL);

    CHECK(handle != NULL && find_watch(handle) == NULL && watch != NULL);
    *watch = (struct watch){.handle = handle, .fd = -1};
    return watch;
}

int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd)
{
    (void)loop;
    socket_of(fd);
    CHECK(!is_polled(fd));
    if (has_fault(WORLD_FAULT_POLL_INIT))
        return UV_ENOMEM;
    new_watch(handle)->fd = fd;
    return 0;
}

int uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb on_event)
{
    struct watch *watch = watch_of(handle);

    CHECK(events != 0 && (events & ~(UV_READABLE | UV_WRITABLE | UV_DISCONNECT)) == 0);
    socket_of(watch->fd);
    watch->events = events;
    watch->on_event = on_event;
    watch->is_active = true;
    return 0;
}

int uv_poll_stop(uv_poll_t *handle)
{
    watch_of(handle)->is_active = false;
    return 0;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
    (void)loop;
    new_watch(handle);
    return 0;
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb on_time, uint64_t timeout, uint64_t repeat)
{
    struct watch *watch = watch_of(handle);

    CHECK(repeat == 0);
    watch->on_time = on_time;
    watch->due = world.now + timeout;
    watch->is_active = true;
    return 0;
}

int uv_timer_stop(uv_timer_t *handle)
{
    watch_of(handle)->is_active = false;
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb on_closed)
{
    struct watch *watch = watch_of(handle);

    watch->is_active = false;
    watch->is_closing = true;
    watch->on_closed = on_closed;
}

void uv_unref(uv_handle_t *handle)
{
    watch_of(handle);
}

uint64_t uv_now(const uv_loop_t *loop)
{
    (void)loop;
    return world.now;
}

const char *uv_strerror(int code)
{
    return strerror(-code);
}

/* ---- the loop ---- */

static bool run_timer(struct watch *watch)
{
    if (!watch->is_active || watch->on_time == NULL || watch->due > world.now)
        return false;
    watch->is_active = false;
    watch->on_time((uv_timer_t *)watch->handle);
    return true;
}

static int find_events(const struct socket *socket)
{
    int events = 0;

    if (socket->size > 0 || is_at_end(socket))
        events |= UV_READABLE;
    if (is_at_end(socket))
        events |= UV_DISCONNECT;
    if (is_writable(socket))
        events |= UV_WRITABLE;
    return events;
}

/* Like libuv, which reports a socket's error once, and stops polling. */
static bool run_poll(struct watch *watch)
{
    const struct socket *socket;
    int events;

    if (!watch->is_active || watch->fd < 0)
        return false;
    socket = socket_of(watch->fd);
    if (socket->is_reset) {
        watch->is_active = false;
        watch->on_event((uv_poll_t *)watch->handle, UV_EBADF, 0);
        return true;
    }
    events = find_events(socket) & watch->events;
    if (events != 0)
        watch->on_event((uv_poll_t *)watch->handle, 0, events);
    return events != 0;
}

static bool run_closing(struct watch *watch)
{
    struct watch closed = *watch;

    if (closed.handle == NULL || !closed.is_closing)
        return false;
    watch->handle = NULL;
    if (closed.on_closed != NULL)
        closed.on_closed(closed.handle);
    return true;
}

static bool run_each(bool (*run_one)(struct watch *watch))
{
    bool happened = false;

    for (size_t i = 0; i < WATCHES; i++)
        if (watches[i].handle != NULL && run_one(&watches[i]))
            happened = true;
    return happened;
}

void world_run(void)
{
    bool happened;
    int turns = 0;

    do {
        happened = run_each(run_timer);
        happened = run_each(run_poll) || happened;
        happened = run_each(run_closing) || happened;
        CHECK(turns++ < TURNS);
    } while (happened);
}

/* ---- life ---- */

void world_start(void)
{
    world = (struct world){.now = 1000, .pair_capacity = WORLD_QUEUE};
    socket_count = 0;
}

void world_finish(void)
{
    for (int i = 0; i < socket_count; i++)
        CHECK(!sockets[i].is_open);
    for (size_t i = 0; i < WATCHES; i++)
        CHECK(watches[i].handle == NULL);
}
