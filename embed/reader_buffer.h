/* SPDX-License-Identifier: MIT */
/*
 * Where large bodies are received: in the memory that they stay in.
 *
 * A session grows the memory of a body with the bytes that come. When enough has come of a large one, it wishes for
 * memory for all of it. For what becomes a bytes object or a bytearray only the interpreter can make it, and whoever
 * reads never waits for the GIL: a service thread makes the object and offers its memory. When that comes late, more is
 * copied; when it comes too late, the body stays where it is, and all of it is copied in the end. All others get a block
 * (blocks.h) from whoever reads.
 *
 * No thread waits for these: while a connection is held, nobody reads from it, and the loop and its timer go on.
 */
#ifndef AX_EMBED_READER_BUFFER_H
#define AX_EMBED_READER_BUFFER_H

#include "embed/connection.h"

/*
 * For how long nobody reads on, so that the service thread gets a processor where all are busy, and less is to be copied;
 * and for which bodies: it is what 4 MiB take to read. The clock is in whole milliseconds: it may be one less.
 */
#define AX_PLACEMENT_HOLD_MS 2
#define AX_PLACEMENT_HOLD_MIN (4u * 1024u * 1024u)

/*
 * Has the session's wish, if it has one, fulfilled by a service. To be called after a read, with the connection's lock.
 * True: the reader is to fulfil it, and to call ax_placement_move() when it has given the lock back; nobody reads before.
 */
bool ax_placement_look_locked(struct ax_connection *connection, struct ax_wish *wish);

/* Has a body go on in a block, and copies what has come of it. Without the lock. */
void ax_placement_move(struct ax_connection *connection, const struct ax_wish *wish);

/* connection->place_job runs this. */
void ax_placement_run(struct ax_job *job);

#endif
