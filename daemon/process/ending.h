/* SPDX-License-Identifier: MIT */
/*
 * The end of a worker whose connection is over: which steps its owner takes, and when, until it is killed.
 *
 * The same for a supervisor, which has many workers, and for `acrossd --stdio`. A worker ends by itself when it can. But a call that
 * never gives the GIL back keeps it from telling that the connection is over, and from ending; so its owner
 *   1. waits until its calls have had their grace period, and it has had time to notice that the client has gone;
 *   2. tells it to stop, and waits until it should have said goodbye;
 *   3. kills it if calls still run; else it is ending in order, and has until AX_ENDING_MS;
 *   4. kills it.
 * No clock, no I/O: the owner has a timer.
 */
#ifndef AX_DAEMON_PROCESS_ENDING_H
#define AX_DAEMON_PROCESS_ENDING_H

#include <stdbool.h>
#include <stdint.h>

/* A worker that was told to stop, and whose grace period is over, has ended after this, in order; else it is killed. */
#define AX_ENDING_MS 6000u

struct ax_ending {
    enum { AX_ENDING_UNUSED, AX_ENDING_GRACE, AX_ENDING_GOODBYE, AX_ENDING_ORDER, AX_ENDING_OVER } step;
};

enum ax_ending_action {
    AX_ENDING_TELL, /* tell the worker to stop, without further grace */
    AX_ENDING_WAIT, /* do nothing */
    AX_ENDING_KILL, /* kill it; nothing follows */
};

/* Begins it, once; later calls return false. *wait_ms: until ax_ending_next() is due. */
bool ax_ending_begin(struct ax_ending *ending, uint32_t grace_ms, uint64_t *wait_ms);

/* What is to be done now, and unless that is AX_ENDING_KILL, when it is due again. */
enum ax_ending_action ax_ending_next(struct ax_ending *ending, uint32_t calls_running, uint64_t *wait_ms);

#endif
