/* SPDX-License-Identifier: MIT */
/*
 * The daemon's log: lines on standard error, which never make the daemon wait.
 *
 * Called by every process of acrossd, in any thread, never with a lock held that matters: a line is formatted on the
 * stack and written with one system call. When nobody reads the log, or its disk is full, lines are lost, counted, and
 * reported with the next line that gets through. A line is one line of plain UTF-8: control characters, those that change
 * the direction of text, and bytes that are no UTF-8, all of which may come from a peer or from a file name, are written
 * byte by byte as \xNN.
 *
 * Not for signal handlers, nor for a child of a process with several threads before it has called exec: the time of day
 * takes a lock of the C library, which such a child may find locked for ever. acrossd itself forks while it has one
 * thread.
 */
#ifndef AX_DAEMON_BASE_LOG_H
#define AX_DAEMON_BASE_LOG_H

#include <stdarg.h>
#include <stdint.h>

#define AX_LOG_LINE                                                                                                    \
    1024 /* bytes of the longest line; longer ones are cut. Below PIPE_BUF, so lines never mix in a pipe */

enum ax_log_level {
    AX_LOG_ERROR,   /* something failed, and acrossd cannot do what it was told to */
    AX_LOG_WARNING, /* something failed, and acrossd goes on */
    AX_LOG_INFO,    /* what an operator wants to know of an ordinary run */
    AX_LOG_DEBUG,   /* each connection's coming and going */
};

/*
 * Where lines go, and down to which level. Borrows fd, which has to stay open. Before any thread is started; without
 * it the log goes to standard error down to INFO. Lines have no times.
 *
 * If fd is the journal's, as JOURNAL_STREAM in the environment tells, each line has its priority in front (`<4>`), by
 * which the journal files it.
 */
void ax_log_init(int fd, enum ax_log_level least);

/*
 * From now on lines carry the local time, as those of a process do that goes on running:
 * `2026-11-23 12:34:56.789 acrossd: text`. Not in the journal, which has its own. After each ax_log_init(), and before
 * any thread is started.
 */
void ax_log_start_times(void);

/* Releases what ax_log_init() opened; lines go to standard error after it. */
void ax_log_fini(void);

/* "acrossd: " and the text. */
__attribute__((format(printf, 2, 3))) void ax_log(enum ax_log_level level, const char *format, ...);

/* The text alone, without a time: for lines that other programs wait for. In the journal it has a priority, too. */
__attribute__((format(printf, 1, 2))) void ax_log_bare(const char *format, ...);

/* Lines that were lost since the start. */
uint64_t ax_log_lost(void);

#endif
