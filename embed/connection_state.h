/* SPDX-License-Identifier: MIT */
/*
 * The state that the parts of a connection share: lock, references, phase, and the threads that wait for a phase.
 *
 * A connection is a session of protocol/, the stream it runs over, and the threads that wait for it. Its parts, each of
 * which uses only those below it:
 *
 *   connection.h           lifecycle: creation, start, close, failure
 *   connection_calls.h     our calls and the peer's requests, by id
 *   reader.h               who reads, and into what memory
 *   connection_writer.h    writing, and what follows from a change of the session
 *   connection_releases.h  the order in which objects are released
 *   connection_state.h     this
 *
 * Two pointers, which ax_connection_new() sets, let a lower part call a higher one: on_event and destroy.
 *
 * Threads. `lock` guards all fields, except where another guard is named. It is held for short, non-blocking work only,
 * never while waiting and never while taking the GIL. Locks that may be taken while it is held: order_lock, and those
 * of the executor, the engine and the object table. "_locked": the caller holds it.
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

/* Phases only advance. */
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
    AX_END_REMOTE,    /* the peer sent GOODBYE; its reason, if any, is ax_session_reason() */
    AX_END_CANCELLED, /* ax_connection_cancel() */
    AX_END_FAILED,    /* session.error and io_error tell more */
};

/* A message's position in the order of those that are still to be unpickled; connection_releases.h. */
struct ax_ticket {
    struct ax_ticket *prev;
    struct ax_ticket *next;
    struct ax_object *doomed; /* released by the peer after this message, and before the next that has a ticket */
};

/* A released object of the peer. From malloc(). */
struct ax_release {
    uint64_t id;
    struct ax_release *next;
};

/*
 * A call of ours, on the stack of the thread that waits for it; connection_calls.h. Requests that the peer makes while
 * it serves the call run in this thread, so that thread-locals and re-entrant locks work as in a single program. The
 * waiter is posted once for each of them, and once when the call is done.
 */
struct ax_pending {
    struct ax_waiter waiter;
    uint64_t id;
    struct ax_job_queue requests; /* the peer's, made within this call; connection->lock */
    bool done;                    /* there is a message, or none will come; connection->lock */
    struct ax_message *message;   /* the RESULT, owned by the waiting thread; NULL: the connection ended without one */
    struct ax_ticket ticket;      /* held when there is a message */
};

/* Callbacks of the layer above. All but `freed` run in threads of the executor, without any lock. */
struct ax_connection_ops {
    /* Runs a request: calls ax_request_unpickled() once, answers it once, and frees it. */
    void (*serve)(struct ax_request *request);
    /* Drops the values of these objects, and frees the list. */
    void (*drop)(struct ax_connection *connection, struct ax_object *doomed);
    /*
     * The descriptors are closed and no message will come. Called once; afterwards the object table is cleared through
     * `drop`.
     */
    void (*finished)(struct ax_connection *connection);
    /*
     * Allocates the receive buffer of a large body that becomes an object, of buffer_request->size bytes; false on
     * failure. NULL: not supported.
     */
    bool (*allocate)(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                     struct ax_buffer *buffer);
    /*
     * Called after a successful allocate(): the bytes received before have been copied into the buffer, or it was not
     * used.
     */
    void (*copied)(void *owner);
    /* The last reference was dropped. In any thread, perhaps under a lock of its caller: must only free `above`. */
    void (*freed)(void *above);
};

/* Results of feeding received bytes, to be handled after the connection's lock has been released. */
struct ax_arrivals {
    struct ax_job_queue jobs; /* requests, for the executor */
    unsigned handed;          /* number of results, and requests within calls, that went to waiting threads */
    bool needs_buffer;        /* the reader must provide a receive buffer for `buffer_request` */
    struct ax_buffer_request buffer_request;
};

/* Who reads from a connection; reader.h. */
enum ax_lease_state { AX_LEASE_LOOP, AX_LEASE_FREE, AX_LEASE_TAKEN };

/* The reader's part of a connection; reader.h. */
struct ax_reader {
    /* connection->lock: who reads */
    enum ax_lease_state state;
    uint64_t since;   /* ms: when it became FREE or TAKEN */
    bool wanted;      /* the loop wants the lease back */
    bool parked;      /* TAKEN for long: the guard no longer checks it */
    int wake_fd;      /* eventfd that wakes the holder; -1 until one is needed */
    unsigned waiting; /* threads that wait for a result or a request, and do not read */

    /* The holder of the lease: how long it polls before it sleeps */
    uint32_t spin_us;            /* at most; set before the start */
    struct ax_spin spin_result;  /* in a wait for a result */
    struct ax_spin spin_request; /* in one for the next request */

    /* connection->lock: into what memory */
    struct ax_job buffer_job; /* makes the receive buffer for `buffer_request` */
    struct ax_buffer_request buffer_request;
    bool buffer_submitted;
    bool paused; /* reading is suspended until the job has provided the buffer, or until paused_until (ms) */
    uint64_t paused_until;
    bool copying; /* reading is suspended: the beginning of a body is being copied into its buffer, without the lock */

    /* The loop's thread only. */
    bool guarded;
    struct ax_connection *guard_next;
    bool attached;      /* handles are initialised */
    bool detaching;     /* handles are being closed */
    unsigned handles;   /* how many are open */
    unsigned polled;    /* the interest that is polled for: AX_INTEREST_… */
    uv_poll_t poll_in;  /* reads; for a socket, writes too */
    uv_poll_t poll_out; /* writes, for pipes */
    uv_timer_t timer;
    uint64_t timer_due; /* when the timer expires; AX_NEVER: not set */
};

struct ax_connection {
    atomic_uint references;
    uint64_t number;                     /* unique in the process, also over time; not 0 */
    struct ax_engine *engine;            /* borrowed for the life of the process */
    const struct ax_connection_ops *ops; /* static storage */
    void *above;                         /* owned by the layer above, which defines what guards it */
    /* Handles an event of the session; with the lock. */
    void (*on_event)(struct ax_connection *connection, struct ax_event *event, struct ax_arrivals *arrivals);
    void (*destroy)(struct ax_connection *connection); /* the last reference was dropped */

    pthread_mutex_t lock;
    atomic_uint waiters;     /* threads that wait for the lock for short work: ax_connection_lock_yielding() */
    atomic_int phase;        /* enum ax_phase; written under the lock, readable without it */
    atomic_bool was_running; /* the handshake has succeeded */
    enum ax_end end;
    bool close_called;   /* ax_connection_close() was called, whatever else happened */
    int io_error;        /* errno of the stream behind AX_END_FAILED, or 0 */
    char *end_reason;    /* owned: why the stream is about to end; ax_connection_fail_at_end(); or NULL */
    bool ended_for_it;   /* the stream has ended, and end_reason is the reason of AX_END_FAILED */
    int write_error;     /* errno of the first write that failed, or 0: input may still come */
    bool registered;     /* with the engine: since it started, or ended without a start */
    bool writes_blocked; /* the stream was full: the loop waits until it is writable, and writes */
    enum ax_session_state handled_state; /* the state that the loop has last handled */
    struct ax_session session;
    struct ax_stream stream;
    struct ax_waiter *watchers; /* threads that wait for a phase, or for room in the output queue */
    ax_wire_state *wire;        /* borrowed: where the stream's state is published; NULL: nowhere */
    struct ax_reader reader;    /* see its fields for what guards them */

    pthread_mutex_t order_lock; /* guards the next three; under it, only the locks of the executor and the object table
                                   may be taken */
    struct ax_ticket tickets;   /* head of the ring, oldest next */
    struct ax_object *doomed;   /* to be dropped in a service */
    bool drop_submitted;

    _Atomic(struct ax_release *) releases; /* a stack, pushed by any thread without a lock */
    struct ax_objects objects;             /* has its own lock */

    struct ax_task update; /* makes the loop handle a change of the session */
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
 * Whether this process was forked from the connection's. Then no thread may hold its locks any more, and it must not be
 * used.
 */
static inline bool ax_connection_is_past(const struct ax_connection *connection)
{
    return ax_engine_is_past(connection->engine);
}

/* ---- the lock ---- */

/*
 * Takes connection->lock for short work. Never while holding the GIL, whose holders may run Python code for any time,
 * and never to wait for anything while it is held.
 */
void ax_connection_lock(struct ax_connection *connection);

/*
 * The same for bulk I/O, which takes the lock again and again: yields to short critical sections first, so that it does
 * not starve callers, as a mutex would allow.
 */
void ax_connection_lock_yielding(struct ax_connection *connection);

/* Releases the lock, whichever way it was taken. */
void ax_connection_unlock(struct ax_connection *connection);

#ifndef NDEBUG
/*
 * Makes attempts to take the lock fail an assertion in threads for which `is_held` returns true. Once, before there are
 * connections.
 */
void ax_connection_forbid_lock(bool (*is_held)(void));
#endif

/* ---- phases; waits are without the GIL, and not in the loop's thread ---- */

/* Blocks until the phase is at least this one: 0, or -EINTR after a signal handler may have run in this thread. */
int ax_connection_wait(struct ax_connection *connection, enum ax_phase phase);

enum ax_phase ax_connection_phase(struct ax_connection *connection);

void ax_connection_set_phase_locked(struct ax_connection *connection, enum ax_phase phase);

/* Advances the phase to that of the session. At its end, calls without a result are completed. */
void ax_connection_follow_session_locked(struct ax_connection *connection);

/* Blocks until the watchers are woken: 0 or -EINTR. Called and returns with the lock; releases it in between. */
int ax_connection_watch_locked(struct ax_connection *connection);

/* Wakes the threads that wait for a phase, or for room in the output queue. */
void ax_connection_wake_watchers_locked(struct ax_connection *connection);

/* ---- others that serve it ---- */

/* Makes the loop handle a change of the connection (reader.h). Any thread, no lock. */
void ax_connection_post(struct ax_connection *connection);

/* Puts the connection on the engine's list, once; ax_engine_remove() takes it off when it has finished. */
void ax_connection_register_locked(struct ax_connection *connection);

/*
 * To be called at the end of a job of the connection, which may run after its end: its thread may have kept
 * thread-local data of the connection once more.
 */
void ax_connection_disown_if_finished(struct ax_connection *connection);

#endif
