/* SPDX-License-Identifier: MIT */
/*
 * Who reads from a connection, and into what memory.
 *
 * All bytes of the peer come in through one function, whoever has read them: the loop, a thread that waits for them, or
 * somebody before the connection was started (reader.c). It feeds the session, acts on its events, and settles what
 * follows.
 *
 * Who reads (reader_lease.c). Between two processes that call each other again and again, each message that the loop's
 * thread reads for another thread costs a hand-over, which is more than the rest of the call. So the reading is leased:
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
 * connection is not in LOOP, the guard looks at it, or it is `parked` and whoever gives it back tells the loop. That
 * two read at once does no harm: reading and feeding is one step under the lock, so the order of bytes stays.
 *
 * Whoever has the lease polls for a moment before it sleeps (spin.h), without locks: between two cores, most of the
 * time of a small call is that of waking two threads.
 *
 * Into what memory (reader_buffer.c). A session grows the memory of a body with the bytes that come. When enough has
 * come of a large one, it asks for a receive buffer for all of it. For what becomes a bytes object or a bytearray only
 * the interpreter can make it, and whoever reads never waits for the GIL: a service thread makes the object. When that
 * comes late, more is copied; when it comes too late, the body stays where it is, and all of it is copied in the end.
 * All others get a block (blocks.h) from whoever reads. Reading is paused meanwhile; the loop and its timer go on.
 *
 * When (reader_loop.c). The session says what it waits for: to read, to write, or neither any more. That is the
 * *interest*, from which follows what the loop polls for, less what others see to. The loop's thread goes on with
 * everything else: timers, heartbeats, writing what did not fit.
 */
#ifndef AX_EMBED_READER_H
#define AX_EMBED_READER_H

#include "embed/connection_state.h"

#define AX_LEASE_FREE_MS 1   /* a message that comes while a call runs waits for so long, and as much again */
#define AX_LEASE_LINGER_MS 1 /* how long a thread that has served a call waits for the next one */
#define AX_LEASE_PARK_MS 20  /* taken for so long: no use in looking again and again */

/* What a connection waits for of its stream; a mask. */
#define AX_INTEREST_READ 1u
#define AX_INTEREST_WRITE 2u

/* ---- life; for connection.c ---- */

void ax_reader_init(struct ax_connection *connection);

/* Nobody else uses the connection. */
void ax_reader_fini(struct ax_connection *connection);

/*
 * For how many microseconds a thread that waits may poll before it sleeps, where that pays; 0: never, which it is at
 * first. Before the start.
 */
void ax_reader_set_spin(struct ax_connection *connection, uint32_t spin_us);

/* Takes in bytes that were read before the connection was started, if there are any, and settles. */
void ax_reader_take_in_locked(struct ax_connection *connection, const void *received, size_t size,
                              struct ax_arrivals *arrivals);

/* Sees to what has come: requests go to the executor, which may refuse them. Without the lock. */
void ax_reader_deliver(struct ax_connection *connection, struct ax_arrivals *arrivals);

/* ---- waiting: any thread but the loop's, without the GIL and without locks ---- */

/* Like ax_loop_wait(), for a waiter that is posted when something comes over this connection. */
int ax_reader_wait(struct ax_connection *connection, struct ax_waiter *waiter);

/*
 * The next request, if it comes within AX_LEASE_LINGER_MS and this thread may read; else NULL. For a thread that has
 * served one.
 */
struct ax_job *ax_reader_next_job(struct ax_connection *connection);

#endif
