/* SPDX-License-Identifier: MIT */
/*
 * The order in which objects are released.
 *
 * Messages are unpickled in threads, but the order of the stream is kept: each message that is still to be unpickled
 * holds a *ticket*, and objects that a later DEL_OBJS releases are returned by the ax_ticket_done() of the last ticket
 * before it. In the other direction, ids that are no longer referred to here are collected without a lock, and sent
 * with the next message.
 *
 * In a process that was forked from the connection's, all functions are safe (fork.h).
 */
#ifndef AX_EMBED_CONNECTION_RELEASES_H
#define AX_EMBED_CONNECTION_RELEASES_H

#include "embed/connection_state.h"

/* ---- objects of ours that the peer has released ---- */

/* Adds the ticket as the newest; ax_ticket_done() removes it. */
void ax_ticket_take(struct ax_connection *connection, struct ax_ticket *ticket);

/*
 * Removes a ticket. Returns the objects that the peer has released and no earlier message needs: taken out of the
 * table, for the caller to drop.
 */
struct ax_object *ax_ticket_done(struct ax_connection *connection, struct ax_ticket *ticket);

/* Drops objects that were taken out of the table, in a service. NULL is fine. */
void ax_connection_drop_later(struct ax_connection *connection, struct ax_object *doomed);

/* The same for doomed objects that are in the table, once all messages received until now are unpickled. */
void ax_connection_drop_in_order(struct ax_connection *connection, struct ax_object *doomed);

/* connection->drop_job runs this. */
void ax_connection_run_drop(struct ax_job *job);

/* ---- objects of the peer ---- */

/*
 * Batches releases: what this thread releases from now on is sent with its next message over this connection, without
 * waking the loop. NULL ends that, before the thread sends. The thread must send, or find that the connection has
 * ended.
 */
void ax_connection_batch_releases(const struct ax_connection *connection);

/* Releases a proxied object of the peer. Takes ownership. Any thread, no lock, never blocks. */
void ax_connection_release(struct ax_connection *connection, struct ax_release *release);

int ax_compare_ids(const void *first, const void *second); /* for qsort() */

/* Releases all objects that a message refers to, except `claimed`, sorted ids. No lock. */
void ax_connection_release_unclaimed(struct ax_connection *connection, const struct ax_message *message,
                                     const uint64_t *claimed, size_t count);

/* Passes the collected releases to the session. */
void ax_connection_gather_releases_locked(struct ax_connection *connection);

/* Frees releases that were not passed on; the connection is not used any more. */
void ax_connection_free_releases(struct ax_connection *connection);

#endif
