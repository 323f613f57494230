/* SPDX-License-Identifier: MIT */
/* The entry for all bytes of the peer, whichever thread has read them. */
#include "embed/reader.h"

#include <errno.h>
#include <string.h>

#include "embed/connection_writer.h"
#include "embed/reader_private.h"

/* Bytes read into a large body at once: what a socket buffer holds. Bounds the time for which the lock is held. */
#define BODY_READ_MAX (256u * 1024u)
/*
 * Bytes read in addition to those of a body: the beginning of its next chunk, or a small message. More would only be
 * copied.
 */
#define BEHIND_BODY 256

/* The result of a read. */
struct received {
    ssize_t size;       /* bytes; 0: the end of the stream; or a negative errno. -EAGAIN: nothing */
    size_t space;       /* at most this many of them are in the memory from ax_session_space() */
    const void *others; /* the rest */
};

static void feed_locked(struct ax_connection *connection, const unsigned char *data, size_t size,
                        struct ax_arrivals *arrivals)
{
    uint64_t now = ax_loop_now();

    while (size > 0) {
        struct ax_event event;
        size_t used = ax_session_feed(&connection->session, data, size, now, &event);
        connection->on_event(connection, &event, arrivals);
        data += used;
        size -= used;
    }
}

/* The stream has ended, for the reason that ax_connection_fail_at_end() gave. */
static void fail_for_end_reason(struct ax_connection *connection)
{
    connection->ended_for_it = true;
    connection->end = AX_END_FAILED;
    ax_session_fail(&connection->session, AX_EEOF, connection->end_reason);
}

static void take_end_locked(struct ax_connection *connection, ssize_t got, struct ax_arrivals *arrivals)
{
    struct ax_event event = {.type = AX_EVENT_NONE};

    if (connection->end_reason != NULL) {
        fail_for_end_reason(connection);
    } else if (got < 0 && connection->session.state != AX_STATE_CLOSING) {
        connection->io_error = (int)-got;
        if (connection->end == AX_END_NONE)
            connection->end = AX_END_FAILED;
        ax_session_fail(&connection->session, AX_EEOF, strerror((int)-got));
    } else { /* while closing, a reset counts as the end */
        ax_session_feed_eof(&connection->session, &event);
        connection->on_event(connection, &event, arrivals);
    }
}

static void take_bytes_locked(struct ax_connection *connection, const struct received *received,
                              struct ax_arrivals *arrivals)
{
    struct ax_event event = {.type = AX_EVENT_NONE};
    size_t size = (size_t)received->size;
    size_t filled = size < received->space ? size : received->space;

    if (filled > 0) {
        ax_session_filled(&connection->session, filled, ax_loop_now(), &event);
        connection->on_event(connection, &event, arrivals);
    }
    feed_locked(connection, received->others, size - filled, arrivals);
}

/* Handles received bytes, the end of the stream, and its errors. All of them pass through here. */
static void take_in_locked(struct ax_connection *connection, const struct received *received,
                           struct ax_arrivals *arrivals)
{
    if (received->size > 0)
        take_bytes_locked(connection, received, arrivals);
    else if (received->size != -EAGAIN)
        take_end_locked(connection, received->size, arrivals);
    if (ax_reader_request_buffer_locked(connection, &arrivals->buffer_request))
        arrivals->needs_buffer = true;
    ax_connection_settle_locked(connection);
}

void ax_reader_take_in_locked(struct ax_connection *connection, const void *received, size_t size,
                              struct ax_arrivals *arrivals)
{
    const struct received all = {.size = size > 0 ? (ssize_t)size : -EAGAIN, .others = received};

    take_in_locked(connection, &all, arrivals);
}

bool ax_reader_read_locked(struct ax_connection *connection, unsigned char *scratch, size_t size,
                           struct ax_arrivals *arrivals)
{
    void *memory;

    if (connection->stream.in_fd < 0 || !ax_session_wants_read(&connection->session) ||
        ax_reader_is_paused_locked(connection))
        return false;
    size_t space = ax_session_space(&connection->session, &memory);
    if (space > BODY_READ_MAX)
        space = BODY_READ_MAX;
    if (space > 0 && size > BEHIND_BODY)
        size = BEHIND_BODY;
    struct iovec to[2] = {{memory, space}, {scratch, size}};
    ssize_t got =
        space > 0 ? ax_stream_read(&connection->stream, to, 2) : ax_stream_read(&connection->stream, to + 1, 1);
    const struct received received = {.size = got, .space = space, .others = scratch};
    take_in_locked(connection, &received, arrivals);
    return got > 0 && (size_t)got >= space + size / 2 && ax_connection_phase(connection) < AX_PHASE_STOPPING;
}

void ax_reader_settle_buffer(struct ax_connection *connection, struct ax_arrivals *arrivals)
{
    if (arrivals->needs_buffer)
        ax_reader_provide_buffer(connection, &arrivals->buffer_request);
    arrivals->needs_buffer = false;
}

void ax_reader_deliver(struct ax_connection *connection, struct ax_arrivals *arrivals)
{
    struct ax_job *job;

    while ((job = ax_job_pop(&arrivals->jobs)) != NULL)
        ax_executor_submit(&connection->engine->executor, job);
    ax_reader_settle_buffer(connection, arrivals);
}
