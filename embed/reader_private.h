/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of the reader, of which each uses the next: reader_loop.c, reader_lease.c, reader.c,
 * reader_buffer.c.
 */
#ifndef AX_EMBED_READER_PRIVATE_H
#define AX_EMBED_READER_PRIVATE_H

#include "embed/connection_state.h"

/* ---- reader_buffer.c: into what memory ---- */

/*
 * For how long reading is paused, so that the service thread gets a processor even if all are busy, and less has to be
 * copied; and for which bodies: 2 ms is the time that 4 MiB take to read. The clock is in whole milliseconds, so the
 * pause may be 1 ms shorter.
 */
#define AX_READER_PAUSE_MS 2
#define AX_READER_PAUSE_MIN (4u * 1024u * 1024u)

/* Whether reading is paused. */
static inline bool ax_reader_is_paused_locked(const struct ax_connection *connection)
{
    return connection->reader.paused || connection->reader.copying;
}

/*
 * Submits a service that makes the receive buffer which the session requests, if it does. To be called after a read. If
 * it returns true, the reader must call ax_reader_provide_buffer() after it has released the lock; reading is suspended
 * until then.
 */
bool ax_reader_request_buffer_locked(struct ax_connection *connection, struct ax_buffer_request *buffer_request);

/* Moves a body to a block, and copies the bytes received before. Without the lock. */
void ax_reader_provide_buffer(struct ax_connection *connection, const struct ax_buffer_request *buffer_request);

/* connection->reader.buffer_job runs this. */
void ax_reader_run_buffer(struct ax_job *job);

/* ---- reader.c: bytes come in ---- */

/*
 * Reads once into `scratch`, or into a large body, and settles; the caller handles the arrivals. Returns whether more
 * may be readable now.
 */
bool ax_reader_read_locked(struct ax_connection *connection, unsigned char *scratch, size_t size,
                           struct ax_arrivals *arrivals);

/* Provides the receive buffer that these arrivals request, if they do; without the lock. */
void ax_reader_settle_buffer(struct ax_connection *connection, struct ax_arrivals *arrivals);

/* ---- reader_lease.c: who reads; the loop's thread, but for the last ---- */

/* Offers the lease; from LOOP. The caller stops polling. */
void ax_reader_offer_locked(struct ax_connection *connection);

/*
 * Takes the lease back if the loop needs it and no thread has it; otherwise asks the holder to give it back. Returns
 * whether the loop must poll.
 */
bool ax_reader_reclaim_locked(struct ax_connection *connection);

/* Checks a lease that the loop has offered. Returns whether to check again after AX_LEASE_FREE_MS. */
bool ax_reader_look_locked(struct ax_connection *connection, uint64_t now);

/* Wakes the thread that polls, if there is one. */
void ax_reader_wake_holder_locked(struct ax_connection *connection);

/* Closes the eventfd: the stream is closed, or the connection idle. Any thread that has the lock. */
void ax_reader_close_waker_locked(struct ax_connection *connection);

#endif
