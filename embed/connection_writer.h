/* SPDX-License-Identifier: MIT */
/*
 * Writing, and what follows from a change of a connection's session.
 *
 * Whoever has something to send queues the bytes with the session, and calls ax_connection_settle_locked(), which
 * writes them at once as far as the stream takes them. The loop writes the rest. All in any thread, with the
 * connection's lock.
 */
#ifndef AX_EMBED_CONNECTION_WRITER_H
#define AX_EMBED_CONNECTION_WRITER_H

#include "embed/connection_state.h"

/*
 * To be called after everything that may have changed the session: gathers releases, writes what can be written, moves
 * the phase on, wakes who waits for that, and asks the loop for what only it can do.
 */
void ax_connection_settle_locked(struct ax_connection *connection);

/* Writes what the stream takes, also when it was full: for the loop, when there is room again. */
void ax_connection_write_locked(struct ax_connection *connection);

#endif
