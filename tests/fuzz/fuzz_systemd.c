/* SPDX-License-Identifier: MIT */
/*
 * The environment of a service manager: any of it is either accepted or refused with an error message, nothing of it is
 * left for children, and what is then sent to the manager are well-formed datagrams to the given address.
 *
 * Input: one byte for the number of open descriptors from AX_INHERITED_FIRST_FD on; one for how sending fails; then the
 * variables, one per line, whose first letter selects the name. A `%` stands for this process's id.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/listen/inherited.h"
#include "daemon/notify.h"

static const struct {
    char letter;
    const char *name;
} variables[] = {
    {'p', "LISTEN_PID"},    {'f', "LISTEN_FDS"},    {'n', "LISTEN_FDNAMES"},
    {'s', "NOTIFY_SOCKET"}, {'u', "WATCHDOG_USEC"}, {'w', "WATCHDOG_PID"},
};

#define VARIABLES (sizeof variables / sizeof variables[0])

static unsigned open_fds;
static unsigned sending; /* see __wrap_sendto */

/* ---- system calls, replaced by the linker (--wrap) ---- */

int __wrap_fcntl(int fd, int command, intptr_t value);
int __real_fcntl(int fd, int command, intptr_t value);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_close(int fd);
int __real_close(int fd);
ssize_t __wrap_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size);

#define NOTIFY_FD 1000

static unsigned open_sockets;

/* The coverage runtime calls it, too, to lock its files. */
int __wrap_fcntl(int fd, int command, intptr_t value)
{
    if (command != F_SETFD)
        return __real_fcntl(fd, command, value);
    CHECK(value == FD_CLOEXEC);
    CHECK(fd >= AX_INHERITED_FIRST_FD && fd < AX_INHERITED_FIRST_FD + AX_INHERITED_MAX);
    if ((unsigned)(fd - AX_INHERITED_FIRST_FD) < open_fds)
        return 0;
    errno = EBADF;
    return -1;
}

int __wrap_socket(int domain, int type, int protocol)
{
    CHECK(domain == AF_UNIX && type == (SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK) && protocol == 0);
    if (sending == 255) {
        errno = EMFILE;
        return -1;
    }
    open_sockets++;
    return NOTIFY_FD;
}

int __wrap_close(int fd)
{
    if (fd != NOTIFY_FD)
        return __real_close(fd);
    CHECK(open_sockets == 1);
    open_sockets--;
    return 0;
}

/* One field per line, each with a name; none injected through another text. */
static void check_datagram(const char *text, size_t size)
{
    static const char *const fields[] = {"READY=1",         "STATUS=",    "RELOADING=1",
                                         "MONOTONIC_USEC=", "STOPPING=1", "WATCHDOG=1"};

    CHECK(size > 0 && size <= AX_NOTIFY_STATUS_SIZE + 64 && memchr(text, '\0', size) == NULL);
    for (const char *line = text; line < text + size; line++) {
        const char *end = memchr(line, '\n', (size_t)(text + size - line));
        bool is_known = false;

        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
            is_known = is_known || strncmp(line, fields[i], strlen(fields[i])) == 0;
        CHECK(is_known);
        line = end != NULL ? end : text + size;
    }
}

static void check_address(const struct sockaddr_un *address, size_t size)
{
    const char *path = address->sun_path;
    size_t length = size - offsetof(struct sockaddr_un, sun_path);

    CHECK(address->sun_family == AF_UNIX && size <= sizeof *address && length >= 2);
    CHECK(path[0] == '\0' || (path[0] == '/' && strlen(path) == length - 1));
}

/* Fails as `sending` says, a limited number of times, and works after that. */
ssize_t __wrap_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size)
{
    static const int errors[] = {EINTR, EAGAIN, ENOBUFS, ECONNREFUSED};
    struct sockaddr_un address;

    CHECK(fd == NOTIFY_FD && open_sockets == 1 && flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
    CHECK(to_size <= sizeof address);
    memcpy(&address, to, to_size);
    check_address(&address, to_size);
    check_datagram(data, size);
    if (sending / 4 % 16 == 0)
        return (ssize_t)size;
    sending -= 4;
    errno = errors[sending % 4];
    return -1;
}

/* ---- the environment ---- */

static void put_value(char *value, size_t capacity, struct input text)
{
    size_t length = 0;

    for (; text.size > 0 && length + 16 < capacity; take_bytes(&text, 1)) {
        if (text.data[0] == '%')
            length += (size_t)snprintf(value + length, capacity - length, "%ld", (long)getpid());
        else if (text.data[0] != '\0')
            value[length++] = (char)text.data[0];
    }
    value[length] = '\0';
}

static void set_variable(struct input line)
{
    char value[1024];
    unsigned letter = take_byte(&line);

    put_value(value, sizeof value, line);
    for (size_t i = 0; i < VARIABLES; i++)
        if (letter == (unsigned char)variables[i].letter)
            setenv(variables[i].name, value, 1);
}

static void set_environment(struct input input)
{
    for (size_t i = 0; i < VARIABLES; i++)
        unsetenv(variables[i].name);
    while (input.size > 0) {
        const uint8_t *end = memchr(input.data, '\n', input.size);
        size_t length = end != NULL ? (size_t)(end - input.data) : input.size;

        set_variable(take_bytes(&input, length));
        take_byte(&input);
    }
}

static void check_environment(const char *first, const char *second, const char *third)
{
    CHECK(getenv(first) == NULL && getenv(second) == NULL && getenv(third) == NULL);
}

/* ---- what is done with it ---- */

static void take_sockets(void)
{
    struct ax_inherited inherited;
    char error[AX_ERROR_TEXT_SIZE] = "";
    int result = ax_inherited_take(&inherited, error, sizeof error);

    check_environment("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES");
    CHECK((result < 0) == (error[0] != '\0'));
    CHECK(inherited.count <= open_fds && inherited.count <= AX_INHERITED_MAX);
    CHECK(result == 0 || (inherited.count == 0 && inherited.names == NULL));
    for (size_t i = 0; i < inherited.count; i++)
        CHECK(inherited.items[i].fd == AX_INHERITED_FIRST_FD + (int)i && strchr(inherited.items[i].name, ':') == NULL);
    ax_inherited_fini(&inherited);
}

static void notify(const char *status)
{
    ax_notify_init();
    check_environment("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID");
    CHECK(ax_notify_is_wanted() == (open_sockets == 1));
    CHECK(ax_notify_is_wanted() || ax_notify_watchdog_ms() == 0);
    ax_notify_ready(status);
    ax_notify_status("connections: %s", status);
    ax_notify_watchdog();
    ax_notify_reloading();
    ax_notify_ready(NULL);
    ax_notify_stopping();
    ax_notify_watchdog();
    ax_notify_fini();
    CHECK(open_sockets == 0 && !ax_notify_is_wanted() && ax_notify_watchdog_ms() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char status[1024];

    ax_log_init(-1, AX_LOG_WARNING); /* lines are formatted, and discarded */
    open_fds = take_byte(&input) % (AX_INHERITED_MAX + 1);
    sending = take_byte(&input);
    set_environment(input);
    put_value(status, sizeof status, input);
    take_sockets();
    notify(status);
    return 0;
}
