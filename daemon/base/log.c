/* SPDX-License-Identifier: MIT */
#include "daemon/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "protocol/text.h"

static int log_fd = STDERR_FILENO;
static bool log_is_socket;
static int log_reopened = -1; /* our own, non-blocking open file of the same pipe or terminal; or -1 */
static bool log_is_journal;
static bool log_has_times;
static enum ax_log_level log_least = AX_LOG_INFO;
static atomic_bool is_torn; /* the last line was written only in part: the next one starts with a newline */
static atomic_uint_fast64_t lost_total;
static atomic_uint_fast64_t lost_unreported;

/*
 * O_NONBLOCK belongs to the open file description, which may be shared with other processes. So a pipe or a terminal is
 * opened again; for a socket each write has a flag; a regular file does not block (and has an offset, which has to be
 * kept).
 */
static int reopen(int fd)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* The journal identifies its stream by device and inode, since descriptors may have been redirected. */
static bool is_journal(const struct stat *status)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char own[64];

    snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)status->st_dev, (unsigned long long)status->st_ino);
    return stream != NULL && strcmp(stream, own) == 0;
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
    log_is_journal = is_journal(&status);
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))
        /* on failure (another user's terminal) lines are written to the original descriptor */
        log_reopened = reopen(fd);
}

void ax_log_start_times(void)
{
    tzset(); /* reads the time zone's file now rather than during a request, or after a chroot */
    log_has_times = true;
}

void ax_log_fini(void)
{
    if (log_reopened >= 0)
        close(log_reopened);
    log_reopened = -1;
    log_is_socket = false;
    log_is_journal = false;
    log_has_times = false;
    is_torn = false;
    log_fd = STDERR_FILENO;
}

uint64_t ax_log_lost(void)
{
    return lost_total;
}

static ssize_t write_once(const char *line, size_t size)
{
    ssize_t written;

    do {
        if (log_is_socket)
            written = send(log_fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            written = write(log_reopened >= 0 ? log_reopened : log_fd, line, size);
    } while (written < 0 && errno == EINTR);
    return written;
}

/* The line starts with a spare byte, for a newline that ends an incomplete previous line. */
static bool write_line(char *line, size_t size)
{
    bool torn = atomic_exchange(&is_torn, false);
    ssize_t written;

    line[0] = '\n';
    if (!torn) {
        line++;
        size--;
    }
    written = write_once(line, size);
    if (written == (ssize_t)size)
        return true;
    /* A line is incomplete if a part of this one was written, or if nothing has ended the one before. */
    if (torn ? written != 1 : written > 0)
        is_torn = true;
    return false;
}

/* ---- lines ---- */

/* Appends text to the line, leaving space for its newline; escapes what is not plain UTF-8. Returns the new length. */
static size_t append_clean(char *line, size_t length, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        bool is_plain;
        size_t valid = ax_text_next(text, left, &is_plain);
        size_t step = valid > 0 ? valid : 1;

        if (length + (is_plain ? step : 4 * step) > AX_LOG_LINE - 2)
            break;
        for (size_t i = 0; i < step; i++) {
            if (is_plain)
                line[length++] = text[i];
            else
                length += (size_t)snprintf(line + length, 5, "\\x%02x", (unsigned char)text[i]);
        }
        text += step;
        left -= step;
    }
    return length;
}

/* Appends the local time with milliseconds and a space. */
static size_t append_time(char *line, size_t length)
{
    struct timespec now;
    struct tm local;

    clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &local) == NULL)
        return length;
    length += strftime(line + length, AX_LOG_LINE - length, "%Y-%m-%d %H:%M:%S", &local);
    return length + (size_t)snprintf(line + length, AX_LOG_LINE - length, ".%03ld ", now.tv_nsec / 1000000);
}

/* Returns whether the line was written. */
static bool put(enum ax_log_level level, bool bare, const char *text)
{
    static const char *const priorities[] = {
        [AX_LOG_ERROR] = "<3>", [AX_LOG_WARNING] = "<4>", [AX_LOG_INFO] = "<6>", [AX_LOG_DEBUG] = "<7>"};
    char line[AX_LOG_LINE];
    size_t length = 1; /* after the spare byte for write_line() */

    if (log_is_journal)
        length = append_clean(line, length, priorities[level]);
    else if (log_has_times && !bare)
        length = append_time(line, length);
    if (!bare)
        length = append_clean(line, length, "acrossd: ");
    length = append_clean(line, length, text);
    line[length++] = '\n';
    return write_line(line, length);
}

static void count_lost(uint64_t unreported, uint64_t lost)
{
    atomic_fetch_add(&lost_unreported, unreported);
    atomic_fetch_add(&lost_total, lost);
}

static void put_or_count(enum ax_log_level level, bool bare, const char *text)
{
    uint64_t lost = atomic_exchange(&lost_unreported, 0);
    char note[64];

    if (lost > 0) {
        snprintf(note, sizeof note, "%llu lines of the log were lost", (unsigned long long)lost);
        if (!put(AX_LOG_WARNING, false, note)) {
            count_lost(lost + 1, 1);
            return;
        }
    }
    if (!put(level, bare, text))
        count_lost(1, 1);
}

__attribute__((format(printf, 3, 0))) static void format_and_put(enum ax_log_level level, bool bare, const char *format,
                                                                 va_list values)
{
    char text[AX_LOG_LINE];
    int saved = errno;

    vsnprintf(text, sizeof text, format, values);
    put_or_count(level, bare, text);
    errno = saved;
}

void ax_log(enum ax_log_level level, const char *format, ...)
{
    va_list values;

    if (level > log_least)
        return;
    va_start(values, format);
    format_and_put(level, false, format, values);
    va_end(values);
}

void ax_log_bare(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    format_and_put(AX_LOG_INFO, true, format, values);
    va_end(values);
}
