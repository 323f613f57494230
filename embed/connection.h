/* SPDX-License-Identifier: MIT */
/*
 * A connection: a session of protocol/, the stream it runs over, and the threads that wait for it.
 *
 * One implementation for both ends. Knows no Python: what a request means is up to the ax_connection_ops above it.
 *
 * Threads. The loop reads, and acts on time. Any other thread may call, answer, close or cancel: it queues the bytes and writes
 * them at once, as far as the stream takes them; the loop writes the rest. `lock` guards everything that is not said to be
 * somebody else's; it is held for short, non-blocking work alone, never while waiting and never while taking the GIL.
 * Locks below it (taken while it is held): order_lock, and the executor's, the engine's and the object table's.
 *
 * Order. Messages are unpickled in threads, but what the stream orders stays ordered: each message that is still to be
 * unpickled holds a *ticket*, and objects that a later DEL_OBJS releases are handed, by ax_ticket_done(), to whoever gives back
 * the last ticket before it.
 *
 * Forks. In a process that was forked from the connection's (fork.h) all functions are harmless: it has ended there, calls of
 * it fail, and what is given to it is freed or stays. Requests must not be answered there: their thread ends the process.
 *
 * Life. Reference-counted: the creator has one, the engine has one from start to finish, and whoever else keeps a pointer.
 */
#ifndef AX_EMBED_CONNECTION_H
#define AX_EMBED_CONNECTION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "embed/executor.h"
#include "embed/reader.h"
#include "embed/loop.h"
#include "embed/objects.h"
#include "embed/stream.h"
#include "embed/tally.h"
#include "embed/waiter.h"
#include "protocol/session.h"

struct ax_connection;
struct ax_engine;

/* Forward only. */
enum ax_phase {
    AX_PHASE_STARTING, /* not connected yet, or in the handshake */
    AX_PHASE_RUNNING,
    AX_PHASE_STOPPING, /* closing, closed or broken: calls fail, descriptors may still be open */
    AX_PHASE_FINISHED, /* descriptors are closed, the object table is empty, ops->finished has returned */
};

/* Why a connection left RUNNING, or never got there; for the text of a DisconnectError. */
enum ax_end {
    AX_END_NONE,
    AX_END_CLOSED,    /* ax_connection_close() */
    AX_END_REMOTE,    /* the peer said GOODBYE; its reason, if any, is ax_session_reason() */
    AX_END_CANCELLED, /* ax_connection_cancel() */
    AX_END_FAILED,    /* session.error and io_error tell more */
};

/* A place in the order of the messages that are still to be unpickled. */
struct ax_ticket {
    struct ax_ticket *prev;
    struct ax_ticket *next;
    struct ax_object *doomed; /* released by the peer after this message, and before the next that has a ticket */
};

/* An APPLY of the peer, on its way through a thread of the executor. Owned by it; holds a reference on the connection. */
struct ax_request {
    struct ax_job job;
    struct ax_connection *connection;
    struct ax_message *message; /* owned */
    struct ax_ticket ticket;
    struct ax_request *next; /* in a queue */
};

/* Requests in the order in which they came. */
struct ax_request_queue {
    struct ax_request *first;
    struct ax_request *last;
};

/*
 * A call of ours, on the stack of the thread that waits for it. While the peer serves it, the peer's own calls come to this
 * thread, so that both sides together are like one program: thread-locals are there, and locks that it holds can be taken again.
 * The waiter is posted once for each of those, and once when the call is done.
 */
struct ax_pending {
    struct ax_waiter waiter;
    uint64_t id;
    struct ax_request_queue requests; /* of the peer, made within this call; connection->lock */
    bool done;                        /* there is a message, or there never will be one; connection->lock */
    struct ax_message *message; /* the RESULT, owned by the waiting thread; NULL: the connection ended without one */
    struct ax_ticket ticket;    /* held when there is a message */
};

/* A peer's object that is no longer referred to. From malloc(). */
struct ax_release {
    uint64_t id;
    struct ax_release *next;
};

/* What the layer above does. All but freed run in threads of the executor, without any lock. */
struct ax_connection_ops {
    /* Runs a request: calls ax_request_unpickled() once, answers it once, and frees it. */
    void (*serve)(struct ax_request *request);
    /* Drops the values of these objects, and frees the list. */
    void (*drop)(struct ax_connection *connection, struct ax_object *doomed);
    /* The descriptors are closed and no message will come. Once. The object table is cleared after it, through drop. */
    void (*finished)(struct ax_connection *connection);
    /* Memory for a large body that will become an object, of wish->size bytes; false when there is none. NULL: never. */
    bool (*place)(struct ax_connection *connection, const struct ax_wish *wish, struct ax_buffer *memory);
    /* Follows when place() has succeeded: what had come before is in that memory now, or it was not needed. */
    void (*placed)(void *owner);
    /* The last reference has gone. In any thread, perhaps under a lock of its caller: frees `above`, no more. */
    void (*freed)(void *above);
};

struct ax_connection {
    atomic_uint references;
    uint64_t number;                     /* no other connection of the process has it, before or after; not 0 */
    struct ax_engine *engine;            /* borrowed, as long as the process lives */
    const struct ax_connection_ops *ops; /* static storage */
    void *above;                         /* the layer above's own; it says what guards it */

    pthread_mutex_t lock;
    atomic_uint knocking;    /* threads that wait for the lock and need it for little: see ax_connection_lock_last() */
    atomic_int phase;        /* enum ax_phase; changed under the lock, read by anybody */
    atomic_bool was_running; /* the handshake succeeded, once */
    enum ax_end end;
    bool close_called;   /* ax_connection_close() was called, whatever else happened */
    int io_error;        /* errno of the stream behind AX_END_FAILED, or 0 */
    char *end_reason;    /* owned: why the stream is going to end; ax_connection_fail_at_end(); or NULL */
    bool ended_for_it;   /* the stream did end, and that is the reason of AX_END_FAILED */
    int write_error;     /* errno of the first write that failed, or 0: then the peer may still have something to say */
    bool registered;     /* with the engine, which is since it started, or ended without a start */
    bool writes_blocked; /* the stream was full: the loop waits for room, and writes */
    enum ax_session_state attended; /* the state that the loop has last seen */
    struct ax_session session;
    struct ax_stream stream;
    struct ax_waiter *watchers; /* who waits for a phase, or for room to send */
    struct ax_lease lease;      /* who reads */
    unsigned waiting;           /* threads that wait for a result or a request, and do not read */
    ax_wire_state *wire;        /* borrowed: where to tell others of the stream's state; NULL: nobody asks */

    pthread_mutex_t order_lock; /* a leaf but for the executor's and the object table's; guards the next three */
    struct ax_ticket tickets;   /* head of the ring, oldest next */
    struct ax_object *doomed;   /* to be dropped by the service */
    bool drop_submitted;

    _Atomic(struct ax_release *) releases; /* a stack, pushed by any thread without a lock */
    struct ax_objects objects;             /* has its own lock */

    struct ax_task attend; /* what the loop does for us when it is asked to */
    struct ax_job drop_job;
    struct ax_job finish_job;

    /* connection->lock; reader_buffer.h */
    struct ax_job place_job;
    struct ax_wish wish; /* that the job is to fulfil */
    bool place_submitted;
    bool held; /* nobody reads before the job has given the memory, or held_until has passed (ms) */
    uint64_t held_until;
    bool moving; /* nobody reads: what has come of a body is being copied, without the lock */

    /* The loop's thread only. */
    bool attached;      /* handles are initialised */
    bool detaching;     /* handles are being closed */
    unsigned handles;   /* how many are open */
    int watched;        /* what poll() looks for: UV_READABLE, UV_WRITABLE */
    uv_poll_t poll_in;  /* reads; for a socket, writes too */
    uv_poll_t poll_out; /* writes, for pipes */
    uv_timer_t timer;
    uint64_t timer_due; /* what the timer is set to; AX_NEVER: not set */

    struct ax_connection *engine_next; /* engine->lock */
    struct ax_connection **engine_link;
};

/* ---- the lock ---- */

/*
 * Takes connection->lock, for little: a message, a look. Never while holding the GIL, whose holders may wait for it in Python's own
 * time; and never to wait for anything while it is held.
 */
void ax_connection_lock(struct ax_connection *connection);

/* Gives it back, however it was taken. */
void ax_connection_unlock(struct ax_connection *connection);

#ifndef NDEBUG
/* Has every attempt to take the lock fail an assertion in threads where this is true. Once, before there are connections. */
void ax_connection_forbid_lock(bool (*is_held)(void));
#endif

/* ---- life ---- */

/* A new connection in STARTING, with one reference; NULL when memory is short, or (errno EINVAL) config is out of range. */
struct ax_connection *ax_connection_new(struct ax_engine *engine, const struct ax_connection_ops *ops,
                                        const struct ax_session_config *config, void *above);

void ax_connection_ref(struct ax_connection *connection);
void ax_connection_unref(struct ax_connection *connection);

/*
 * Begins the handshake over these descriptors, of which it takes ownership, also on failure. `received` are bytes that were read
 * from them already. Once. 0 or a negative errno (-EPERM: a regular file can't be waited for), and then the
 * connection is as before. After ax_connection_fail() or _cancel() it closes the descriptors and returns 0.
 */
int ax_connection_start(struct ax_connection *connection, int in_fd, int out_fd, const void *received, size_t size);

/* Says GOODBYE when the handshake is done, else ends at once; with a reason for peers that understand one, or NULL. */
void ax_connection_close(struct ax_connection *connection, const char *reason);

/*
 * Ends now, whatever state it is in: nothing more is read, what waits to be sent is dropped. Never blocks. When both sides have
 * said GOODBYE already, the connection still counts as closed in an orderly way.
 */
void ax_connection_cancel(struct ax_connection *connection);

/*
 * The same, because of something that happened outside: `reason` is for the error text, io_error an errno or 0. Returns whether
 * that is now the reason of the end: not when it had ended already, or when both sides had said GOODBYE.
 */
bool ax_connection_fail(struct ax_connection *connection, int io_error, const char *reason);

/*
 * Something happened outside that is about to end the stream, and whoever carries its bytes has passed on all that came before.
 * The connection reads those first. Then the end of the stream is a failure for this reason, unless both sides have said GOODBYE by
 * then. The first reason stays. AX_ENOMEM: nothing was noted.
 */
int ax_connection_fail_at_end(struct ax_connection *connection, const char *reason);

/* ---- waiting; without the GIL, and not in the loop's thread ---- */

/* Blocks until the phase is at least this one: 0, or -EINTR after a signal handler may have run in this thread. */
int ax_connection_wait(struct ax_connection *connection, enum ax_phase phase);

enum ax_phase ax_connection_phase(struct ax_connection *connection);

/* ---- calls of ours ---- */

/*
 * Sends a request. Takes the cargo's buffers on success. While too much waits to be sent, blocks. 0; -EINTR: nothing was sent, may
 * be repeated; AX_ESTATE: not RUNNING; AX_ENOMEM. On 0 ax_connection_await() or _abandon() must follow. `pending` must stay
 * where it is until then.
 */
int ax_connection_call(struct ax_connection *connection, const struct ax_operation *operation, struct ax_cargo *cargo,
                       struct ax_pending *pending);

/*
 * Blocks until the call has its result, or never will: 0. Or 0 with *request, which the peer makes within this call: the caller
 * serves it in this thread as ax_connection_ops.serve would, and waits again. -EINTR: it may be called again.
 */
int ax_connection_await(struct ax_connection *connection, struct ax_pending *pending, struct ax_request **request);

/* Gives a call up. Its result, if it comes, is dropped, and what it refers to is released; requests within it go to others. */
void ax_connection_abandon(struct ax_connection *connection, struct ax_pending *pending);

/* ---- requests of the peer ---- */

/*
 * The request has been read, or never will be: if it is a large one, the peer is told that it may send more. Takes the lock, and
 * writes: without the GIL.
 */
void ax_request_give_credit(struct ax_request *request);

/*
 * The request has been unpickled, or never will be: gives its ticket back. Returns what ax_ticket_done() does. With the GIL only
 * after ax_request_give_credit(), which it does if that was not done.
 */
struct ax_object *ax_request_unpickled(struct ax_request *request);

/* Answers. Takes the cargo's buffers on success; AX_ESTATE: nobody waits any more. Blocks while too much waits to be sent. */
int ax_request_result(struct ax_request *request, enum ax_result_kind kind, struct ax_cargo *cargo);

/* Answers with an operation error: a UTF-8 sentence. Without memory even for that, the connection ends. */
void ax_request_fail(struct ax_request *request, const char *text);

void ax_request_free(struct ax_request *request);

/* ---- objects ---- */

/* Gives a ticket back. Returns the objects that the peer has released and nobody before needs: taken out of the table, for the
 * caller to drop. */
struct ax_object *ax_ticket_done(struct ax_connection *connection, struct ax_ticket *ticket);

/*
 * What this thread releases from now on goes with what it is about to send over this connection, and nobody is woken for it.
 * NULL ends that, before the thread sends. It must send indeed, or find that the connection has ended.
 */
void ax_connection_speaks_soon(const struct ax_connection *connection);

/* The peer's object is no longer referred to. Takes ownership. Any thread, no lock, never blocks. */
void ax_connection_release(struct ax_connection *connection, struct ax_release *release);

int ax_compare_ids(const void *first, const void *second); /* for qsort() */

/* Releases all objects that a message refers to and `claimed`, sorted ids, does not contain. No lock. */
void ax_connection_release_unclaimed(struct ax_connection *connection, const struct ax_message *message,
                                     const uint64_t *claimed, size_t count);

#endif
