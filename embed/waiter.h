/* SPDX-License-Identifier: MIT */
/*
 * One thread that waits for one event, until another thread posts it.
 *
 * Lives on the waiting thread's stack. Waits go through ax_loop_wait(), the only place where the engine blocks for
 * progress of its loop. A signal handler that ran in the waiting thread ends the wait early, so that Ctrl-C works.
 */
#ifndef AX_EMBED_WAITER_H
#define AX_EMBED_WAITER_H

#include <semaphore.h>
#include <stdbool.h>

#define AX_WAITER_SLICE_MS 100 /* maximum delay of a signal; ten wake-ups a second while waiting */

struct ax_waiter {
    sem_t posted;
    struct ax_waiter *next; /* for the list of the thread that will post it */
};

void ax_waiter_init(struct ax_waiter *waiter);

/* Ends the wait, now or before it begins. Any thread, once; does not touch the waiter after the wait has ended. */
void ax_waiter_post(struct ax_waiter *waiter);

/*
 * Blocks until posted: 0; or -EINTR after a signal handler ran, and then it may be called again. Without the GIL.
 *
 * A signal that arrives just before the wait begins does not interrupt it. In the process's main thread, which is where
 * Python's handlers run, -EINTR is therefore also returned after AX_WAITER_SLICE_MS, so that the caller looks again.
 */
int ax_waiter_wait(struct ax_waiter *waiter);

/* Consumes the post, if there has been one. */
bool ax_waiter_try(struct ax_waiter *waiter);

/*
 * For threads that wait by other means: milliseconds after which they must check for signals; -1 except in the main
 * thread.
 */
int ax_waiter_slice(void);

void ax_waiter_fini(struct ax_waiter *waiter);

/* To be called in the only thread of a forked process: it is the main thread now, whichever it was before. */
void ax_waiter_after_fork(void);

#endif
