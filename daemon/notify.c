/* SPDX-License-Identifier: MIT */
#include "daemon/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "protocol/text.h"

#define MESSAGE_SIZE (AX_NOTIFY_STATUS_SIZE + 64) /* a status, and the other fields */

static int notify_fd = -1;
static struct sockaddr_un manager;
static socklen_t manager_size;
static uint64_t watchdog_ms;
static char unsent[MESSAGE_SIZE]; /* the last message about the state if it could not be sent yet; or "" */
static bool has_warned;           /* whether the manager's being unreachable has been logged: once is enough */

/* ---- environment ---- */

/* Returns 0, or -1 if the text is not a socket's address. */
static int parse_socket(const char *text)
{
    size_t length = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || length < 2 || length >= sizeof manager.sun_path)
        return -1;
    manager = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(manager.sun_path, text, length);
    manager_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (text[0] == '@')
        manager.sun_path[0] = '\0'; /* an abstract name: it has no final NUL */
    else
        manager_size++;
    return 0;
}

/* Returns 0 if it is not a positive number. */
static uint64_t parse_number(const char *text)
{
    unsigned long long value;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? value : 0;
}

static void take_watchdog(void)
{
    const char *limit = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");

    if (limit == NULL || (pid != NULL && parse_number(pid) != (uint64_t)getpid()))
        return;
    watchdog_ms = parse_number(limit) / 1000;
    if (watchdog_ms == 0)
        ax_log(AX_LOG_WARNING, "WATCHDOG_USEC=%s is no valid interval, and is ignored", limit);
}

static void take_socket(void)
{
    const char *name = getenv("NOTIFY_SOCKET");

    if (name == NULL)
        return;
    if (parse_socket(name) < 0) {
        ax_log(AX_LOG_WARNING, "NOTIFY_SOCKET=%s is neither a path nor @NAME, and is ignored", name);
        return;
    }
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (notify_fd < 0)
        ax_log(AX_LOG_WARNING, "cannot notify the service manager: %s", strerror(errno));
    else
        take_watchdog();
}

void ax_notify_init(void)
{
    ax_notify_fini();
    take_socket();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void ax_notify_fini(void)
{
    if (notify_fd >= 0)
        close(notify_fd);
    notify_fd = -1;
    watchdog_ms = 0;
    unsent[0] = '\0';
    has_warned = false;
}

bool ax_notify_is_wanted(void)
{
    return notify_fd >= 0;
}

uint64_t ax_notify_watchdog_ms(void)
{
    return watchdog_ms;
}

/* ---- messages ---- */

/* Returns whether it is done: sent, or impossible to send. */
static bool send_message(const char *message)
{
    ssize_t sent;

    do
        sent = sendto(notify_fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&manager,
                      manager_size);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
        return false;
    if (!has_warned)
        ax_log(AX_LOG_WARNING, "the service manager cannot be reached: %s", strerror(errno));
    has_warned = true;
    return true;
}

/* Returns whether no older message is pending. */
static bool send_unsent(void)
{
    if (unsent[0] != '\0' && send_message(unsent))
        unsent[0] = '\0';
    return unsent[0] == '\0';
}

static void send_state(const char *message)
{
    if (notify_fd < 0)
        return;
    /* A pending message about an older state is obsolete. */
    snprintf(unsent, sizeof unsent, "%s", message);
    send_unsent();
}

/* Writes "STATUS=" and the text as one line. */
static void format_status(char *message, size_t size, const char *text)
{
    static const char name[] = "STATUS=";
    size_t capacity = size - strlen(name) < AX_NOTIFY_STATUS_SIZE ? size - strlen(name) : AX_NOTIFY_STATUS_SIZE;

    memcpy(message, name, strlen(name));
    ax_text_copy(message + strlen(name), capacity, text, strlen(text));
}

void ax_notify_ready(const char *status)
{
    char message[MESSAGE_SIZE] = "READY=1\n";
    size_t length = strlen(message);

    if (status != NULL)
        format_status(message + length, sizeof message - length, status);
    send_state(message);
}

void ax_notify_reloading(void)
{
    char message[MESSAGE_SIZE];
    struct timespec now;

    /* The time lets the manager tell this message from one sent before it asked for the reload. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    send_state(message);
}

void ax_notify_stopping(void)
{
    send_state("STOPPING=1");
}

void ax_notify_status(const char *format, ...)
{
    char text[AX_NOTIFY_STATUS_SIZE];
    char message[MESSAGE_SIZE];
    va_list values;

    if (notify_fd < 0 || !send_unsent())
        return;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    format_status(message, sizeof message, text);
    send_message(message);
}

void ax_notify_send(const char *message)
{
    if (notify_fd >= 0)
        send_message(message);
}

void ax_notify_watchdog(void)
{
    if (watchdog_ms > 0 && send_unsent())
        send_message("WATCHDOG=1");
}
