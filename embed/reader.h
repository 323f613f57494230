/* SPDX-License-Identifier: MIT */
/*
 * Who reads from a connection, and into what memory.
 *
 * All bytes of the peer pass through one function, whether they were read by the loop, by a thread that waits for them,
 * or before the connection was started (reader.c). It feeds the session, handles its events, and settles the
 * connection.
 *
 * Who reads (reader_lease.c). When two processes call each other repeatedly, each message that the loop's thread reads
 * for another thread costs a hand-over between threads, which takes longer than the rest of the call. So there is a
 * lease on reading:
 *
 *   LOOP   the loop polls the stream and reads
 *   FREE   no thread reads, for at most AX_LEASE_FREE_MS: the loop has left it to the next thread that waits
 *   TAKEN  a thread that waits for a result, or for the next request, polls the stream and reads
 *
 *            offer (loop: one call, one answer)        take (a thread begins to wait)
 *   LOOP ─────────────────────────────────▶ FREE ◀────────────────────────────▶ TAKEN
 *     ▲                                      │         give back (it is done)
 *     └──────────────────────────────────────┘
 *       guard (too long free), or update (the loop is needed: closing, other threads wait)
 *
 * Invariants: the state changes under the connection's lock; only the loop's thread enters or leaves LOOP; while a
 * connection is not in LOOP, the guard checks it, or it is `parked` and the holder posts to the loop when it gives the
 * lease back. Two readers at once are harmless: reading and feeding is one step under the lock, so the order of bytes
 * is kept.
 *
 * The holder of the lease polls for a short time before it sleeps (spin.h), without locks: between two cores, waking
 * two threads is most of the time of a small call.
 *
 * Into what memory (reader_buffer.c). A session grows the memory of a body as bytes arrive. When enough of a large one
 * has arrived, it requests a receive buffer for all of it. If the body becomes a bytes object or a bytearray, only the
 * interpreter can allocate it, and readers never wait for the GIL: a service thread makes the object. If the object is
 * late, more is copied; if it is too late, the body stays where it is, and is copied as a whole in the end. For other
 * bodies, the reader provides a block (blocks.h). Reading is paused meanwhile; the loop and its timer are not.
 *
 * When (reader_loop.c). The session tells what it waits for: to read, to write, or nothing any more. From this
 * *interest* follows what the loop polls for, less what other threads do. The loop's thread does everything else:
 * timers, heartbeats, writing what did not fit.
 */
#ifndef AX_EMBED_READER_H
#define AX_EMBED_READER_H

#include "embed/connection_state.h"

#define AX_LEASE_FREE_MS 1   /* delay of a message that arrives while a call runs, at most twice */
#define AX_LEASE_LINGER_MS 1 /* how long a thread that has served a call waits for the next one */
#define AX_LEASE_PARK_MS 20  /* TAKEN for this long: the guard stops checking */

/* What a connection waits for on its stream; a mask. */
#define AX_INTEREST_READ 1u
#define AX_INTEREST_WRITE 2u

/* ---- life; for connection.c ---- */

void ax_reader_init(struct ax_connection *connection);

/* The connection is not used any more. */
void ax_reader_fini(struct ax_connection *connection);

/*
 * Sets for how many microseconds a waiting thread may poll before it sleeps, where that pays; 0, the initial value:
 * never. Before the start.
 */
void ax_reader_set_spin(struct ax_connection *connection, uint32_t spin_us);

/* Feeds bytes that were read before the connection was started, if any, and settles. */
void ax_reader_take_in_locked(struct ax_connection *connection, const void *received, size_t size,
                              struct ax_arrivals *arrivals);

/* Dispatches what has arrived: requests go to the executor, which may refuse them. Without the lock. */
void ax_reader_deliver(struct ax_connection *connection, struct ax_arrivals *arrivals);

/* ---- waiting: any thread but the loop's, without the GIL and without locks ---- */

/* Like ax_loop_wait(), for a waiter that is posted when something arrives over this connection. */
int ax_reader_wait(struct ax_connection *connection, struct ax_waiter *waiter);

/*
 * The next request, if it arrives within AX_LEASE_LINGER_MS and this thread may read; else NULL. For a thread that has
 * served a request.
 */
struct ax_job *ax_reader_next_job(struct ax_connection *connection);

#endif
