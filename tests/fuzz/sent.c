/* SPDX-License-Identifier: MIT */
#include "sent.h"

#define RELEASES_MAX 1024 /* ids in one DEL_OBJS: what every peer accepts */

/* A bare Python is sent a superblock, a length, its engine, and the superblock again. */
static size_t size_before_frames(const struct ax_session *session)
{
    return session->bootstrapped ? 2 * AX_SUPERBLOCK_SIZE + 4 + strlen(session->config.bootstrap) : AX_SUPERBLOCK_SIZE;
}

static uint64_t count_messages(const struct sent *sent)
{
    uint64_t count = 0;

    for (size_t i = 0; i < AX_MESSAGE_TYPES; i++)
        count += sent->messages[i];
    return count;
}

/* Whether both sides have announced it. */
static bool has_feature(const struct sent *sent, uint32_t feature)
{
    return (sent->session->features & feature) != 0;
}

/* Checks that all are there. Returns how many bytes of the head follow them. */
static size_t check_ids(struct ax_ids ids)
{
    uint64_t count = ids.count;
    uint64_t id;

    while (ax_ids_next(&ids, &id))
        count--;
    CHECK(count == 0);
    return (size_t)(ids.reader.end - ids.reader.pos);
}

/* The kinds of buffers are sent only to a peer that supports them, and only for those after the first. */
static void check_kinds(const struct sent *sent, const struct sent_lane *lane, const struct ax_message *message)
{
    CHECK(message->kinds.count == 0 || has_feature(sent, AX_FEATURE_BUFFERS));
    CHECK(message->kinds.count == 0 || message->kinds.count < lane->buffers);
    CHECK(message->kinds.count == 0 || check_ids(message->kinds) == 0);
}

static void check_request(struct sent *sent, struct sent_lane *lane, const struct ax_message *message)
{
    check_ids(message->ids);
    check_kinds(sent, lane, message);
    CHECK(message->type == AX_APPLY || has_feature(sent, AX_FEATURE_OPERATIONS));
    CHECK(message->call >= lane->next_call && message->call < sent->session->next_call);
    lane->next_call = message->call + 1;
    sent->requests++;
    CHECK(message->within == 0 || has_feature(sent, AX_FEATURE_NESTED));
    CHECK((lane->buffers == 0) == (message->type == AX_COPY));
    CHECK((message->text_size > 0) == (message->type == AX_METHOD));
}

static void check_result(const struct sent *sent, const struct sent_lane *lane, const struct ax_message *message)
{
    check_kinds(sent, lane, message);
    check_ids(message->ids);
    switch (message->kind) {
    case AX_RESULT_SUCCESS:
    case AX_RESULT_ERROR:
        CHECK(lane->buffers > 0);
        break;
    case AX_RESULT_REFERENCE:
        CHECK(has_feature(sent, AX_FEATURE_OPERATIONS) && message->ids.count > 0 && lane->buffers > 0);
        break;
    case AX_RESULT_SELF:
        CHECK(has_feature(sent, AX_FEATURE_OPERATIONS) && lane->buffers == 0);
        break;
    default:
        CHECK(message->kind == AX_RESULT_OPERATION_ERROR && lane->buffers == 0 && message->text_size > 0);
    }
}

/* Windows are for peers that support them. */
static void check_greeting(const struct sent *sent, const struct ax_message *message)
{
    const struct ax_session_config *config = &sent->session->config;

    CHECK(message->timeout_ms == config->timeout_ms);
    CHECK(message->window == (has_feature(sent, AX_FEATURE_FLOW) ? config->limits.window : 0));
    CHECK(message->max_calls == (has_feature(sent, AX_FEATURE_FLOW) ? config->limits.max_calls : 0));
}

/* The messages without buffers. */
static void check_small(const struct sent *sent, const struct sent_lane *lane, const struct ax_message *message)
{
    CHECK(lane->buffers == 0);
    switch (message->type) {
    case AX_GREETING:
        check_greeting(sent, message);
        break;
    case AX_GOODBYE:
        CHECK(message->text_size == 0 || has_feature(sent, AX_FEATURE_REASON));
        break;
    case AX_DEL_OBJS:
        CHECK(message->ids.count > 0 && message->ids.count <= RELEASES_MAX && check_ids(message->ids) == 0);
        break;
    case AX_CREDIT:
        CHECK(message->size > 0 && has_feature(sent, AX_FEATURE_FLOW));
        break;
    default:
        CHECK(message->type == AX_IDLE && lane->head_size == 1);
    }
}

static struct ax_message read_head(struct sent_lane *lane)
{
    struct ax_message message = {.head = {.data = lane->head, .size = lane->head_size}};

    ax_message_decode(&message);
    return message;
}

static void check_message(struct sent *sent, struct sent_lane *lane)
{
    struct ax_message message = read_head(lane);

    CHECK(message.type < AX_MESSAGE_TYPES);
    CHECK((message.type == AX_GREETING) == (count_messages(sent) == 0));
    CHECK(sent->messages[AX_GOODBYE] == 0 ||
          lane->is_chunk); /* nothing is sent after it, except the end of its own chunk */
    if (ax_is_request(message.type))
        check_request(sent, lane, &message);
    else if (message.type == AX_RESULT)
        check_result(sent, lane, &message);
    else if (message.type == AX_CHUNK)
        CHECK(lane == &sent->lane && lane->buffers == 1);
    else
        check_small(sent, lane, &message);
    sent->messages[message.type]++;
}

static void end_frame(struct sent *sent, struct sent_lane *lane)
{
    if (lane->frames == 1) {
        lane->is_chunk = read_head(lane).type == AX_CHUNK;
        CHECK(!lane->is_chunk || (lane == &sent->lane && has_feature(sent, AX_FEATURE_FLOW)));
        CHECK(!lane->is_chunk || sent->messages[AX_GOODBYE] == 0);
    }
    if (lane->frame.more)
        return;
    check_message(sent, lane);
    lane->frames = lane->buffers = 0;
    lane->head_size = 0;
    lane->is_chunk = false;
}

static size_t take_header(struct sent *sent, struct sent_lane *lane, const unsigned char *data, size_t size)
{
    size_t used = ax_frame_read_header(&lane->frame, data, size);

    if (lane->frame.in_body) {
        if (lane->frames++ > 0)
            lane->buffers++;
        else
            CHECK(lane->frame.length > 0 && lane->frame.length <= sizeof lane->head);
        CHECK(!lane->is_chunk || (lane->frame.length > 0 && lane->frame.length <= AX_CHUNK_SIZE));
        if (lane->frame.length == 0 && ax_frame_read_body(&lane->frame, 0))
            end_frame(sent, lane);
    }
    return used;
}

static void take(struct sent *sent, struct sent_lane *lane, const unsigned char *bytes, size_t size);

static size_t take_body(struct sent *sent, struct sent_lane *lane, const unsigned char *data, size_t size)
{
    size_t used = lane->frame.remaining < size ? (size_t)lane->frame.remaining : size;

    if (lane->buffers == 0) {
        memcpy(lane->head + lane->head_size, data, used);
        lane->head_size += used;
    } else if (lane->is_chunk) {
        take(sent, &sent->bulk, data, used);
    }
    if (ax_frame_read_body(&lane->frame, used))
        end_frame(sent, lane);
    return used;
}

static void take(struct sent *sent, struct sent_lane *lane, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        size_t used = lane->frame.in_body ? take_body(sent, lane, bytes, size) : take_header(sent, lane, bytes, size);
        bytes += used;
        size -= used;
    }
}

void sent_take(struct sent *sent, const void *data, size_t size)
{
    size_t missing = size_before_frames(sent->session) - sent->before;
    size_t before = size < missing ? size : missing;

    sent->before += before;
    take(sent, &sent->lane, (const unsigned char *)data + before, size - before);
}

static bool is_between_messages(const struct sent_lane *lane)
{
    return ax_frame_reader_at_boundary(&lane->frame) && lane->frames == 0;
}

void sent_finish(const struct sent *sent)
{
    CHECK(is_between_messages(&sent->lane));
    CHECK(is_between_messages(&sent->bulk) || sent->session->state == AX_STATE_FAILED);
}
