/* SPDX-License-Identifier: MIT */
/*
 * Where large bodies are received: in the memory that they stay in.
 *
 * A session grows the memory of a body with the bytes that come. When enough has come of a large one, it wishes for
 * memory for all of it. For what becomes a bytes object or a bytearray only the interpreter can make it, and whoever
 * reads never waits for the GIL, at least not for long: a service thread makes the object and offers its memory. When
 * that comes late, more is copied; when it comes too late, the body stays where it is, and all of it is copied in the
 * end. All others get a block at once (blocks.h).
 */
#ifndef AX_EMBED_PLACEMENT_H
#define AX_EMBED_PLACEMENT_H

#include "embed/connection.h"

/* How long a reader lets the service thread go first, and for which bodies: it is what 4 MiB take to read. */
#define AX_PLACEMENT_HOLD_US 1000
#define AX_PLACEMENT_HOLD_MIN (4u * 1024u * 1024u)

/*
 * Fulfils the session's wish, if it has one, or has it fulfilled. To be called after a read, with the connection's
 * lock. Returns whether the reader is to call ax_placement_hold() when it has given the lock back.
 */
bool ax_placement_look_locked(struct ax_connection *connection);

/*
 * Waits until there is a place, but not longer than AX_PLACEMENT_HOLD_US: where all processors are busy, the service
 * thread gets one sooner, and less is to be copied. Not under a lock.
 */
void ax_placement_hold(struct ax_connection *connection);

/* connection->place_job runs this. */
void ax_placement_run(struct ax_job *job);

#endif
