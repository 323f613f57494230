/* SPDX-License-Identifier: MIT */
/*
 * How a worker is ended after its connection is over: the steps that its owner takes, and when, up to killing it.
 *
 * Shared by the supervisor, which has many workers, and `acrossd --stdio`. A worker normally ends by itself. But a call
 * that never releases the GIL keeps it from reporting the end of the connection, and from exiting; so its owner
 *
 * 1. waits for the calls' grace period, plus time for the worker to notice that the client has gone;
 * 2. tells it to stop, and waits for as long as its goodbye takes;
 * 3. kills it if calls still run; otherwise it is shutting down, and has until AX_ENDING_MS;
 * 4. kills it.
 *
 * No clock, no I/O: the owner has a timer.
 */
#ifndef AX_DAEMON_PROCESS_ENDING_H
#define AX_DAEMON_PROCESS_ENDING_H

#include <stdbool.h>
#include <stdint.h>

/* Time for a worker's orderly exit after it was told to stop and its grace period is over; then it is killed. */
#define AX_ENDING_MS 6000u

struct ax_ending {
    enum { AX_ENDING_UNUSED, AX_ENDING_GRACE, AX_ENDING_GOODBYE, AX_ENDING_ORDER, AX_ENDING_OVER } step;
};

enum ax_ending_action {
    AX_ENDING_TELL, /* tell the worker to stop, without further grace period */
    AX_ENDING_WAIT, /* do nothing */
    AX_ENDING_KILL, /* kill it; nothing follows */
};

/* Begins, once; later calls return false. *wait_ms: until ax_ending_next() is due. */
bool ax_ending_begin(struct ax_ending *ending, uint32_t grace_ms, uint64_t *wait_ms);

/* The next action, and unless that is AX_ENDING_KILL, when the following one is due. */
enum ax_ending_action ax_ending_next(struct ax_ending *ending, uint32_t calls_running, uint64_t *wait_ms);

#endif
