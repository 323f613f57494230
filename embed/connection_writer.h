/* SPDX-License-Identifier: MIT */
/*
 * Writing, and what follows from a change of a connection's session.
 *
 * To send, queue the bytes with the session and call ax_connection_settle_locked(), which writes as much as the stream
 * takes. The loop writes the rest. All functions in any thread, with the connection's lock.
 */
#ifndef AX_EMBED_CONNECTION_WRITER_H
#define AX_EMBED_CONNECTION_WRITER_H

#include "embed/connection_state.h"

/*
 * To be called after anything that may have changed the session: collects releases, writes what can be written,
 * advances the phase, wakes watchers, and posts to the loop what only it can do.
 */
void ax_connection_settle_locked(struct ax_connection *connection);

/* Writes what the stream takes, also when it was full before: for the loop, when the stream is writable again. */
void ax_connection_write_locked(struct ax_connection *connection);

#endif
