/* SPDX-License-Identifier: MIT */
/*
 * Input: assembles frames into messages within the limits, and dispatches these.
 *
 * A frame header is checked completely before its body is received; the head of a message, before its buffers are.
 */
#include <inttypes.h>
#include <string.h>

#include "protocol/session_private.h"

void ax_lane_drop(struct ax_session *session, struct ax_lane *lane)
{
    ax_session_discard(session, lane->message);
    *lane = (struct ax_lane){0};
}

static bool in_head(const struct ax_lane *lane)
{
    return lane->frames == 1;
}

/* Whether the frame that has begun holds bytes of the second lane. */
static bool in_chunk(const struct ax_session *session, const struct ax_lane *lane)
{
    return (session->features & AX_FEATURE_FLOW) != 0 && lane == &session->lane && lane->frames > 1 &&
           lane->message->type == AX_CHUNK;
}

static struct ax_buffer *current_body(struct ax_lane *lane)
{
    struct ax_message *message = lane->message;

    return in_head(lane) ? &message->head : &message->buffers[message->buffer_count - 1];
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

/*
 * True when the frame whose header has just arrived keeps its message within the limits; else the session has failed.
 */
static bool check_frame(struct ax_session *session, struct ax_lane *lane)
{
    const struct ax_limits *limits = &session->config.limits;
    uint64_t length = lane->frame.length;

    if (lane->frames > limits->max_frames) {
        ax_session_failf(session, AX_EPROTOCOL, "Message of %" PRIu32 " frames is longer than the limit of %" PRIu32,
                         lane->frames, limits->max_frames);
        return false;
    }
    if (in_head(lane) && length > limits->max_head) {
        ax_session_failf(session, AX_EPROTOCOL,
                         "Message head of %" PRIu64 " bytes is larger than the limit of %" PRIu32, length,
                         limits->max_head);
        return false;
    }
    if (in_chunk(session, lane))
        return true; /* its contents are checked in the second lane */
    lane->size = add_saturated(lane->size, length);
    if (lane->size > limits->max_message) {
        ax_session_failf(session, AX_EPROTOCOL, "Message of %" PRIu64 " bytes is larger than the limit of %" PRIu64,
                         lane->size, limits->max_message);
        return false;
    }
    return true;
}

/* A frame header is complete: prepares for its body. */
static void begin_frame(struct ax_session *session, struct ax_lane *lane)
{
    lane->frames++;
    lane->body = ++session->bodies;
    lane->buffer_requested = false;
    if (!check_frame(session, lane) || in_chunk(session, lane))
        return;
    if (in_head(lane))
        lane->message = ax_message_new();
    if (lane->message == NULL || (!in_head(lane) && ax_message_add_buffer(lane->message) == NULL))
        ax_session_fail_memory(session);
}

static void check_head(struct ax_session *session, struct ax_lane *lane)
{
    ax_message_decode(lane->message);
    if (lane == &session->bulk && lane->message->type == AX_CHUNK)
        ax_session_refuse(session, lane->message);
    else
        ax_session_check_head(session, lane->message);
}

static void end_frame(struct ax_session *session, struct ax_lane *lane, uint64_t now, struct ax_event *event)
{
    struct ax_message *message = lane->message;

    if (in_head(lane))
        check_head(session, lane);
    if (lane->frame.more || session->state == AX_STATE_FAILED)
        return;
    lane->message = NULL;
    lane->frames = 0;
    lane->size = 0;
    ax_session_dispatch(session, message, now, event);
}

/*
 * Grows the current body by at least one byte if needed, and returns how much fits: memory follows what has arrived.
 * Room too small to be worth a read() of its own is enlarged at once. There is never more room than bytes missing,
 * since the capacity never exceeds the length. 0: memory is short.
 */
static size_t body_room(struct ax_lane *lane, struct ax_buffer *body)
{
    size_t room = body->capacity - body->size;

    if (room >= lane->frame.remaining || room >= AX_BODY_DIRECT_MIN)
        return room;
    size_t capacity = body->capacity < AX_BODY_FIRST_STEP / 2 ? AX_BODY_FIRST_STEP : body->capacity * 2;
    if (capacity > lane->frame.length)
        capacity = (size_t)lane->frame.length;
    if (ax_buffer_reserve(body, capacity) < 0)
        return 0;
    return body->capacity - body->size;
}

/* `size` bytes of the frame have arrived and are in place. */
static void advance(struct ax_session *session, struct ax_lane *lane, size_t size, uint64_t now, struct ax_event *event)
{
    if (ax_frame_read_body(&lane->frame, size))
        end_frame(session, lane, now, event);
}

static void advance_body(struct ax_session *session, struct ax_lane *lane, size_t size, uint64_t now,
                         struct ax_event *event)
{
    current_body(lane)->size += size;
    advance(session, lane, size, now, event);
}

static size_t take_body(struct ax_session *session, struct ax_lane *lane, const unsigned char *data, size_t size,
                        uint64_t now, struct ax_event *event)
{
    struct ax_buffer *body = current_body(lane);
    size_t used = body_room(lane, body);

    if (used == 0) {
        ax_session_fail_memory(session);
        return 0;
    }
    if (used > size)
        used = size;
    memcpy(body->data + body->size, data, used);
    advance_body(session, lane, used, now, event);
    return used;
}

static size_t take_header(struct ax_session *session, struct ax_lane *lane, const unsigned char *data, size_t size,
                          uint64_t now, struct ax_event *event)
{
    size_t used = ax_frame_read_header(&lane->frame, data, size);

    if (lane->frame.in_body) {
        begin_frame(session, lane);
        if (lane->frame.length == 0 && session->state != AX_STATE_FAILED)
            advance(session, lane, 0, now, event);
    }
    return used;
}

static size_t take_frame(struct ax_session *session, struct ax_lane *lane, const unsigned char *data, size_t size,
                         uint64_t now, struct ax_event *event)
{
    if (lane->frame.in_body)
        return take_body(session, lane, data, size, now, event);
    return take_header(session, lane, data, size, now, event);
}

/* Feeds bytes of the second lane, from a frame of the first. */
static size_t take_chunk(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now,
                         struct ax_event *event)
{
    if (size > session->lane.frame.remaining)
        size = (size_t)session->lane.frame.remaining;
    size_t used = take_frame(session, &session->bulk, data, size, now, event);
    if (!ax_session_ended(session))
        advance(session, &session->lane, used, now, event);
    return used;
}

static size_t take(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now,
                   struct ax_event *event)
{
    if (session->state == AX_STATE_SUPERBLOCK)
        return ax_session_take_superblock(session, data, size, now);
    if (session->lane.frame.in_body && in_chunk(session, &session->lane))
        return take_chunk(session, data, size, now, event);
    return take_frame(session, &session->lane, data, size, now, event);
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

/* The lane of the body that the next bytes belong to. */
static struct ax_lane *receiving_lane(struct ax_session *session)
{
    bool chunk = session->lane.frame.in_body && in_chunk(session, &session->lane);

    return chunk ? &session->bulk : &session->lane;
}

size_t ax_session_space(struct ax_session *session, void **memory)
{
    *memory = NULL;
    struct ax_lane *lane = receiving_lane(session);
    if (ax_session_ended(session) || !lane->frame.in_body)
        return 0;
    uint64_t remaining = session->lane.frame.remaining; /* of the chunk, in the second lane */
    if (remaining < AX_BODY_DIRECT_MIN || lane->frame.remaining < AX_BODY_DIRECT_MIN)
        return 0;
    struct ax_buffer *body = current_body(lane);
    size_t room = body_room(lane, body); /* 0 without memory: ax_session_feed() will then fail for that reason */
    if (room > 0)
        *memory = body->data + body->size;
    return room < remaining ? room : (size_t)remaining;
}

void ax_session_filled(struct ax_session *session, size_t size, uint64_t now, struct ax_event *event)
{
    enum ax_session_state before = session->state;

    *event = (struct ax_event){0};
    if (size == 0 || ax_session_ended(session))
        return;
    session->received_at = now;
    struct ax_lane *lane = receiving_lane(session);
    advance_body(session, lane, size, now, event);
    if (lane == &session->bulk && !ax_session_ended(session))
        advance(session, &session->lane, size, now, event);
    ax_session_report(session, before, event);
}

/* Whether a large buffer is being received in this lane; heads are small, and chunks have no memory of their own. */
static bool has_large_body(const struct ax_session *session, const struct ax_lane *lane)
{
    return lane->frame.in_body && !in_head(lane) && !in_chunk(session, lane) &&
           lane->frame.length >= AX_RECEIVE_BUFFER_MIN;
}

static uint64_t current_kind(const struct ax_session *session, const struct ax_lane *lane)
{
    const struct ax_message *message = lane->message;

    if (message->buffer_count < 2 || (session->features & AX_FEATURE_BUFFERS) == 0)
        return AX_BUFFER_MEMORY;
    return ax_message_kind(message, message->buffer_count - 1);
}

static bool is_time_for_buffer(struct ax_lane *lane)
{
    uint64_t enough =
        lane->frame.length / 16 < AX_RECEIVE_BUFFER_AFTER ? lane->frame.length / 16 : AX_RECEIVE_BUFFER_AFTER;

    return current_body(lane)->size >= enough;
}

bool ax_session_wants_buffer(struct ax_session *session, struct ax_buffer_request *buffer_request)
{
    struct ax_lane *lanes[] = {&session->bulk, &session->lane};

    for (size_t i = 0; i < 2 && !ax_session_ended(session); i++) {
        struct ax_lane *lane = lanes[i];
        if (lane->buffer_requested || !has_large_body(session, lane) || !is_time_for_buffer(lane))
            continue;
        lane->buffer_requested = true;
        *buffer_request = (struct ax_buffer_request){lane->body, lane->frame.length, current_kind(session, lane)};
        return true;
    }
    return false;
}

int ax_session_give_buffer(struct ax_session *session, uint64_t body_number, struct ax_buffer *buffer)
{
    struct ax_lane *lane = session->bulk.body == body_number ? &session->bulk : &session->lane;

    if (ax_session_ended(session) || lane->body != body_number || !has_large_body(session, lane))
        return AX_ESTATE;
    struct ax_buffer *body = current_body(lane);
    struct ax_buffer received = *body;
    *body = ax_buffer_take(buffer);
    body->size = received.size;
    body->capacity = (size_t)lane->frame.length;
    *buffer = received;
    return 0;
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
        ax_session_fail(session, AX_EEOF, session->lane.frame.in_body ? "Incomplete frame" : "Incomplete frame size");
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
