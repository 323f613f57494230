/* SPDX-License-Identifier: MIT */
/*
 * The state of a connection, which its parts share: its lock, its references, its phase and who waits for that.
 *
 * A connection is a session of protocol/, the stream it runs over, and the threads that wait for it. Its parts, each of
 * which uses only those below it:
 *
 *   connection.h           life: making, starting, closing, failing
 *   connection_calls.h     calls of ours and requests of the peer, by id
 *   reader.h               who reads, and into what memory
 *   connection_writer.h    writing, and what follows from a change of the session
 *   connection_releases.h  the order in which objects are released
 *   connection_state.h     this
 *
 * The two places where a lower part starts something in a higher one are pointers here, which ax_connection_new() sets:
 * on_event and destroy.
 *
 * Threads. `lock` guards everything that is not said to be somebody else's; it is held for short, non-blocking work
 * alone, never while waiting and never while taking the GIL. Locks below it (taken while it is held): order_lock, and
 * the executor's, the engine's and the object table's. "_locked": the caller holds it.
 */
#ifndef AX_EMBED_CONNECTION_STATE_H
#define AX_EMBED_CONNECTION_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "embed/engine.h"
#include "embed/executor.h"
#include "embed/loop.h"
#include "embed/objects.h"
#include "embed/spin.h"
#include "embed/stream.h"
#include "embed/call_stats.h"
#include "embed/waiter.h"
#include "protocol/session.h"

struct ax_connection;
struct ax_request;

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

/* A position in the order of the messages that are still to be unpickled; connection_releases.h. */
struct ax_ticket {
    struct ax_ticket *prev;
    struct ax_ticket *next;
    struct ax_object *doomed; /* released by the peer after this message, and before the next that has a ticket */
};

/* A peer's object that is no longer referred to. From malloc(). */
struct ax_release {
    uint64_t id;
    struct ax_release *next;
};

/*
 * A call of ours, on the stack of the thread that waits for it; connection_calls.h. While the peer serves it, the
 * peer's own calls come to this thread, so that both sides together are like one program: thread-locals are there, and
 * locks that it holds can be taken again. The waiter is posted once for each of those, and once when the call is done.
 */
struct ax_pending {
    struct ax_waiter waiter;
    uint64_t id;
    struct ax_job_queue requests; /* of the peer, made within this call; connection->lock */
    bool done;                    /* there is a message, or there never will be one; connection->lock */
    struct ax_message *message;   /* the RESULT, owned by the waiting thread; NULL: the connection ended without one */
    struct ax_ticket ticket;      /* held when there is a message */
};

/* What the layer above does. All but freed run in threads of the executor, without any lock. */
struct ax_connection_ops {
    /* Runs a request: calls ax_request_unpickled() once, answers it once, and frees it. */
    void (*serve)(struct ax_request *request);
    /* Drops the values of these objects, and frees the list. */
    void (*drop)(struct ax_connection *connection, struct ax_object *doomed);
    /* The descriptors are closed and no message will come. Once. The object table is cleared after it, through drop. */
    void (*finished)(struct ax_connection *connection);
    /*
     * A receive buffer for a large body that will become an object, of buffer_request->size bytes; false when there is
     * none. NULL: never.
     */
    bool (*allocate)(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                     struct ax_buffer *buffer);
    /* Follows when allocate() has succeeded: what had come before is in that buffer now, or it was not needed. */
    void (*copied)(void *owner);
    /* The last reference has gone. In any thread, perhaps under a lock of its caller: frees `above`, no more. */
    void (*freed)(void *above);
};

/* What came of bytes that were received: to be seen to when the connection's lock has been given back. */
struct ax_arrivals {
    struct ax_job_queue jobs; /* requests, for the executor */
    unsigned handed;          /* results, and requests within calls: how many went to threads that wait for them */
    bool needs_buffer;        /* whoever reads is to provide a receive buffer for `buffer_request` */
    struct ax_buffer_request buffer_request;
};

/* Who reads from a connection; reader.h. */
enum ax_lease_state { AX_LEASE_LOOP, AX_LEASE_FREE, AX_LEASE_TAKEN };

/* The reader's part of a connection; reader.h. */
struct ax_reader {
    /* connection->lock: who reads */
    enum ax_lease_state state;
    uint64_t since;   /* ms: when it became FREE or TAKEN */
    bool wanted;      /* the loop is to take the lease back as soon as it can */
    bool parked;      /* the guard does not look: it was TAKEN for long */
    int wake_fd;      /* an eventfd that wakes the holder; -1 as long as none is needed */
    unsigned waiting; /* threads that wait for a result or a request, and do not read */

    /* Whoever has the lease: for how long it polls before it sleeps */
    uint32_t spin_us;            /* at most; set before the start */
    struct ax_spin spin_result;  /* in a wait for a result */
    struct ax_spin spin_request; /* in one for the next request */

    /* connection->lock: into what memory */
    struct ax_job buffer_job; /* makes the receive buffer for `buffer_request` */
    struct ax_buffer_request buffer_request;
    bool buffer_submitted;
    bool paused; /* nobody reads before the job has given the buffer, or paused_until has passed (ms) */
    uint64_t paused_until;
    bool copying; /* nobody reads: what has come of a body is being copied into its buffer, without the lock */

    /* The loop's thread only. */
    bool guarded;
    struct ax_connection *guard_next;
    bool attached;      /* handles are initialised */
    bool detaching;     /* handles are being closed */
    unsigned handles;   /* how many are open */
    unsigned polled;    /* the interest that poll() was told: AX_INTEREST_… */
    uv_poll_t poll_in;  /* reads; for a socket, writes too */
    uv_poll_t poll_out; /* writes, for pipes */
    uv_timer_t timer;
    uint64_t timer_due; /* what the timer is set to; AX_NEVER: not set */
};

struct ax_connection {
    atomic_uint references;
    uint64_t number;                     /* no other connection of the process has it, before or after; not 0 */
    struct ax_engine *engine;            /* borrowed, as long as the process lives */
    const struct ax_connection_ops *ops; /* static storage */
    void *above;                         /* the layer above's own; it says what guards it */
    /* Acts on an event of the session; with the lock. */
    void (*on_event)(struct ax_connection *connection, struct ax_event *event, struct ax_arrivals *arrivals);
    void (*destroy)(struct ax_connection *connection); /* the last reference has gone */

    pthread_mutex_t lock;
    atomic_uint waiters;     /* threads that wait for the lock and need it for little: ax_connection_lock_yielding() */
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
    ax_wire_state *wire;        /* borrowed: where to tell others of the stream's state; NULL: nobody asks */
    struct ax_reader reader;    /* it says what guards it */

    pthread_mutex_t order_lock; /* a leaf but for the executor's and the object table's; guards the next three */
    struct ax_ticket tickets;   /* head of the ring, oldest next */
    struct ax_object *doomed;   /* to be dropped by the service */
    bool drop_submitted;

    _Atomic(struct ax_release *) releases; /* a stack, pushed by any thread without a lock */
    struct ax_objects objects;             /* has its own lock */

    struct ax_task attend; /* what the loop does for us when it is asked to */
    struct ax_job drop_job;
    struct ax_job finish_job;
    struct ax_member member; /* of the engine */
};

/* ---- references ---- */

static inline void ax_connection_ref(struct ax_connection *connection)
{
    atomic_fetch_add(&connection->references, 1);
}

static inline void ax_connection_unref(struct ax_connection *connection)
{
    if (atomic_fetch_sub(&connection->references, 1) == 1)
        connection->destroy(connection);
}

/*
 * Whether this process was forked from the connection's: then its locks may be held by nobody, and nothing is done with
 * it.
 */
static inline bool ax_connection_is_past(const struct ax_connection *connection)
{
    return ax_engine_is_past(connection->engine);
}

/* ---- the lock ---- */

/*
 * Takes connection->lock, for little: a message, a look. Never while holding the GIL, whose holders may wait for it in
 * Python's own time; and never to wait for anything while it is held.
 */
void ax_connection_lock(struct ax_connection *connection);

/*
 * The same for bulk I/O, which takes the lock again and again: yields to short critical sections first, so that it does
 * not starve callers, as a mutex would let it.
 */
void ax_connection_lock_yielding(struct ax_connection *connection);

/* Gives it back, however it was taken. */
void ax_connection_unlock(struct ax_connection *connection);

#ifndef NDEBUG
/*
 * Has every attempt to take the lock fail an assertion in threads where this is true. Once, before there are
 * connections.
 */
void ax_connection_forbid_lock(bool (*is_held)(void));
#endif

/* ---- phases; waits are without the GIL, and not in the loop's thread ---- */

/* Blocks until the phase is at least this one: 0, or -EINTR after a signal handler may have run in this thread. */
int ax_connection_wait(struct ax_connection *connection, enum ax_phase phase);

enum ax_phase ax_connection_phase(struct ax_connection *connection);

void ax_connection_set_phase_locked(struct ax_connection *connection, enum ax_phase phase);

/* Moves the phase on to where the session is. At its end, calls without a result are done. */
void ax_connection_follow_session_locked(struct ax_connection *connection);

/* Blocks until the watchers are woken: 0 or -EINTR. Called and left with the lock; gives it back in between. */
int ax_connection_watch_locked(struct ax_connection *connection);

/* Wakes whoever waits for a phase, or for room to send. */
void ax_connection_wake_watchers_locked(struct ax_connection *connection);

/* ---- others that serve it ---- */

/* Asks the loop to attend to the connection (reader.h). Any thread, no lock. */
void ax_connection_post(struct ax_connection *connection);

/* Puts the connection on the engine's list, once; ax_engine_remove() takes it off when it has finished. */
void ax_connection_register_locked(struct ax_connection *connection);

/*
 * At the end of a job of the connection, which may run after its end: its thread may have kept something for it, once
 * more.
 */
void ax_connection_disown_if_finished(struct ax_connection *connection);

#endif
