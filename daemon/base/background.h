/* SPDX-License-Identifier: MIT */
/*
 * Work that may have to wait, for a disk, the name service or another process, done in a thread of its own beside a loop.
 *
 * One piece of work at a time. It has memory of its own, which the loop's thread does not touch until the work is done, or
 * ever again once it has been abandoned: a thread that is stuck keeps nobody waiting, not even at the end of the process.
 * (The threads of uv_queue_work() are waited for then.)
 *
 * Functions are called in the loop's thread but for `work`.
 */
#ifndef AX_DAEMON_BASE_BACKGROUND_H
#define AX_DAEMON_BASE_BACKGROUND_H

#include <stdbool.h>

#include <uv.h>

struct ax_background_job;

struct ax_background {
    uv_async_t async;              /* never keeps the loop alive */
    struct ax_background_job *job; /* shared with its thread; NULL: there is none */
};

/* Zero on success, or a negative errno. */
int ax_background_init(struct ax_background *background, uv_loop_t *loop);

/*
 * Has work(arg) done in a thread, which has all signals blocked, and done(arg) called in the loop's afterwards. When it is
 * abandoned, drop(arg) is called instead of done, in either thread. There must be no other work. 0, or a negative errno:
 * then nothing of it is called.
 */
int ax_background_run(struct ax_background *background, void (*work)(void *arg), void (*done)(void *arg),
                      void (*drop)(void *arg), void *arg);

bool ax_background_is_busy(const struct ax_background *background);

/* Its result is not wanted any more. Harmless if there is no work. */
void ax_background_abandon(struct ax_background *background);

/* Abandons what goes on. The loop has to run until the handle is closed. */
void ax_background_close(struct ax_background *background);

#endif
