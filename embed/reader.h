/* SPDX-License-Identifier: MIT */
/*
 * Who reads from a connection: the loop, or the thread that waits for what comes.
 *
 * Between two processes that call each other again and again, each message that the loop's thread reads for another
 * thread costs a hand-over, which is more than the rest of the call. So the reading is leased:
 *
 *   LOOP   the loop polls the stream and reads
 *   FREE   nobody does, for AX_LEASE_FREE_MS at the most: the loop has left it to the thread that will wait next
 *   TAKEN  a thread that waits for a result, or for the next request, polls the stream and reads
 *
 *            offer (loop: one call, one answer)        take (a thread begins to wait)
 *   LOOP ─────────────────────────────────▶ FREE ◀────────────────────────────▶ TAKEN
 *     ▲                                      │         give back (it is done)
 *     └──────────────────────────────────────┘
 *       guard (too long free), or attend (it is needed: closing, others wait)
 *
 * Invariants: the state changes under the connection's lock; only the loop's thread enters or leaves LOOP; while a
 * connection is not in LOOP, the guard looks at it, or it is `parked` and whoever gives it back tells the loop. That two
 * read at once does no harm: reading and feeding is one step under the lock, so the order of bytes stays.
 *
 * The loop's thread goes on with everything else: timers, heartbeats, writing what did not fit.
 */
#ifndef AX_EMBED_READER_H
#define AX_EMBED_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "embed/waiter.h"

struct ax_connection;
struct ax_loop;
struct ax_request;

#define AX_LEASE_FREE_MS 1   /* a message that comes while a call runs waits for so long, and as much again */
#define AX_LEASE_LINGER_MS 1 /* how long a thread that has served a call waits for the next one */
#define AX_LEASE_PARK_MS 20  /* taken for so long: no use in looking again and again */

enum ax_lease_state { AX_LEASE_LOOP, AX_LEASE_FREE, AX_LEASE_TAKEN };

struct ax_lease {
    enum ax_lease_state state;
    uint64_t since; /* ms: when it became FREE or TAKEN */
    bool wanted;    /* the loop is to take it back as soon as it can */
    bool parked;    /* the guard does not look: it was TAKEN for long */
    int wake_fd;    /* an eventfd that wakes the holder; owned by the connection; -1 as long as none is needed */
    /* The loop's thread only. */
    bool guarded;
    struct ax_connection *next; /* in the guard's list */
};

/* ---- the loop's thread, with the connection's lock unless said ---- */

/* Leaves the reading to others; from LOOP. The caller stops to poll. */
void ax_lease_offer_locked(struct ax_connection *connection);

/* Takes it back if it is needed here, and nobody has it; asks who has it to give it back. Whether the loop is to poll. */
bool ax_lease_settle_locked(struct ax_connection *connection);

/* Has the guard look, from now on and as long as there is need: at leases, and at calls that wait behind others. */
void ax_lease_guard(struct ax_loop *loop);

/* The connection leaves the loop: the guard forgets it. Without the lock. */
void ax_lease_forget(struct ax_connection *connection);

/* The stream is closed, or idle: nobody needs to be woken. Any thread that has the lock. */
void ax_lease_end_locked(struct ax_connection *connection);

/* ---- any other thread, without the GIL and without locks ---- */

/* Like ax_loop_wait(), for a waiter that is posted when something comes over this connection. */
int ax_lease_wait(struct ax_connection *connection, struct ax_waiter *waiter);

/* The next request, if it comes within AX_LEASE_LINGER_MS and this thread may read; else NULL. */
struct ax_request *ax_lease_next_request(struct ax_connection *connection);

#endif
