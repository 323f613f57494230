/* SPDX-License-Identifier: MIT */
/* The loop's side of a connection: where the bytes come in, and where they become messages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "embed/connection.h"
#include "embed/connection_state.h"
#include "embed/engine.h"
#include "embed/reader_buffer.h"

/* Bytes that one read puts into a large body: what a socket buffer holds, so that the lock is not kept for longer. */
#define BODY_READ_MAX (256u * 1024u)
/* Bytes read along with those of a body: what begins the next chunk of it, or a small message. More of them would be copied. */
#define BEHIND_BODY 256
/* Reads from one connection before others get their turn. */
#define READS_PER_WAKEUP 16

/* ---- events ---- */

static void on_call(struct ax_connection *connection, struct ax_message *message, struct ax_arrivals *arrivals)
{
    struct ax_request *request = ax_request_new(connection, message);
    if (request == NULL) {
        ax_message_free(message);
        ax_session_fail(&connection->session, AX_ENOMEM, "Out of memory for a call");
        return;
    }
    ax_ticket_take(connection, &request->ticket);
    struct ax_pending *outer =
        message->within > 0 ? ax_session_waiter(&connection->session, message->within - 1) : NULL;
    if (outer != NULL) {
        ax_request_push(&outer->requests, request);
        arrivals->handed++;
        ax_waiter_post(&outer->waiter);
    } else { /* nobody waits for the call that it is made within, or it is made within none */
        ax_request_push(&arrivals->queue, request);
        arrivals->requests++;
    }
}

static void on_result(struct ax_connection *connection, struct ax_pending *pending, struct ax_message *message,
                      struct ax_arrivals *arrivals)
{
    arrivals->handed++;
    pending->message = message;
    pending->done = true;
    ax_ticket_take(connection, &pending->ticket);
    ax_waiter_post(&pending->waiter);
}

static void on_release(struct ax_connection *connection, struct ax_message *message)
{
    struct ax_object *doomed = NULL;
    struct ax_ids ids = message->ids;
    uint64_t id;
    while (ax_ids_next(&ids, &id)) {
        if (ax_objects_doom(&connection->objects, id, &doomed) == 0)
            continue;
        char reason[64];
        snprintf(reason, sizeof reason, "Object not found: %" PRIu64, id);
        ax_session_fail(&connection->session, AX_EPROTOCOL, reason);
        break;
    }
    ax_message_free(message);
    /* Messages that came before may mention these objects, and be waiting to be unpickled. */
    ax_connection_drop_in_order(connection, doomed);
}

void ax_connection_event_locked(struct ax_connection *connection, struct ax_event *event, struct ax_arrivals *arrivals)
{
    switch (event->type) {
    case AX_EVENT_CALL:
        on_call(connection, event->message, arrivals);
        break;
    case AX_EVENT_RESULT:
        on_result(connection, event->waiter, event->message, arrivals);
        break;
    case AX_EVENT_RELEASE:
        on_release(connection, event->message);
        break;
    case AX_EVENT_CLOSED:
        ax_message_free(event->message);
        break;
    case AX_EVENT_NONE:
    case AX_EVENT_READY:
    case AX_EVENT_FAILED:
        break; /* the state says it: ax_connection_settle_locked() */
    }
}

void ax_connection_feed_locked(struct ax_connection *connection, const unsigned char *data, size_t size,
                               struct ax_arrivals *arrivals)
{
    uint64_t now = ax_loop_now();
    while (size > 0) {
        struct ax_event event;
        size_t used = ax_session_feed(&connection->session, data, size, now, &event);
        ax_connection_event_locked(connection, &event, arrivals);
        data += used;
        size -= used;
    }
}

void ax_connection_submit(struct ax_connection *connection, struct ax_request_queue *queue)
{
    struct ax_request *request;
    while ((request = ax_request_pop(queue)) != NULL)
        ax_executor_submit(&connection->engine->executor, &request->job);
}

/* ---- reading ---- */

/* The stream has ended, and somebody has said why it would. */
static void fail_for_end_reason(struct ax_connection *connection)
{
    connection->ended_for_it = true;
    connection->end = AX_END_FAILED;
    ax_session_fail(&connection->session, AX_EEOF, connection->end_reason);
}

/* Acts on what a read returned: bytes, the end of the stream or an error. */
static void take_in_locked(struct ax_connection *connection, ssize_t got, size_t space, const unsigned char *scratch,
                           struct ax_arrivals *arrivals)
{
    struct ax_event event = {.type = AX_EVENT_NONE};
    if (got <= 0 && connection->end_reason != NULL) {
        fail_for_end_reason(connection);
    } else if (got < 0 && connection->session.state != AX_STATE_CLOSING) {
        connection->io_error = (int)-got;
        if (connection->end == AX_END_NONE)
            connection->end = AX_END_FAILED;
        ax_session_fail(&connection->session, AX_EEOF, strerror((int)-got));
    } else if (got <= 0) { /* while closing, a reset is as good as an end */
        ax_session_feed_eof(&connection->session, &event);
        ax_connection_event_locked(connection, &event, arrivals);
    } else {
        size_t filled = (size_t)got < space ? (size_t)got : space;
        if (filled > 0) {
            ax_session_filled(&connection->session, filled, ax_loop_now(), &event);
            ax_connection_event_locked(connection, &event, arrivals);
        }
        ax_connection_feed_locked(connection, scratch, (size_t)got - filled, arrivals);
    }
}

/* One read. Returns whether there may be more to read now. */
static bool read_locked(struct ax_connection *connection, unsigned char *scratch, size_t size,
                        struct ax_arrivals *arrivals)
{
    void *memory;
    if (connection->stream.in_fd < 0 || !ax_session_wants_read(&connection->session) ||
        ax_connection_is_held(connection))
        return false;
    size_t space = ax_session_space(&connection->session, &memory);
    if (space > BODY_READ_MAX)
        space = BODY_READ_MAX;
    if (space > 0 && size > BEHIND_BODY)
        size = BEHIND_BODY;
    struct iovec to[2] = {{memory, space}, {scratch, size}};
    ssize_t got =
        space > 0 ? ax_stream_read(&connection->stream, to, 2) : ax_stream_read(&connection->stream, to + 1, 1);
    if (got != -EAGAIN)
        take_in_locked(connection, got, space, scratch, arrivals);
    if (ax_placement_look_locked(connection, &arrivals->wish))
        arrivals->moves = true;
    ax_connection_settle_locked(connection);
    return got > 0 && (size_t)got >= space + size / 2 && ax_connection_phase(connection) < AX_PHASE_STOPPING;
}

void ax_connection_read(struct ax_connection *connection, unsigned char *scratch, size_t size,
                        struct ax_arrivals *arrivals)
{
    ax_connection_lock_last(connection);
    read_locked(connection, scratch, size, arrivals);
    ax_connection_unlock(connection);
    if (arrivals->moves)
        ax_placement_move(connection, &arrivals->wish);
}

/* ---- leaving the reading to others ---- */

/*
 * One call came, or one result, and nothing else is going on: whoever takes it will wait for the next message, and may
 * read that without us.
 */
static bool is_turn_of_others(const struct ax_connection *connection, const struct ax_arrivals *arrivals)
{
    const struct ax_session *session = &connection->session;
    if (session->state != AX_STATE_READY || connection->writes_blocked || ax_connection_is_held(connection))
        return false;
    /* The one that is woken counts as waiting still. */
    unsigned others = connection->waiting - (arrivals->handed == 1 && connection->waiting > 0);
    return arrivals->requests + arrivals->handed == 1 && others == 0 && session->calls_in_progress <= 1;
}

static void attend(struct ax_connection *connection);

/* Like ax_connection_submit(), for the loop: a burst of short calls needs no burst of threads. */
static void submit_behind(struct ax_connection *connection, struct ax_request_queue *queue)
{
    struct ax_engine *engine = connection->engine;
    struct ax_request *request;
    while ((request = ax_request_pop(queue)) != NULL)
        if (ax_executor_submit_behind(&engine->executor, &request->job))
            ax_lease_guard(&engine->loop);
}

/* One read by the loop, which may leave the next one to others: before anybody who got something can look for it. */
static bool read_once(struct ax_connection *connection, bool is_first)
{
    struct ax_loop *loop = &connection->engine->loop;
    struct ax_arrivals arrivals = {0};
    ax_connection_lock_last(connection);
    bool more = read_locked(connection, loop->scratch, sizeof loop->scratch, &arrivals);
    bool offered =
        is_first && !more && connection->lease.state == AX_LEASE_LOOP && is_turn_of_others(connection, &arrivals);
    if (offered)
        ax_lease_offer_locked(connection);
    ax_connection_unlock(connection);
    if (offered) {
        uv_poll_stop(&connection->poll_in);
        connection->watched = 0;
    }
    submit_behind(connection, &arrivals.queue);
    if (arrivals.moves)
        ax_placement_move(connection, &arrivals.wish);
    return more;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ax_connection *connection = poll->data;
    /* An error is no news by itself: reading or writing tells what it is. libuv has stopped the handle then. */
    bool readable = status < 0 || (events & UV_READABLE) != 0;
    if (status < 0)
        connection->watched = 0;
    ax_connection_ref(connection);
    if (poll == &connection->poll_in && readable)
        for (int i = 0; i < READS_PER_WAKEUP && read_once(connection, i == 0); i++)
            ;
    attend(connection);
    ax_connection_unref(connection);
}

/* ---- time ---- */

static void set_timer(struct ax_connection *connection, uint64_t due);

/*
 * This process may have been stopped, or without a processor: a peer is not to blame for what waits here to be read, or
 * had no room when it was last written. A holder of the lease polls for bytes that are taken from it here.
 */
static void catch_up_locked(struct ax_connection *connection, struct ax_arrivals *arrivals)
{
    struct ax_loop *loop = &connection->engine->loop;
    connection->held = false;
    for (int i = 0; i < READS_PER_WAKEUP; i++)
        if (!read_locked(connection, loop->scratch, sizeof loop->scratch, arrivals))
            break;
    if (connection->writes_blocked)
        ax_connection_write_locked(connection);
    if (connection->lease.state == AX_LEASE_TAKEN)
        eventfd_write(connection->lease.wake_fd, 1);
}

static void on_timer(uv_timer_t *timer)
{
    struct ax_connection *connection = timer->data;
    struct ax_event event;
    struct ax_arrivals arrivals = {0};
    connection->timer_due = AX_NEVER;
    ax_connection_ref(connection);
    ax_connection_lock(connection);
    if (connection->held && ax_loop_now() >= connection->held_until)
        connection->held = false;
    if (!connection->moving) { /* else what has come cannot be read yet, and the peer is not to blame */
        if (ax_loop_now() >= ax_session_deadline(&connection->session))
            catch_up_locked(connection, &arrivals);
        ax_session_expire(&connection->session, ax_loop_now(), &event);
        ax_connection_event_locked(connection, &event, &arrivals);
        ax_connection_settle_locked(connection);
    }
    ax_connection_unlock(connection);
    ax_connection_submit(connection, &arrivals.queue);
    if (arrivals.moves)
        ax_placement_move(connection, &arrivals.wish);
    attend(connection);
    ax_connection_unref(connection);
}

/* Deadlines move later with every message; the timer follows when it fires, and is moved only when it would fire too late. */
static void set_timer(struct ax_connection *connection, uint64_t due)
{
    if (due >= connection->timer_due)
        return;
    uint64_t now = ax_loop_now();
    connection->timer_due = due;
    uv_update_time(connection->timer.loop);
    uv_timer_start(&connection->timer, on_timer, due > now ? due - now : 0, 0);
}

/* ---- handles ---- */

static void finish(struct ax_connection *connection)
{
    ax_executor_submit_ending(&connection->engine->executor, &connection->finish_job);
}

/* Processes that were forked meanwhile, and the supervisor of a worker, have copies of the socket. */
static void hang_up(struct ax_connection *connection)
{
    ax_connection_lock(connection);
    ax_stream_hang_up(&connection->stream);
    ax_stream_close(&connection->stream);
    ax_session_drop_output(&connection->session);
    ax_lease_end_locked(connection);
    ax_connection_unlock(connection);
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_connection *connection = handle->data;
    if (--connection->handles > 0)
        return;
    hang_up(connection);
    finish(connection);
}

static void detach(struct ax_connection *connection)
{
    connection->detaching = true;
    ax_lease_forget(connection);
    if (connection->handles == 0) {
        hang_up(connection);
        finish(connection);
        return;
    }
    uv_close((uv_handle_t *)&connection->timer, on_closed);
    uv_close((uv_handle_t *)&connection->poll_in, on_closed);
    if (connection->handles > 2)
        uv_close((uv_handle_t *)&connection->poll_out, on_closed);
}

static bool two_pipes(const struct ax_connection *connection)
{
    return connection->stream.in_fd != connection->stream.out_fd;
}

/* Puts the stream on the loop. 0 or a negative errno. */
static int attach(struct ax_connection *connection)
{
    uv_loop_t *uv = &connection->engine->loop.uv;
    connection->attached = true;
    connection->timer.data = connection->poll_in.data = connection->poll_out.data = connection;
    int error = uv_poll_init(uv, &connection->poll_in, connection->stream.in_fd);
    if (error != 0)
        return error;
    if (two_pipes(connection)) {
        error = uv_poll_init(uv, &connection->poll_out, connection->stream.out_fd);
        if (error != 0) {
            uv_timer_init(uv, &connection->timer);
            connection->handles = 2;
            return error;
        }
    }
    uv_timer_init(uv, &connection->timer);
    connection->handles = two_pipes(connection) ? 3 : 2;
    return 0;
}

static void set_poll(uv_poll_t *poll, int events)
{
    if (events != 0)
        uv_poll_start(poll, events, on_poll);
    else
        uv_poll_stop(poll);
}

/* What poll() is to look for. `reading`: nobody else does. `writing`: bytes wait for room. */
static void watch(struct ax_connection *connection, bool reading, bool writing)
{
    int wanted = (reading ? UV_READABLE : 0) | (writing ? UV_WRITABLE : 0);
    if (wanted == connection->watched)
        return; /* saying it again would cost system calls */
    connection->watched = wanted;
    set_poll(&connection->poll_in, two_pipes(connection) ? wanted & UV_READABLE : wanted);
    if (two_pipes(connection))
        set_poll(&connection->poll_out, wanted & UV_WRITABLE);
}

/* When the timer is to look at the connection. With the lock. */
static uint64_t next_look(const struct ax_connection *connection)
{
    uint64_t due = ax_session_deadline(&connection->session);
    if (connection->held && connection->held_until < due)
        due = connection->held_until;
    if (connection->moving && due < ax_loop_now() + 1) /* not again before that has got on */
        due = ax_loop_now() + 1;
    return due;
}

/* Brings poll, timer and phase in line with the session. On the loop, without the lock. */
static void attend(struct ax_connection *connection)
{
    if (connection->detaching)
        return;
    ax_connection_lock_last(connection);
    if (!connection->attached && connection->stream.in_fd >= 0) {
        int error = attach(connection);
        if (error != 0) {
            connection->io_error = -error;
            connection->end = AX_END_FAILED;
            ax_session_fail(&connection->session, AX_EPROTOCOL, uv_strerror(error));
        }
    }
    connection->attended = connection->session.state;
    if (connection->writes_blocked)
        ax_connection_write_locked(connection);
    ax_connection_settle_locked(connection);
    bool wants_read = ax_session_wants_read(&connection->session);
    /* After a write error nothing is blocked: the stream takes nothing more. */
    bool writing = connection->writes_blocked && ax_session_wants_write(&connection->session);
    bool over = !wants_read && !writing;
    if (over)
        ax_connection_register_locked(connection); /* it may end before it began */
    bool reading = ax_lease_settle_locked(connection) && wants_read && !ax_connection_is_held(connection);
    uint64_t due = next_look(connection);
    ax_connection_unlock(connection);
    if (over) {
        detach(connection);
    } else if (connection->attached) {
        watch(connection, reading, writing);
        set_timer(connection, due);
    }
}

void ax_connection_attend_now(struct ax_connection *connection)
{
    ax_connection_ref(connection);
    attend(connection);
    ax_connection_unref(connection);
}

void ax_connection_attend(struct ax_task *task)
{
    struct ax_connection *connection = (struct ax_connection *)((char *)task - offsetof(struct ax_connection, attend));
    attend(connection);
    ax_connection_unref(connection);
}
