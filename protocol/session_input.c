/* SPDX-License-Identifier: MIT */
/*
 * Received bytes: the frames of a message are gathered, within the limits, and the message is dispatched.
 *
 * Everything that a frame header says is checked before a byte of its body is awaited; what the head says, before the
 * buffers behind it are.
 */
#include <inttypes.h>
#include <string.h>

#include "protocol/session_private.h"

static bool in_head(const struct ax_session *session)
{
    return session->incoming_frames == 1;
}

static struct ax_buffer *current_body(struct ax_session *session)
{
    struct ax_message *message = session->incoming;

    return in_head(session) ? &message->head : &message->buffers[message->buffer_count - 1];
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

/*
 * True when the frame whose header has just arrived keeps its message within the limits; else the session has failed.
 */
static bool check_frame(struct ax_session *session)
{
    const struct ax_limits *limits = &session->config.limits;
    uint64_t length = session->frame.length;

    if (session->incoming_frames > limits->max_frames) {
        ax_session_failf(session, AX_EPROTOCOL, "Message of %" PRIu32 " frames is longer than the limit of %" PRIu32,
                         session->incoming_frames, limits->max_frames);
        return false;
    }
    if (in_head(session) && length > limits->max_head) {
        ax_session_failf(session, AX_EPROTOCOL,
                         "Message head of %" PRIu64 " bytes is larger than the limit of %" PRIu32, length,
                         limits->max_head);
        return false;
    }
    session->incoming_size = add_saturated(session->incoming_size, length);
    if (session->incoming_size > limits->max_message) {
        ax_session_failf(session, AX_EPROTOCOL, "Message of %" PRIu64 " bytes is larger than the limit of %" PRIu64,
                         session->incoming_size, limits->max_message);
        return false;
    }
    return true;
}

/* A frame header is complete: finds a place for its body. */
static void begin_frame(struct ax_session *session)
{
    session->incoming_frames++;
    if (!check_frame(session))
        return;
    if (in_head(session))
        session->incoming = ax_message_new();
    if (!session->incoming || (!in_head(session) && !ax_message_add_buffer(session->incoming)))
        ax_session_fail_memory(session);
}

static void end_frame(struct ax_session *session, uint64_t now, struct ax_event *event)
{
    struct ax_message *message = session->incoming;

    if (in_head(session)) {
        ax_message_decode(message);
        ax_session_check_head(session, message);
    }
    if (session->frame.more || session->state == AX_STATE_FAILED)
        return;
    session->incoming = NULL;
    session->incoming_frames = 0;
    session->incoming_size = 0;
    ax_session_dispatch(session, message, now, event);
}

/*
 * Makes room for more of the current body, at least one byte, and returns how much: memory follows what has arrived.
 * Room for too little to be worth a read() of its own is enlarged at once. There is never more room than bytes missing,
 * for the capacity never exceeds the length. 0: memory is short.
 */
static size_t body_room(struct ax_session *session, struct ax_buffer *body)
{
    size_t room = body->capacity - body->size;

    if (room >= session->frame.remaining || room >= AX_BODY_DIRECT_MIN)
        return room;
    size_t capacity = body->capacity < AX_BODY_FIRST_STEP / 2 ? AX_BODY_FIRST_STEP : body->capacity * 2;
    if (capacity > session->frame.length)
        capacity = (size_t)session->frame.length;
    if (ax_buffer_reserve(body, capacity) < 0)
        return 0;
    return body->capacity - body->size;
}

static void advance_body(struct ax_session *session, struct ax_buffer *body, size_t size, uint64_t now,
                         struct ax_event *event)
{
    body->size += size;
    if (ax_frame_read_body(&session->frame, size))
        end_frame(session, now, event);
}

static size_t take_body(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now,
                        struct ax_event *event)
{
    struct ax_buffer *body = current_body(session);
    size_t used = body_room(session, body);

    if (used == 0) {
        ax_session_fail_memory(session);
        return 0;
    }
    if (used > size)
        used = size;
    memcpy(body->data + body->size, data, used);
    advance_body(session, body, used, now, event);
    return used;
}

static size_t take_header(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now,
                          struct ax_event *event)
{
    size_t used = ax_frame_read_header(&session->frame, data, size);

    if (session->frame.in_body) {
        begin_frame(session);
        if (session->frame.length == 0 && session->state != AX_STATE_FAILED)
            advance_body(session, current_body(session), 0, now, event);
    }
    return used;
}

static size_t take(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now,
                   struct ax_event *event)
{
    if (session->state == AX_STATE_SUPERBLOCK)
        return ax_session_take_superblock(session, data, size, now);
    if (session->frame.in_body)
        return take_body(session, data, size, now, event);
    return take_header(session, data, size, now, event);
}

size_t ax_session_feed(struct ax_session *session, const void *data, size_t size, uint64_t now, struct ax_event *event)
{
    enum ax_session_state before = session->state;
    const unsigned char *bytes = data;
    size_t used = 0;

    *event = (struct ax_event){0};
    if (size > 0)
        session->received_at = now;
    while (used < size && event->type == AX_EVENT_NONE && !ax_session_ended(session))
        used += take(session, bytes + used, size - used, now, event);
    ax_session_report(session, before, event);
    return ax_session_ended(session) ? size : used;
}

size_t ax_session_space(struct ax_session *session, void **memory)
{
    *memory = NULL;
    if (ax_session_ended(session) || !session->frame.in_body || session->frame.remaining < AX_BODY_DIRECT_MIN)
        return 0;
    struct ax_buffer *body = current_body(session);
    size_t room = body_room(session, body); /* 0 without memory: then ax_session_feed() fails for that */
    if (room > 0)
        *memory = body->data + body->size;
    return room;
}

void ax_session_filled(struct ax_session *session, size_t size, uint64_t now, struct ax_event *event)
{
    enum ax_session_state before = session->state;

    *event = (struct ax_event){0};
    if (size == 0 || ax_session_ended(session))
        return;
    session->received_at = now;
    advance_body(session, current_body(session), size, now, event);
    ax_session_report(session, before, event);
}

void ax_session_feed_eof(struct ax_session *session, struct ax_event *event)
{
    enum ax_session_state before = session->state;

    *event = (struct ax_event){0};
    switch (session->state) {
    case AX_STATE_SUPERBLOCK:
        ax_session_fail(session, AX_EEOF, "Incomplete superblock");
        break;
    case AX_STATE_GREETING:
    case AX_STATE_READY:
        ax_session_fail(session, AX_EEOF, session->frame.in_body ? "Incomplete frame" : "Incomplete frame size");
        break;
    case AX_STATE_CLOSING:
        session->state = AX_STATE_CLOSED;
        event->type = AX_EVENT_CLOSED;
        break;
    case AX_STATE_CLOSED:
    case AX_STATE_FAILED:
        break;
    }
    ax_session_report(session, before, event);
}
