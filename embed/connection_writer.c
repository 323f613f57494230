/* SPDX-License-Identifier: MIT */
#include "embed/connection_writer.h"

#include <errno.h>
#include <string.h>

#include "embed/connection_releases.h"

/* Slices in one write. */
#define WRITE_SLICES 16
/*
 * Bytes written per wake-up, so that other connections get their turn; the rest follows when the stream is writable
 * again.
 */
#define WRITE_BUDGET (256u * 1024u)

/* Publishes for other processes whether a message may be on the stream in part. */
static void publish_wire_state(struct ax_connection *connection)
{
    const struct ax_session *session = &connection->session;
    bool whole = session->state == AX_STATE_READY && ax_session_unsent(session) == 0;
    uint32_t state = whole && (session->features & AX_FEATURE_REASON) != 0 ? AX_WIRE_EXPLAINED : AX_WIRE_BUSY;

    if (session->state == AX_STATE_CLOSED && ax_session_unsent(session) == 0)
        state = AX_WIRE_CLOSED;
    if (connection->wire != NULL && *connection->wire != state)
        *connection->wire = state;
}

/*
 * A broken pipe is not the end yet: what the peer sent before, perhaps a GOODBYE, is still to be read, up to the end of
 * the stream. After any other error the peer may still be there, and would wait for bytes that never come.
 */
static void take_write_error(struct ax_connection *connection, int error)
{
    connection->write_error = error;
    if (error == EPIPE || error == ECONNRESET)
        return;
    connection->io_error = error;
    if (connection->end == AX_END_NONE)
        connection->end = AX_END_FAILED;
    ax_session_fail(&connection->session, AX_EEOF, strerror(error));
}

static void write_some(struct ax_connection *connection)
{
    struct ax_slice slices[WRITE_SLICES];
    size_t budget = WRITE_BUDGET;

    connection->writes_blocked = false;
    while (connection->write_error == 0) {
        size_t count = ax_session_pending(&connection->session, slices, WRITE_SLICES);
        if (count == 0)
            return;
        publish_wire_state(connection);
        ssize_t size = ax_stream_write(&connection->stream, slices, count);
        if (size == -EAGAIN) {
            connection->writes_blocked = true;
            return;
        }
        if (size < 0) {
            take_write_error(connection, (int)-size);
            return;
        }
        ax_session_sent(&connection->session, (size_t)size, ax_loop_now());
        if ((size_t)size >= budget) {
            connection->writes_blocked = true;
            return;
        }
        budget -= (size_t)size;
    }
}

void ax_connection_write_locked(struct ax_connection *connection)
{
    if (connection->stream.out_fd >= 0)
        write_some(connection);
    publish_wire_state(connection);
}

void ax_connection_settle_locked(struct ax_connection *connection)
{
    bool was_blocked = connection->writes_blocked;

    if (atomic_load(&connection->releases) != NULL)
        ax_connection_gather_releases_locked(connection);
    if (!was_blocked)
        ax_connection_write_locked(connection);
    if (connection->session.drained) {
        connection->session.drained = false;
        ax_connection_wake_watchers_locked(connection);
    }
    if (connection->session.state != AX_STATE_READY || !atomic_load(&connection->was_running))
        ax_connection_follow_session_locked(connection);
    bool blocked_now = connection->writes_blocked && !was_blocked;
    bool ending =
        connection->session.state >= AX_STATE_CLOSING && connection->session.state != connection->handled_state;
    if (blocked_now || ending)
        ax_connection_post(connection);
}
