/* SPDX-License-Identifier: MIT */
/*
 * What connection.c (any thread) and reader.c (the loop) share. "_locked": the caller holds connection->lock.
 */
#ifndef AX_EMBED_CONNECTION_STATE_H
#define AX_EMBED_CONNECTION_STATE_H

#include "embed/connection.h"

/*
 * Takes the lock when nobody who needs it for little waits for it. For a thread that moves much, and takes it again and again:
 * a mutex would let it have its way, and the others wait until all is moved.
 */
void ax_connection_lock_last(struct ax_connection *connection);

/* Requests that came in, to be submitted once the lock is given back. */
struct ax_arrivals {
    struct ax_request_queue queue;
    unsigned requests; /* how many */
    unsigned handed;   /* results, and requests within calls, that were handed to the threads which wait for them */
    bool moves;        /* the reader is to call ax_placement_move() with this wish, without the lock */
    struct ax_wish wish;
};

/* Whether nobody is to read for the moment: see reader_buffer.h. With the lock. */
static inline bool ax_connection_is_held(const struct ax_connection *connection)
{
    return connection->held || connection->moving;
}

static inline void ax_request_push(struct ax_request_queue *queue, struct ax_request *request)
{
    if (queue->last != NULL)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
    request->next = NULL;
}

/* The oldest, or NULL. */
static inline struct ax_request *ax_request_pop(struct ax_request_queue *queue)
{
    struct ax_request *request = queue->first;
    if (request == NULL)
        return NULL;
    queue->first = request->next;
    if (queue->first == NULL)
        queue->last = NULL;
    return request;
}

/* Feeds received bytes to the session and acts on its events, but for requests, which are added to arrivals. */
void ax_connection_feed_locked(struct ax_connection *connection, const unsigned char *data, size_t size,
                               struct ax_arrivals *arrivals);

/* Acts on one event of the session, likewise. */
void ax_connection_event_locked(struct ax_connection *connection, struct ax_event *event, struct ax_arrivals *arrivals);

/*
 * One read into `scratch`, large bodies aside, and what follows from it but for requests. Any thread that may read; no
 * lock.
 */
void ax_connection_read(struct ax_connection *connection, unsigned char *scratch, size_t size,
                        struct ax_arrivals *arrivals);

/* Hands the requests to the executor. Without the lock: the executor may refuse them. */
void ax_connection_submit(struct ax_connection *connection, struct ax_request_queue *queue);

/*
 * To be called after everything that may have changed the session: gathers releases, writes what can be written, moves the
 * phase on, wakes who waits for that, and asks the loop for what only it can do.
 */
void ax_connection_settle_locked(struct ax_connection *connection);

/* Writes what the stream takes, also when it was full: for the loop, when there is room again. */
void ax_connection_write_locked(struct ax_connection *connection);

/* Puts the connection on the engine's list, once; ax_engine_remove() takes it off when it has finished. */
void ax_connection_register_locked(struct ax_connection *connection);

/* connection->attend runs this on the loop. */
void ax_connection_attend(struct ax_task *task);

/* The same, at once; the loop's thread. */
void ax_connection_attend_now(struct ax_connection *connection);

/* Asks the loop to attend to the connection. Any thread, no lock. */
void ax_connection_post(struct ax_connection *connection);

/* Adds the ticket as the newest; ax_ticket_done() gives it back. */
void ax_ticket_take(struct ax_connection *connection, struct ax_ticket *ticket);

/* Has a service drop objects that were taken out of the table. NULL is fine. */
void ax_connection_drop_later(struct ax_connection *connection, struct ax_object *doomed);

/* The same for doomed objects that are in the table, once all messages that came until now are unpickled. */
void ax_connection_drop_in_order(struct ax_connection *connection, struct ax_object *doomed);

/* A new request for an APPLY, of which it takes ownership; NULL when memory is short, and then it does not. */
struct ax_request *ax_request_new(struct ax_connection *connection, struct ax_message *message);

#endif
