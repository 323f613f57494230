/* SPDX-License-Identifier: MIT */
#include "daemon/listen/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/listen/rights.h"

#define LOCK_TRIES 200 /* of 10 ms each: a holder needs the lock for less than one */
#define LOCK_SUFFIX ".lock"
#define SAME_PORT_TRIES 32 /* a port that is free on one address is rarely in use on another */

void ax_listener_format(char text[AX_ADDRESS_TEXT], const struct ax_listener *listener)
{
    ax_address_format(text, &listener->address, ax_sockaddr_port(&listener->bound));
}

/* ---- the lock ---- */

/*
 * A file of this user that nobody else may open, since whoever can open a file can lock it. Its holder removes it, so a
 * waiter may get a lock on a file that has been unlinked.
 */
struct lock {
    char path[AX_HOST_SIZE + sizeof LOCK_SUFFIX];
    int fd;              /* -1: not open */
    bool is_unsupported; /* the file system does not support locks */
};

static bool is_private(const struct stat *status)
{
    return S_ISREG(status->st_mode) && status->st_uid == geteuid() && (status->st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

/* Opens or creates the file. A descriptor, or a negative errno: -EPERM for a file that others could lock. */
static int open_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    struct stat status;
    int code = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0)
        code = -errno;
    else if (!is_private(&status))
        code = -EPERM;
    if (code == 0)
        return fd;
    close(fd);
    return code;
}

static bool is_still_there(const struct lock *lock)
{
    struct stat held, there;

    return fstat(lock->fd, &held) == 0 && lstat(lock->path, &there) == 0 && held.st_dev == there.st_dev &&
           held.st_ino == there.st_ino;
}

/* 0, or a negative errno: -EAGAIN if another process holds it. */
static int try_to_lock(struct lock *lock)
{
    int code = 0;

    lock->fd = open_lock(lock->path);
    if (lock->fd < 0)
        return lock->fd;
    if (flock(lock->fd, LOCK_EX | LOCK_NB) < 0) {
        code = errno == EINTR ? -EAGAIN : -errno;
        lock->is_unsupported = code != -EAGAIN;
        if (lock->is_unsupported)
            unlink(lock->path); /* no process can hold it */
    } else if (!is_still_there(lock))
        code = -EAGAIN;
    if (code == 0)
        return 0;
    close(lock->fd);
    lock->fd = -1;
    return code;
}

/*
 * 0, or -1 with an error message. A file of that name that belongs to another user does not prevent the start: then
 * there is no lock.
 */
static int take_lock(struct lock *lock, const char *path, char *error, size_t size)
{
    static const struct timespec pause = {.tv_nsec = 10000000};
    struct stat status;
    int code = -EAGAIN;

    *lock = (struct lock){.fd = -1};
    snprintf(lock->path, sizeof lock->path, "%s" LOCK_SUFFIX, path);
    for (int i = 0; i < LOCK_TRIES && code == -EAGAIN; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        code = try_to_lock(lock);
    }
    if (code == -EAGAIN)
        return ax_error_format(error, size, "another acrossd is being started on unix:%s, and has locked %s", path,
                               lock->path);
    /* Otherwise creating the socket there will fail, too, with a better message. */
    if (code < 0 && (lock->is_unsupported || lstat(lock->path, &status) == 0))
        ax_log(AX_LOG_WARNING, "%s cannot be used as a lock (%s): no other acrossd must be started on unix:%s now",
               lock->path, code == -EPERM ? "others can open it" : strerror(-code), path);
    return 0;
}

static void give_lock_back(struct lock *lock)
{
    if (lock->fd < 0)
        return;
    unlink(lock->path); /* while it is locked, so that no other process's file is removed */
    close(lock->fd);
}

/* ---- unix sockets ---- */

/* 1: a process serves it; 0: none does; or a negative errno. */
static int is_served(const struct ax_sockaddr *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int code;

    if (fd < 0)
        return -errno;
    code = connect(fd, &address->of.any, address->size) == 0 ? 0 : errno;
    close(fd);
    switch (code) {
    case 0:
    case EAGAIN: /* its backlog is full */
    case EACCES: /* a process may serve it */
    case EPERM:
    case EPROTOTYPE: /* a socket of another type */
        return 1;
    case ECONNREFUSED:
    case ENOENT:
        return 0;
    default:
        return -code;
    }
}

/* Removes a stale socket file. Its path is locked. */
static int remove_stale(const struct ax_listener *listener, char *error, size_t size)
{
    const char *path = listener->address.name;
    struct stat status;
    int served;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : ax_error_format(error, size, "cannot look at %s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return ax_error_format(error, size, "%s exists and is not a socket: remove it, or write another path", path);
    served = is_served(&listener->bound);
    if (served > 0)
        return ax_error_format(error, size, "unix:%s is in use by another server", path);
    if (served < 0)
        return ax_error_format(error, size, "cannot tell whether unix:%s is in use: %s", path, strerror(-served));
    if (unlink(path) < 0 && errno != ENOENT)
        return ax_error_format(error, size, "cannot replace the unused socket %s: %s", path, strerror(errno));
    return 0;
}

/*
 * The file is created with its permissions, through the umask of this process, which has one thread. Nobody can connect
 * before listen().
 */
static int bind_unix(struct ax_listener *listener, mode_t mode)
{
    mode_t mask = umask(0777 & ~mode);
    int result = bind(listener->fd, &listener->bound.of.any, listener->bound.size);
    int code = errno;
    struct stat status;

    umask(mask);
    if (result < 0)
        return -code;
    if (lstat(listener->address.name, &status) == 0) {
        listener->device = status.st_dev;
        listener->inode = status.st_ino;
    }
    return 0;
}

/* Only of the file just created: somebody who can write to its folder may have replaced it. */
static int set_group(const struct ax_listener *listener, gid_t group)
{
    int fd = open(listener->address.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    int code = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0 || status.st_dev != listener->device || status.st_ino != listener->inode)
        code = -ENOENT;
    else if (fchownat(fd, "", (uid_t)-1, group, AT_EMPTY_PATH) < 0)
        code = -errno;
    close(fd);
    return code;
}

static int open_unix_locked(struct ax_listener *listener, mode_t mode, gid_t group, char *error, size_t size)
{
    const char *path = listener->address.name;
    int code;

    if (remove_stale(listener, error, size) < 0)
        return -1;
    ax_rights_refuse(listener->fd);
    code = bind_unix(listener, mode);
    if (code == 0 && group != AX_LISTENER_OWN_GROUP) {
        code = set_group(listener, group);
        if (code < 0)
            return ax_error_format(error, size, "cannot give unix:%s to group %lu: %s", path, (unsigned long)group,
                                   strerror(-code));
    }
    if (code == 0 && listen(listener->fd, SOMAXCONN) < 0)
        code = -errno;
    return code == 0 ? 0 : ax_error_format(error, size, "cannot listen on unix:%s: %s", path, strerror(-code));
}

/* 0, or -1 with an error message: no file can be created in the folder of this path. */
static int check_folder(const char *path, char *error, size_t size)
{
    char folder[AX_HOST_SIZE];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + 1;

    memcpy(folder, path, length);
    folder[length] = '\0';
    if (access(length > 0 ? folder : ".", X_OK) == 0)
        return 0;
    return ax_error_format(error, size, "cannot use the folder of unix:%s: %s", path, strerror(errno));
}

static int open_unix(struct ax_listener *listener, mode_t mode, gid_t group, char *error, size_t size)
{
    struct lock lock;
    int result;

    if (check_folder(listener->address.name, error, size) < 0 ||
        take_lock(&lock, listener->address.name, error, size) < 0)
        return -1;
    result = open_unix_locked(listener, mode, group, error, size);
    give_lock_back(&lock);
    return result;
}

/* Only one process at a time can have the name; it is released with the process. */
static int open_abstract(struct ax_listener *listener, char *error, size_t size)
{
    ax_rights_refuse(listener->fd);
    if (bind(listener->fd, &listener->bound.of.any, listener->bound.size) == 0 && listen(listener->fd, SOMAXCONN) == 0)
        return 0;
    if (errno == EADDRINUSE)
        return ax_error_format(error, size, "unix:%s is in use by another server", listener->address.name);
    return ax_error_format(error, size, "cannot listen on unix:%s: %s", listener->address.name, strerror(errno));
}

/* ---- TCP ---- */

/* 0, or a negative errno. */
static int bind_tcp(struct ax_listener *listener)
{
    int on = 1;

    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener->bound.of.any.sa_family == AF_INET6)
        setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(listener->fd, &listener->bound.of.any, listener->bound.size) < 0 || listen(listener->fd, SOMAXCONN) < 0)
        return -errno;
    listener->bound.size = sizeof listener->bound.of;
    return getsockname(listener->fd, &listener->bound.of.any, &listener->bound.size) < 0 ? -errno : 0;
}

static int fail_tcp(const struct ax_listener *listener, int code, char *error, size_t size)
{
    char text[AX_ADDRESS_TEXT];

    ax_address_format(text, &listener->address, listener->address.port);
    if (code == -EADDRINUSE)
        return ax_error_format(error, size, "%s is in use by another server", text);
    return ax_error_format(error, size, "cannot listen on %s: %s", text, strerror(-code));
}

static int open_socket(struct ax_listener *listener)
{
    listener->fd = socket(listener->bound.of.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return listener->fd < 0 ? -errno : 0;
}

/* A host may lack a protocol for which its names have addresses. */
static bool is_absent(int code)
{
    return code == -EAFNOSUPPORT || code == -EADDRNOTAVAIL || code == -EPROTONOSUPPORT;
}

/*
 * Binds every address; those without a port get the port of the first one. 0; or the negative errno of the address in
 * `listeners[*count]`.
 */
static int bind_all(struct ax_listener *listeners, size_t *count, const struct ax_address *address,
                    const struct ax_sockaddr *resolved, int resolved_count)
{
    int absent = 0;

    *count = 0;
    for (int i = 0; i < resolved_count; i++) {
        struct ax_listener *listener = &listeners[*count];
        int code;

        *listener = (struct ax_listener){.address = *address, .bound = resolved[i], .fd = -1};
        if (*count > 0)
            ax_sockaddr_set_port(&listener->bound, ax_sockaddr_port(&listeners[0].bound));
        code = open_socket(listener);
        if (code == 0)
            code = bind_tcp(listener);
        if (code == 0) {
            ++*count;
            continue;
        }
        ax_listener_close(listener);
        if (!is_absent(code))
            return code;
        absent = code;
    }
    return *count > 0 ? 0 : absent;
}

static void close_all(struct ax_listener *listeners, size_t *count)
{
    while (*count > 0)
        ax_listener_close(&listeners[--*count]);
}

static int open_tcp(struct ax_listener *listeners, size_t *count, const struct ax_address *address,
                    const struct ax_sockaddr *resolved, int resolved_count, char *error, size_t size)
{
    for (int i = 0;; i++) {
        int code = bind_all(listeners, count, address, resolved, resolved_count);

        if (code == 0)
            return 0;
        close_all(listeners, count);
        if (code != -EADDRINUSE || address->port != 0 || i == SAME_PORT_TRIES) {
            listeners[0].address = *address;
            return fail_tcp(&listeners[0], code, error, size);
        }
    }
}

/* ---- opening ---- */

static int check_is_local(const struct ax_address *address, const struct ax_sockaddr *resolved, int count, char *error,
                          size_t size)
{
    char text[AX_ADDRESS_TEXT];

    for (int i = 0; i < count; i++) {
        if (ax_sockaddr_is_local(&resolved[i]))
            continue;
        ax_address_format(text, address, address->port);
        return ax_error_format(
            error, size,
            "%s can be reached from other hosts, and whoever connects may run anything: write "
            "tls:%s, tcp:localhost:%u or unix:PATH, or add --insecure if everyone who can reach it may "
            "do so",
            text, text + strlen("tcp:"), address->port);
    }
    return 0;
}

enum ax_listener_result ax_listener_open(struct ax_listener listeners[AX_LISTENERS_MAX], size_t *count,
                                         const struct ax_address *address, bool insecure, mode_t mode, gid_t group,
                                         char *error, size_t error_size)
{
    struct ax_sockaddr resolved[AX_ADDRESS_RESOLVED_MAX];
    int resolved_count = ax_address_resolve(address, resolved, error, error_size);
    int result;

    *count = 0;
    if (resolved_count < 0)
        return AX_LISTENER_FAILED;
    if (address->kind != AX_ADDRESS_TLS && !insecure &&
        check_is_local(address, resolved, resolved_count, error, error_size) < 0)
        return AX_LISTENER_REFUSED;
    if (address->kind != AX_ADDRESS_UNIX)
        return open_tcp(listeners, count, address, resolved, resolved_count, error, error_size) < 0 ? AX_LISTENER_FAILED
                                                                                                    : AX_LISTENER_OK;
    listeners[0] = (struct ax_listener){.address = *address, .bound = resolved[0], .fd = -1};
    result = open_socket(&listeners[0]);
    if (result < 0)
        ax_error_format(error, error_size, "cannot make a socket: %s", strerror(-result));
    else if (ax_address_is_abstract(address))
        result = open_abstract(&listeners[0], error, error_size);
    else
        result = open_unix(&listeners[0], mode, group, error, error_size);
    if (result < 0) {
        ax_listener_close(&listeners[0]);
        return AX_LISTENER_FAILED;
    }
    *count = 1;
    return AX_LISTENER_OK;
}

/* ---- inherited sockets ---- */

static int socket_option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;

    return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

/* Whether it is a listening stream socket of a supported family. */
static int check_kind(int fd, char *error, size_t size)
{
    int family = socket_option(fd, SO_DOMAIN);

    if (family < 0)
        return ax_error_format(error, size, "the inherited descriptor %d is no socket: %s", fd, strerror(errno));
    if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
        return ax_error_format(error, size, "the inherited descriptor %d is neither a unix nor a TCP socket", fd);
    if (socket_option(fd, SO_TYPE) != SOCK_STREAM)
        return ax_error_format(error, size,
                               "the inherited descriptor %d is no stream socket: a unit has to name it with "
                               "ListenStream=",
                               fd);
    if (family != AF_UNIX && socket_option(fd, SO_PROTOCOL) != IPPROTO_TCP)
        return ax_error_format(error, size, "the inherited descriptor %d is no TCP socket", fd);
    if (socket_option(fd, SO_ACCEPTCONN) != 1)
        return ax_error_format(error, size,
                               "the inherited descriptor %d is no listening socket: a unit needs Accept=no, or "
                               "a service that starts acrossd --stdio",
                               fd);
    return 0;
}

/* `PATH`, or `@NAME` for an abstract name, which may contain any bytes. */
static void name_unix(struct ax_listener *listener)
{
    const char *path = listener->bound.of.un.sun_path;
    size_t length = listener->bound.size - offsetof(struct sockaddr_un, sun_path);
    char *name = listener->address.name;

    if (path[0] != '\0')
        length = strnlen(path, length); /* a path may fill its field, without a final NUL */
    memcpy(name, path, length);
    name[length] = '\0';
    for (size_t i = 0; i < length; i++)
        if (name[i] == '\0')
            name[i] = '@';
}

/* Sets the address in the form in which it could have been written. */
static int name_socket(struct ax_listener *listener, int fd)
{
    struct ax_address *address = &listener->address;
    struct ax_sockaddr *bound = &listener->bound;

    *listener = (struct ax_listener){.bound.size = sizeof bound->of, .fd = -1};
    if (getsockname(fd, &bound->of.any, &bound->size) < 0)
        return -1;
    if (bound->of.any.sa_family == AF_UNIX) {
        /*
         * For a path that fills its field, the kernel reports a size that includes a final NUL, which it would not
         * accept.
         */
        if (bound->size > sizeof bound->of.un)
            bound->size = sizeof bound->of.un;
        address->kind = AX_ADDRESS_UNIX;
        name_unix(listener);
        return 0;
    }
    address->kind = AX_ADDRESS_TCP;
    address->port = ax_sockaddr_port(bound);
    return getnameinfo(&bound->of.any, bound->size, address->name, sizeof address->name, NULL, 0, NI_NUMERICHOST) == 0
               ? 0
               : -1;
}

enum ax_listener_result ax_listener_adopt(struct ax_listener *listener, int fd, bool is_tls, bool insecure, char *error,
                                          size_t error_size)
{
    char text[AX_ADDRESS_TEXT];
    int flags = fcntl(fd, F_GETFL);

    if (check_kind(fd, error, error_size) < 0)
        return AX_LISTENER_REFUSED;
    if (name_socket(listener, fd) < 0) {
        ax_error_format(error, error_size, "cannot tell the address of the inherited socket %d", fd);
        return AX_LISTENER_FAILED;
    }
    if (is_tls && listener->address.kind == AX_ADDRESS_TCP)
        listener->address.kind = AX_ADDRESS_TLS;
    if (listener->address.kind == AX_ADDRESS_TCP && !insecure && !ax_sockaddr_is_local(&listener->bound)) {
        ax_listener_format(text, listener);
        ax_error_format(
            error, error_size,
            "the inherited socket %s can be reached from other hosts, and whoever connects may run anything: "
            "name another address in its unit, or FileDescriptorName=tls for TLS, or add --insecure if everyone "
            "who can reach it may do so",
            text);
        return AX_LISTENER_REFUSED;
    }
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        ax_error_format(error, error_size, "cannot use the inherited socket %d: %s", fd, strerror(errno));
        return AX_LISTENER_FAILED;
    }
    if (listener->address.kind == AX_ADDRESS_UNIX)
        ax_rights_refuse(fd); /* clients that connected before acrossd was started may still send some */
    listener->fd = fd;
    return AX_LISTENER_OK;
}

/* ---- the end ---- */

/*
 * While the socket is still open: otherwise another process could take its file for stale and replace it between the
 * two calls. Hence this needs no lock.
 */
static void remove_file(const struct ax_listener *listener)
{
    const char *path = listener->address.name;
    struct stat status;

    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && status.st_dev == listener->device &&
        status.st_ino == listener->inode)
        unlink(path);
}

void ax_listener_close(struct ax_listener *listener)
{
    if (listener->fd < 0)
        return;
    if (listener->address.kind == AX_ADDRESS_UNIX && listener->inode != 0)
        remove_file(listener);
    close(listener->fd);
    listener->fd = -1;
}
