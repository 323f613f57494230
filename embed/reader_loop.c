/* SPDX-License-Identifier: MIT */
/* The loop's part of the reader: what the stream is polled for, and when. */
#include "embed/reader.h"

#include <assert.h>

#include "embed/connection_writer.h"
#include "embed/reader_private.h"

/* Reads from one connection per wake-up, so that others get their turn. */
#define READS_PER_WAKEUP 16

static void update(struct ax_connection *connection);

/* ---- the guard: leases that were given away, and calls that wait behind others ---- */

static void on_guard(uv_timer_t *timer)
{
    struct ax_engine *engine = timer->data;
    struct ax_connection **link = &engine->guard.first;
    uint64_t now = ax_loop_now();

    while (*link != NULL) {
        struct ax_connection *connection = *link;
        ax_connection_lock(connection);
        bool stays = ax_reader_look_locked(connection, now);
        bool wanted = connection->reader.wanted;
        ax_connection_unlock(connection);
        if (stays) {
            link = &connection->reader.guard_next;
            continue;
        }
        *link = connection->reader.guard_next;
        connection->reader.guarded = false;
        if (wanted) {
            ax_connection_ref(connection);
            update(connection);
            ax_connection_unref(connection);
        }
    }
    bool calls_wait = ax_executor_spread(&engine->executor);
    if (engine->guard.first == NULL && !calls_wait)
        uv_timer_stop(timer);
}

static_assert(AX_LEASE_FREE_MS == AX_EXECUTOR_BEHIND_MS, "one guard looks after both");

static void start_guard(struct ax_engine *engine)
{
    struct ax_guard *guard = &engine->guard;

    if (!guard->has_timer)
        uv_timer_init(&engine->loop.uv, &guard->timer);
    guard->has_timer = true;
    guard->timer.data = engine;
    if (!uv_is_active((uv_handle_t *)&guard->timer))
        uv_timer_start(&guard->timer, on_guard, AX_LEASE_FREE_MS, AX_LEASE_FREE_MS);
}

static void guard_lease(struct ax_connection *connection)
{
    struct ax_guard *guard = &connection->engine->guard;

    if (!connection->reader.guarded) {
        connection->reader.guarded = true;
        connection->reader.guard_next = guard->first;
        guard->first = connection;
    }
    start_guard(connection->engine);
}

/* The connection no longer uses the loop: removes it from the guard. */
static void forget_lease(struct ax_connection *connection)
{
    struct ax_connection **link = &connection->engine->guard.first;

    if (!connection->reader.guarded)
        return;
    while (*link != connection)
        link = &(*link)->reader.guard_next;
    *link = connection->reader.guard_next;
    connection->reader.guarded = false;
}

/* ---- reading ---- */

/*
 * Whether the lease can be offered: a single call or result has arrived and nothing else is in progress, so the thread
 * that gets it will wait for the next message, and can read that itself.
 */
static bool can_offer_locked(const struct ax_connection *connection, const struct ax_arrivals *arrivals)
{
    const struct ax_session *session = &connection->session;

    if (session->state != AX_STATE_READY || connection->writes_blocked || ax_reader_is_paused_locked(connection))
        return false;
    /* The thread that is being woken still counts as waiting. */
    unsigned others = connection->reader.waiting - (arrivals->handed == 1 && connection->reader.waiting > 0);
    return arrivals->jobs.count + arrivals->handed == 1 && others == 0 && session->calls_in_progress <= 1;
}

/* Like ax_reader_deliver(), for the loop: a burst of short calls should not start a burst of threads. */
static void deliver_behind(struct ax_connection *connection, struct ax_arrivals *arrivals)
{
    struct ax_engine *engine = connection->engine;
    struct ax_job *job;

    while ((job = ax_job_pop(&arrivals->jobs)) != NULL)
        if (ax_executor_submit_behind(&engine->executor, job))
            start_guard(engine);
    ax_reader_settle_buffer(connection, arrivals);
}

/* Reads once, and may offer the lease, before any thread that got a message can look for the next one. */
static bool read_once(struct ax_connection *connection, bool is_first)
{
    struct ax_loop *loop = &connection->engine->loop;
    struct ax_arrivals arrivals = {0};

    ax_connection_lock_yielding(connection);
    bool more = ax_reader_read_locked(connection, loop->scratch, sizeof loop->scratch, &arrivals);
    bool offered =
        is_first && !more && connection->reader.state == AX_LEASE_LOOP && can_offer_locked(connection, &arrivals);
    if (offered)
        ax_reader_offer_locked(connection);
    ax_connection_unlock(connection);
    if (offered) {
        guard_lease(connection);
        uv_poll_stop(&connection->reader.poll_in);
        connection->reader.polled = 0;
    }
    deliver_behind(connection, &arrivals);
    return more;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ax_connection *connection = poll->data;

    /* Errors are left to reading or writing, which report them. libuv has stopped the handle then. */
    bool readable = status < 0 || (events & UV_READABLE) != 0;
    if (status < 0)
        connection->reader.polled = 0;
    ax_connection_ref(connection);
    if (poll == &connection->reader.poll_in && readable)
        for (int i = 0; i < READS_PER_WAKEUP && read_once(connection, i == 0); i++)
            ;
    update(connection);
    ax_connection_unref(connection);
}

/* ---- time ---- */

/*
 * This process may have been stopped, or without a processor: do not blame the peer for input that is waiting, or for
 * output that had no room when it was last written. The holder of the lease also polls for bytes that are read here.
 */
static void catch_up_locked(struct ax_connection *connection, struct ax_arrivals *arrivals)
{
    struct ax_loop *loop = &connection->engine->loop;

    connection->reader.paused = false;
    for (int i = 0; i < READS_PER_WAKEUP; i++)
        if (!ax_reader_read_locked(connection, loop->scratch, sizeof loop->scratch, arrivals))
            break;
    if (connection->writes_blocked)
        ax_connection_write_locked(connection);
    ax_reader_wake_holder_locked(connection);
}

static void on_timer(uv_timer_t *timer)
{
    struct ax_connection *connection = timer->data;
    struct ax_event event;
    struct ax_arrivals arrivals = {0};

    connection->reader.timer_due = AX_NEVER;
    ax_connection_ref(connection);
    ax_connection_lock(connection);
    if (connection->reader.paused && ax_loop_now() >= connection->reader.paused_until)
        connection->reader.paused = false;
    if (!connection->reader.copying) { /* otherwise the input cannot be read yet, which is not the peer's fault */
        if (ax_loop_now() >= ax_session_deadline(&connection->session))
            catch_up_locked(connection, &arrivals);
        ax_session_expire(&connection->session, ax_loop_now(), &event);
        connection->on_event(connection, &event, &arrivals);
        ax_connection_settle_locked(connection);
    }
    ax_connection_unlock(connection);
    ax_reader_deliver(connection, &arrivals);
    update(connection);
    ax_connection_unref(connection);
}

/* Deadlines move later with every message: the timer is restarted when it fires, or when it would fire too late. */
static void set_timer(struct ax_connection *connection, uint64_t due)
{
    if (due >= connection->reader.timer_due)
        return;
    uint64_t now = ax_loop_now();
    connection->reader.timer_due = due;
    uv_update_time(connection->reader.timer.loop);
    uv_timer_start(&connection->reader.timer, on_timer, due > now ? due - now : 0, 0);
}

/* ---- handles ---- */

static void finish(struct ax_connection *connection)
{
    ax_executor_submit_ending(&connection->engine->executor, &connection->finish_job);
}

/* Shuts the socket down: forked processes, and the supervisor of a worker, have copies of its descriptor. */
static void hang_up(struct ax_connection *connection)
{
    ax_connection_lock(connection);
    ax_stream_hang_up(&connection->stream);
    ax_stream_close(&connection->stream);
    ax_session_drop_output(&connection->session);
    ax_reader_close_waker_locked(connection);
    ax_connection_unlock(connection);
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_connection *connection = handle->data;

    if (--connection->reader.handles > 0)
        return;
    hang_up(connection);
    finish(connection);
}

static void detach(struct ax_connection *connection)
{
    struct ax_reader *reader = &connection->reader;

    reader->detaching = true;
    forget_lease(connection);
    if (reader->handles == 0) {
        hang_up(connection);
        finish(connection);
        return;
    }
    uv_close((uv_handle_t *)&reader->timer, on_closed);
    uv_close((uv_handle_t *)&reader->poll_in, on_closed);
    if (reader->handles > 2)
        uv_close((uv_handle_t *)&reader->poll_out, on_closed);
}

static bool two_pipes(const struct ax_connection *connection)
{
    return connection->stream.in_fd != connection->stream.out_fd;
}

/* Adds the stream to the loop. 0 or a negative errno. */
static int attach(struct ax_connection *connection)
{
    struct ax_reader *reader = &connection->reader;
    uv_loop_t *uv = &connection->engine->loop.uv;

    reader->attached = true;
    reader->timer.data = reader->poll_in.data = reader->poll_out.data = connection;
    int error = uv_poll_init(uv, &reader->poll_in, connection->stream.in_fd);
    if (error != 0)
        return error;
    uv_timer_init(uv, &reader->timer);
    reader->handles = 2;
    if (!two_pipes(connection))
        return 0;
    error = uv_poll_init(uv, &reader->poll_out, connection->stream.out_fd);
    if (error == 0)
        reader->handles = 3;
    return error;
}

/* ---- interest ---- */

/* What the connection waits for on its stream; 0: it has ended. */
static unsigned interest_locked(const struct ax_connection *connection)
{
    const struct ax_session *session = &connection->session;
    unsigned interest = ax_session_wants_read(session) ? AX_INTEREST_READ : 0;

    /* Output that is not blocked has been written; after a write error the stream takes nothing more. */
    if (connection->writes_blocked && ax_session_wants_write(session))
        interest |= AX_INTEREST_WRITE;
    return interest;
}

/* The part of the interest that the loop polls for: another thread may read, or reading be paused. */
static unsigned loop_interest_locked(struct ax_connection *connection, unsigned interest)
{
    if (!ax_reader_reclaim_locked(connection) || ax_reader_is_paused_locked(connection))
        interest &= ~AX_INTEREST_READ;
    return interest;
}

static void set_poll(uv_poll_t *poll, unsigned interest)
{
    int events = ((interest & AX_INTEREST_READ) != 0 ? UV_READABLE : 0) |
                 ((interest & AX_INTEREST_WRITE) != 0 ? UV_WRITABLE : 0);

    if (events != 0)
        uv_poll_start(poll, events, on_poll);
    else
        uv_poll_stop(poll);
}

static void poll_for(struct ax_connection *connection, unsigned interest)
{
    struct ax_reader *reader = &connection->reader;

    if (interest == reader->polled)
        return; /* saves system calls */
    reader->polled = interest;
    set_poll(&reader->poll_in, two_pipes(connection) ? interest & AX_INTEREST_READ : interest);
    if (two_pipes(connection))
        set_poll(&reader->poll_out, interest & AX_INTEREST_WRITE);
}

/* When the timer must check the connection. */
static uint64_t next_look_locked(const struct ax_connection *connection)
{
    const struct ax_reader *reader = &connection->reader;
    uint64_t due = ax_session_deadline(&connection->session);

    if (reader->paused && reader->paused_until < due)
        due = reader->paused_until;
    if (reader->copying && due < ax_loop_now() + 1) /* not again before the copy has progressed */
        due = ax_loop_now() + 1;
    return due;
}

/* ---- attending ---- */

static void attach_locked(struct ax_connection *connection)
{
    int error = attach(connection);

    if (error == 0)
        return;
    connection->io_error = -error;
    connection->end = AX_END_FAILED;
    ax_session_fail(&connection->session, AX_EPROTOCOL, uv_strerror(error));
}

/* Updates poll, timer and phase from the session. On the loop, without the lock. */
static void update(struct ax_connection *connection)
{
    if (connection->reader.detaching)
        return;
    ax_connection_lock_yielding(connection);
    if (!connection->reader.attached && connection->stream.in_fd >= 0)
        attach_locked(connection);
    connection->handled_state = connection->session.state;
    if (connection->writes_blocked)
        ax_connection_write_locked(connection);
    ax_connection_settle_locked(connection);
    unsigned interest = interest_locked(connection);
    if (interest == 0)
        ax_connection_register_locked(connection); /* it may end before it has started */
    unsigned polled = loop_interest_locked(connection, interest);
    uint64_t due = next_look_locked(connection);
    ax_connection_unlock(connection);
    if (interest == 0) {
        detach(connection);
    } else if (connection->reader.attached) {
        poll_for(connection, polled);
        set_timer(connection, due);
    }
}

static void run_update(struct ax_task *task)
{
    struct ax_connection *connection = (struct ax_connection *)((char *)task - offsetof(struct ax_connection, update));

    update(connection);
    ax_connection_unref(connection);
}

/* ---- life ---- */

void ax_reader_init(struct ax_connection *connection)
{
    connection->reader.wake_fd = -1;
    connection->reader.timer_due = AX_NEVER;
    connection->reader.buffer_job.run = ax_reader_run_buffer;
    ax_task_init(&connection->update, run_update);
}

void ax_reader_set_spin(struct ax_connection *connection, uint32_t spin_us)
{
    connection->reader.spin_us = spin_us;
}

void ax_reader_fini(struct ax_connection *connection)
{
    ax_reader_close_waker_locked(connection);
}
