/* SPDX-License-Identifier: MIT */
/*
 * The order in which objects are released.
 *
 * Messages are unpickled in threads, but what the stream orders stays ordered: each message that is still to be
 * unpickled holds a *ticket*, and objects that a later DEL_OBJS releases are handed, by ax_ticket_done(), to whoever
 * gives back the last ticket before it. The other way, what is no longer referred to here is gathered without a lock,
 * and sent with the next message.
 *
 * In a process that was forked from the connection's, all functions are harmless (fork.h).
 */
#ifndef AX_EMBED_CONNECTION_RELEASES_H
#define AX_EMBED_CONNECTION_RELEASES_H

#include "embed/connection_state.h"

/* ---- objects of ours that the peer has released ---- */

/* Adds the ticket as the newest; ax_ticket_done() gives it back. */
void ax_ticket_take(struct ax_connection *connection, struct ax_ticket *ticket);

/*
 * Gives a ticket back. Returns the objects that the peer has released and nobody before needs: taken out of the table,
 * for the caller to drop.
 */
struct ax_object *ax_ticket_done(struct ax_connection *connection, struct ax_ticket *ticket);

/* Has a service drop objects that were taken out of the table. NULL is fine. */
void ax_connection_drop_later(struct ax_connection *connection, struct ax_object *doomed);

/* The same for doomed objects that are in the table, once all messages that came until now are unpickled. */
void ax_connection_drop_in_order(struct ax_connection *connection, struct ax_object *doomed);

/* connection->drop_job runs this. */
void ax_connection_run_drop(struct ax_job *job);

/* ---- objects of the peer ---- */

/*
 * What this thread releases from now on goes with what it is about to send over this connection, and the loop is not
 * woken for it. NULL ends that, before the thread sends. It must send indeed, or find that the connection has ended.
 */
void ax_connection_batch_releases(const struct ax_connection *connection);

/* The peer's object is no longer referred to. Takes ownership. Any thread, no lock, never blocks. */
void ax_connection_release(struct ax_connection *connection, struct ax_release *release);

int ax_compare_ids(const void *first, const void *second); /* for qsort() */

/* Releases all objects that a message refers to and `claimed`, sorted ids, does not contain. No lock. */
void ax_connection_release_unclaimed(struct ax_connection *connection, const struct ax_message *message,
                                     const uint64_t *claimed, size_t count);

/* Tells the session what has been released. */
void ax_connection_gather_releases_locked(struct ax_connection *connection);

/* Frees what was released and not gathered; nobody else uses the connection. */
void ax_connection_free_releases(struct ax_connection *connection);

#endif
