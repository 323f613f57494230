/* SPDX-License-Identifier: MIT */
/*
 * Calls of ours and requests of the peer, by id.
 *
 * A call is sent, and waited for, by the thread that makes it. A request runs in a thread of the executor; or, when the
 * peer makes it within a call of ours, in the thread that waits for that one.
 *
 * In a process that was forked from the connection's (fork.h) calls fail, and requests must not be answered: their
 * thread ends the process.
 */
#ifndef AX_EMBED_CONNECTION_CALLS_H
#define AX_EMBED_CONNECTION_CALLS_H

#include "embed/connection_state.h"

/*
 * An APPLY of the peer, on its way through a thread of the executor. Owned by it; holds a reference on the connection.
 */
struct ax_request {
    struct ax_job job; /* first */
    struct ax_connection *connection;
    struct ax_message *message; /* owned */
    struct ax_ticket ticket;
};

/* ---- calls of ours; waits are without the GIL, and not in the loop's thread ---- */

/*
 * Sends a request. Takes the payload's buffers on success. While too much waits to be sent, blocks. 0; -EINTR: nothing
 * was sent, may be repeated; AX_ESTATE: not RUNNING; AX_ENOMEM. On 0 ax_connection_await() or _abandon() must follow.
 * `pending` must stay where it is until then.
 */
int ax_connection_call(struct ax_connection *connection, const struct ax_operation *operation,
                       struct ax_payload *payload, struct ax_pending *pending);

/*
 * Blocks until the call has its result, or never will: 0. Or 0 with *request, which the peer makes within this call:
 * the caller serves it in this thread as ax_connection_ops.serve would, and waits again. -EINTR: it may be called
 * again.
 */
int ax_connection_await(struct ax_connection *connection, struct ax_pending *pending, struct ax_request **request);

/*
 * Gives a call up. Its result, if it comes, is dropped, and what it refers to is released; requests within it go to
 * others.
 */
void ax_connection_abandon(struct ax_connection *connection, struct ax_pending *pending);

/* ---- requests of the peer ---- */

/*
 * The request has been read, or never will be: if it is a large one, the peer is told that it may send more. Takes the
 * lock, and writes: without the GIL.
 */
void ax_request_give_credit(struct ax_request *request);

/*
 * The request has been unpickled, or never will be: gives its ticket back. Returns what ax_ticket_done() does. With the
 * GIL only after ax_request_give_credit(), which it does if that was not done.
 */
struct ax_object *ax_request_unpickled(struct ax_request *request);

/*
 * Answers. Takes the payload's buffers on success; AX_ESTATE: nobody waits any more. Blocks while too much waits to be
 * sent.
 */
int ax_request_result(struct ax_request *request, enum ax_result_kind kind, struct ax_payload *payload);

/* Answers with an operation error: a UTF-8 sentence. Without memory even for that, the connection ends. */
void ax_request_fail(struct ax_request *request, const char *text);

void ax_request_free(struct ax_request *request);

/* ---- events ---- */

/* connection->on_event: acts on one event of the session. Requests that run on their own are added to the arrivals. */
void ax_connection_on_event_locked(struct ax_connection *connection, struct ax_event *event,
                                   struct ax_arrivals *arrivals);

#endif
