/* SPDX-License-Identifier: MIT */
/*
 * The event loop of a process.
 *
 * It runs in a thread of its own, which never takes the GIL and blocks only in the kernel's poll: heartbeats,
 * disconnects and limits do not wait for Python. Threads that wait for its progress do so in ax_loop_wait().
 *
 * It is independent of what runs on it. Timers and other handles belong to their users, which initialise them in the
 * loop's thread (from a task, for instance): libuv's loops are not thread-safe.
 *
 * Work for the loop is posted as a task. Posting takes no lock and allocates nothing, so destructors may do it in any
 * thread, even when run by the garbage collector.
 */
#ifndef AX_EMBED_LOOP_H
#define AX_EMBED_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "embed/waiter.h"

#define AX_LOOP_SCRATCH (64 * 1024) /* bytes of small messages in one read; shared by all connections */

/* Work for the loop. Embedded in what it is about; queued at most once at a time. */
struct ax_task {
    void (*run)(struct ax_task *task);
    struct ax_task *next;
    atomic_bool queued;
};

void ax_task_init(struct ax_task *task, void (*run)(struct ax_task *task));

struct ax_loop {
    uv_loop_t uv; /* the thread that runs the loop only */
    uv_async_t wake;
    pthread_t thread;
    _Atomic(struct ax_task *) tasks; /* a stack, pushed by any thread, emptied by the loop */
    atomic_bool stopping;
    unsigned char scratch[AX_LOOP_SCRATCH]; /* the thread that runs the loop only */
};

/* Starts the loop in the caller's storage. 0; or a negative errno, and then there is nothing to stop. */
int ax_loop_start(struct ax_loop *loop);

/*
 * Stops the loop and frees its resources. Handles that are still open on it are closed without a callback; their memory
 * may be freed when this has returned. Not in the loop's own thread.
 */
void ax_loop_stop(struct ax_loop *loop);

/*
 * Makes the loop call task->run soon; tasks posted together may run in any order. Any thread; lock-free. Returns false
 * when it was queued already: it then runs once, but still after this call.
 */
bool ax_loop_post(struct ax_loop *loop, struct ax_task *task);

/*
 * Blocks until the waiter is posted (0) or a signal handler may have run (-EINTR; see waiter.h). Any thread but the
 * loop's; without the GIL and without any lock.
 */
int ax_loop_wait(struct ax_loop *loop, struct ax_waiter *waiter);

/* Milliseconds of the monotonic clock that all sessions use. Any thread. */
uint64_t ax_loop_now(void);

#endif
