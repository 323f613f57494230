/* SPDX-License-Identifier: MIT */
/*
 * Our calls and the peer's requests, by id.
 *
 * A call is sent, and waited for, by the thread that makes it. A request runs in a thread of the executor or, if the
 * peer makes it within a call of ours, in the thread that waits for that call.
 *
 * In a process that was forked from the connection's (fork.h) calls fail, and requests must not be answered: their
 * thread ends the process.
 */
#ifndef AX_EMBED_CONNECTION_CALLS_H
#define AX_EMBED_CONNECTION_CALLS_H

#include "embed/connection_state.h"

/*
 * A request of the peer, passed through a thread of the executor and owned by it. Holds a reference to the connection.
 */
struct ax_request {
    struct ax_job job; /* first */
    struct ax_connection *connection;
    struct ax_message *message; /* owned */
    struct ax_ticket ticket;
};

/* ---- calls of ours; waits are without the GIL, and not in the loop's thread ---- */

/*
 * Sends a request. Takes the payload's buffers on success. Blocks while the output queue is full. 0; -EINTR: nothing
 * was sent, may be repeated; AX_ESTATE: not RUNNING; AX_ENOMEM. After 0, ax_connection_await() or _abandon() must
 * follow, and `pending` must stay in place until then.
 */
int ax_connection_call(struct ax_connection *connection, const struct ax_operation *operation,
                       struct ax_payload *payload, struct ax_pending *pending);

/*
 * Blocks until the call has its result, or can have none: 0 with *request NULL. 0 with *request set: a request that the
 * peer makes within this call; the caller serves it in this thread as ax_connection_ops.serve would, and waits again.
 * -EINTR: may be repeated.
 */
int ax_connection_await(struct ax_connection *connection, struct ax_pending *pending, struct ax_request **request);

/*
 * Abandons a call. Its result, if it comes, is dropped, and its references are released; requests within it go to other
 * threads.
 */
void ax_connection_abandon(struct ax_connection *connection, struct ax_pending *pending);

/* ---- requests of the peer ---- */

/*
 * The request has been read, or never will be: if it is a large one, the peer is sent credit for more. Takes the lock,
 * and writes: without the GIL.
 */
void ax_request_give_credit(struct ax_request *request);

/*
 * The request has been unpickled, or never will be: returns its ticket. Returns the result of ax_ticket_done(). Needs
 * the GIL only after ax_request_give_credit(), which it calls if that was not done.
 */
struct ax_object *ax_request_unpickled(struct ax_request *request);

/*
 * Sends the result. Takes the payload's buffers on success; AX_ESTATE: the result is no longer awaited. Blocks while
 * the output queue is full.
 */
int ax_request_result(struct ax_request *request, enum ax_result_kind kind, struct ax_payload *payload);

/* Answers with an operation error, a UTF-8 text. If memory is short even for that, the connection fails. */
void ax_request_fail(struct ax_request *request, const char *text);

void ax_request_free(struct ax_request *request);

/* ---- events ---- */

/* connection->on_event: handles one event of the session. Requests that run on their own are added to the arrivals. */
void ax_connection_on_event_locked(struct ax_connection *connection, struct ax_event *event,
                                   struct ax_arrivals *arrivals);

#endif
