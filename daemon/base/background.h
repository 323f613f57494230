/* SPDX-License-Identifier: MIT */
/*
 * Runs jobs that may block (on a disk, the name service, another process) in a thread of their own beside a loop.
 *
 * One job at a time. It owns its memory, which the loop's thread does not touch until the job is done, or ever again
 * after it has been abandoned: a thread that hangs blocks no one, not even at the exit of the process. (The threads of
 * uv_queue_work() are waited for then.)
 *
 * Functions are called in the loop's thread, except for `work`.
 */
#ifndef AX_DAEMON_BASE_BACKGROUND_H
#define AX_DAEMON_BASE_BACKGROUND_H

#include <stdbool.h>

#include <uv.h>

struct ax_background_job;

struct ax_background {
    uv_async_t async;              /* never keeps the loop alive */
    struct ax_background_job *job; /* shared with its thread; NULL: none */
};

/* 0, or a negative errno. */
int ax_background_init(struct ax_background *background, uv_loop_t *loop);

/*
 * Calls work(arg) in a thread with all signals blocked, and done(arg) in the loop's thread afterwards. If the job is
 * abandoned, drop(arg) is called instead of done, in either thread. No other job may be running. 0, or a negative
 * errno: then none of them is called.
 */
int ax_background_run(struct ax_background *background, void (*work)(void *arg), void (*done)(void *arg),
                      void (*drop)(void *arg), void *arg);

bool ax_background_is_busy(const struct ax_background *background);

/* Abandons the job, if there is one: its result is not needed any more. */
void ax_background_abandon(struct ax_background *background);

/* Abandons the job. The loop has to run until the handle is closed. */
void ax_background_close(struct ax_background *background);

#endif
