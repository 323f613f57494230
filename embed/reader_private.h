/* SPDX-License-Identifier: MIT */
/*
 * What the files of the reader share: reader_loop.c uses reader_lease.c, that uses reader.c, and that reader_buffer.c.
 */
#ifndef AX_EMBED_READER_PRIVATE_H
#define AX_EMBED_READER_PRIVATE_H

#include "embed/connection_state.h"

/* ---- reader_buffer.c: into what memory ---- */

/*
 * For how long nobody reads on, so that the service thread gets a processor where all are busy, and less is to be
 * copied; and for which bodies: it is what 4 MiB take to read. The clock is in whole milliseconds: it may be one less.
 */
#define AX_READER_PAUSE_MS 2
#define AX_READER_PAUSE_MIN (4u * 1024u * 1024u)

/* Whether nobody is to read for the moment. */
static inline bool ax_reader_is_paused_locked(const struct ax_connection *connection)
{
    return connection->reader.paused || connection->reader.copying;
}

/*
 * Has a service make the receive buffer that the session asks for, if it does. To be called after a read. True: whoever
 * reads is to call ax_reader_provide_buffer() when it has given the lock back; nobody reads before.
 */
bool ax_reader_request_buffer_locked(struct ax_connection *connection, struct ax_buffer_request *buffer_request);

/* Has a body go on in a block, and copies what has come of it. Without the lock. */
void ax_reader_provide_buffer(struct ax_connection *connection, const struct ax_buffer_request *buffer_request);

/* connection->reader.buffer_job runs this. */
void ax_reader_run_buffer(struct ax_job *job);

/* ---- reader.c: bytes come in ---- */

/*
 * One read into `scratch`, large bodies aside, and what follows from it but for the arrivals. Returns whether there may
 * be more to read now.
 */
bool ax_reader_read_locked(struct ax_connection *connection, unsigned char *scratch, size_t size,
                           struct ax_arrivals *arrivals);

/* Provides the receive buffer that these arrivals ask for, if they do; without the lock. */
void ax_reader_settle_buffer(struct ax_connection *connection, struct ax_arrivals *arrivals);

/* ---- reader_lease.c: who reads; the loop's thread, but for the last ---- */

/* Leaves the reading to others; from LOOP. The caller stops to poll. */
void ax_reader_offer_locked(struct ax_connection *connection);

/*
 * Takes it back if it is needed here, and nobody has it; asks who has it to give it back. Whether the loop is to poll.
 */
bool ax_reader_reclaim_locked(struct ax_connection *connection);

/* Looks after a lease that was given away. Whether to look again after AX_LEASE_FREE_MS. */
bool ax_reader_look_locked(struct ax_connection *connection, uint64_t now);

/* Has the thread that polls, if there is one, look again. */
void ax_reader_wake_holder_locked(struct ax_connection *connection);

/* The stream is closed, or idle: nobody needs to be woken. Any thread that has the lock. */
void ax_reader_close_waker_locked(struct ax_connection *connection);

#endif
