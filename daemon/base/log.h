/* SPDX-License-Identifier: MIT */
/*
 * The daemon's log: lines on standard error, which never block the daemon.
 *
 * Called by every process of acrossd, in any thread: a line is formatted on the stack and written with one system call.
 * If the reader is stuck or gone, or the disk is full, lines are dropped, counted, and reported with the next line that
 * can be written. A line is one line of plain UTF-8: control characters, characters that change the direction of text,
 * and invalid UTF-8, all of which may come from a peer or a file name, are escaped byte by byte as \xNN.
 *
 * Not for signal handlers, nor for a child of a multi-threaded process before exec: formatting the time takes a lock of
 * the C library, which another thread may have held. acrossd itself forks only while it has one thread.
 */
#ifndef AX_DAEMON_BASE_LOG_H
#define AX_DAEMON_BASE_LOG_H

#include <stdarg.h>
#include <stdint.h>

#define AX_LOG_LINE                                                                                                    \
    1024 /* bytes of the longest line; longer ones are cut. Below PIPE_BUF, so that lines are written atomically */

enum ax_log_level {
    AX_LOG_ERROR,   /* something failed, and acrossd cannot do what it was asked to */
    AX_LOG_WARNING, /* something failed, and acrossd continues */
    AX_LOG_INFO,    /* what an operator wants to know about normal operation */
    AX_LOG_DEBUG,   /* each connection's start and end */
};

/*
 * Sets the destination and the lowest level. Borrows fd, which has to stay open. To be called before any thread is
 * started; without it the log goes to standard error, from INFO up. Lines have no times.
 *
 * If fd is the journal's, according to JOURNAL_STREAM in the environment, each line starts with its priority (`<4>`).
 */
void ax_log_init(int fd, enum ax_log_level least);

/*
 * From now on lines start with the local time, for long-running processes: `2026-11-23 12:34:56.789 acrossd: text`. Not
 * in the journal, which records the time itself. After each ax_log_init(), and before any thread is started.
 */
void ax_log_start_times(void);

/* Releases what ax_log_init() opened; afterwards lines go to standard error. */
void ax_log_fini(void);

/* Writes "acrossd: " and the text. */
__attribute__((format(printf, 2, 3))) void ax_log(enum ax_log_level level, const char *format, ...);

/*
 * Writes the text alone, without a time: for lines that other programs wait for. In the journal it has a priority, too.
 */
__attribute__((format(printf, 1, 2))) void ax_log_bare(const char *format, ...);

/* Number of lines dropped since the start. */
uint64_t ax_log_lost(void);

#endif
