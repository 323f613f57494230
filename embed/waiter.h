/* SPDX-License-Identifier: MIT */
/*
 * One thread that waits for one thing, until another thread says that it has happened.
 *
 * Lives on the waiting thread's stack. It is waited for through ax_loop_wait(), the one place where the engine blocks
 * for progress of its loop. A signal handler that ran in the waiting thread ends the wait early: that is how Ctrl-C
 * gets in.
 */
#ifndef AX_EMBED_WAITER_H
#define AX_EMBED_WAITER_H

#include <semaphore.h>
#include <stdbool.h>

#define AX_WAITER_SLICE_MS                                                                                             \
    100 /* how late a signal may be noticed; ten wake-ups a second of a process that waits anyway */

struct ax_waiter {
    sem_t posted;
    struct ax_waiter *next; /* for the list of whoever will post it */
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

/* Takes the post, if there has been one. */
bool ax_waiter_try(struct ax_waiter *waiter);

/*
 * For threads that wait by other means: milliseconds after which they have to look for signals; -1 in all but the main
 * one.
 */
int ax_waiter_slice(void);

void ax_waiter_fini(struct ax_waiter *waiter);

/* In the only thread of a process that was forked: it is the main one, whichever it was before. */
void ax_waiter_after_fork(void);

#endif
