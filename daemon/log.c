/* SPDX-License-Identifier: MIT */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int log_fd = STDERR_FILENO;
static bool log_is_socket;
static int log_reopened = -1; /* our own, non-blocking description of the same pipe or terminal; or -1 */
static enum ax_log_level log_least = AX_LOG_INFO;
static atomic_uint_fast64_t lost_total;
static atomic_uint_fast64_t lost_unreported;

/*
 * O_NONBLOCK belongs to the open file, which other processes share and which has to stay as they know it. So a pipe
 * or a terminal is opened again; a socket is told with each write; a regular file does not block (and has one offset,
 * which must be kept).
 */
static int reopen(int fd)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void ax_log_init(int fd, enum ax_log_level least)
{
    struct stat status;

    ax_log_fini();
    log_fd = fd;
    log_least = least;
    if (fstat(fd, &status) < 0)
        return;
    log_is_socket = S_ISSOCK(status.st_mode);
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))
        log_reopened = reopen(fd); /* on failure (another user's terminal) lines are written as they always were */
}

void ax_log_fini(void)
{
    if (log_reopened >= 0)
        close(log_reopened);
    log_reopened = -1;
    log_is_socket = false;
    log_fd = STDERR_FILENO;
}

uint64_t ax_log_lost(void)
{
    return lost_total;
}

static bool write_line(const char *line, size_t size)
{
    ssize_t written;

    do {
        if (log_is_socket)
            written = send(log_fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            written = write(log_reopened >= 0 ? log_reopened : log_fd, line, size);
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t)size;
}

static void emit(const char *line, size_t size)
{
    char note[64];
    uint64_t lost = atomic_exchange(&lost_unreported, 0);

    if (lost > 0) {
        int length =
            snprintf(note, sizeof note, "acrossd: %llu lines of the log were lost\n", (unsigned long long)lost);
        if (!write_line(note, (size_t)length)) {
            atomic_fetch_add(&lost_unreported, lost + 1);
            atomic_fetch_add(&lost_total, 1);
            return;
        }
    }
    if (!write_line(line, size)) {
        atomic_fetch_add(&lost_unreported, 1);
        atomic_fetch_add(&lost_total, 1);
    }
}

/* Appends text to the line, which keeps room for its newline. Returns the new length. */
static size_t append_clean(char *line, size_t length, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        bool control = byte < 0x20 || byte == 0x7f;

        if (length + (control ? 4 : 1) > AX_LOG_LINE - 2)
            break;
        if (control)
            length += (size_t)snprintf(line + length, 5, "\\x%02x", byte);
        else
            line[length++] = *text;
    }
    return length;
}

__attribute__((format(printf, 2, 0))) static void format_line(const char *prefix, const char *format, va_list values)
{
    char text[AX_LOG_LINE];
    char line[AX_LOG_LINE];
    size_t length;
    int saved = errno;

    vsnprintf(text, sizeof text, format, values);
    length = append_clean(line, 0, prefix);
    length = append_clean(line, length, text);
    line[length++] = '\n';
    emit(line, length);
    errno = saved;
}

void ax_log(enum ax_log_level level, const char *format, ...)
{
    va_list values;

    if (level > log_least)
        return;
    va_start(values, format);
    format_line("acrossd: ", format, values);
    va_end(values);
}

void ax_log_bare(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    format_line("", format, values);
    va_end(values);
}
