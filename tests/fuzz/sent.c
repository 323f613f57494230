/* SPDX-License-Identifier: MIT */
#include "sent.h"

#define RELEASES_MAX 1024 /* ids in one DEL_OBJS: what any peer takes */

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

/* Whether the peer has announced it, and so have we. */
static bool has_feature(const struct sent *sent, uint32_t feature)
{
    return (sent->session->features & feature) != 0;
}

/* They are all there. Returns how many bytes the head has behind them. */
static size_t check_ids(struct ax_ids ids)
{
    uint64_t count = ids.count;
    uint64_t id;

    while (ax_ids_next(&ids, &id))
        count--;
    CHECK(count == 0);
    return (size_t)(ids.reader.end - ids.reader.pos);
}

/* Calls are numbered as they come. */
static void check_request(struct sent *sent, const struct ax_message *message)
{
    size_t behind = check_ids(message->ids);

    CHECK(message->type == AX_APPLY || has_feature(sent, AX_FEATURE_OPERATIONS));
    CHECK(message->call == sent->requests++);
    CHECK((behind > 0) == (message->within > 0) && (behind == 0 || has_feature(sent, AX_FEATURE_NESTED)));
    CHECK((sent->buffers == 0) == (message->type == AX_COPY));
    CHECK((message->text_size > 0) == (message->type == AX_METHOD));
}

static void check_result(const struct sent *sent, const struct ax_message *message)
{
    switch (message->kind) {
    case AX_RESULT_SUCCESS:
    case AX_RESULT_ERROR:
        CHECK(sent->buffers > 0 && check_ids(message->ids) == 0);
        break;
    case AX_RESULT_REFERENCE:
        CHECK(has_feature(sent, AX_FEATURE_OPERATIONS) && message->ids.count > 0);
        CHECK(sent->buffers > 0 && check_ids(message->ids) == 0);
        break;
    case AX_RESULT_SELF:
        CHECK(has_feature(sent, AX_FEATURE_OPERATIONS) && sent->buffers == 0);
        break;
    default:
        CHECK(message->kind == AX_RESULT_OPERATION_ERROR && sent->buffers == 0 && message->text_size > 0);
    }
}

static void check_message(struct sent *sent)
{
    struct ax_message message = {.head = {.data = sent->head, .size = sent->head_size}};

    ax_message_decode(&message);
    CHECK(message.type < AX_MESSAGE_TYPES);
    CHECK((message.type == AX_GREETING) == (count_messages(sent) == 0));
    CHECK(sent->messages[AX_GOODBYE] == 0); /* nothing is sent behind it */
    switch (message.type) {
    case AX_GREETING:
        CHECK(sent->buffers == 0 && message.timeout_ms == sent->session->config.timeout_ms);
        break;
    case AX_APPLY:
    case AX_CREATE:
    case AX_REPLICATE:
    case AX_COPY:
    case AX_METHOD:
        check_request(sent, &message);
        break;
    case AX_RESULT:
        check_result(sent, &message);
        break;
    case AX_GOODBYE:
        CHECK(sent->buffers == 0);
        CHECK(message.text_size == 0 || has_feature(sent, AX_FEATURE_REASON));
        break;
    case AX_DEL_OBJS:
        CHECK(sent->buffers == 0 && message.ids.count > 0 && message.ids.count <= RELEASES_MAX);
        CHECK(check_ids(message.ids) == 0);
        break;
    default:
        CHECK(sent->buffers == 0 && sent->head_size == 1);
    }
    sent->messages[message.type]++;
}

static void end_frame(struct sent *sent)
{
    if (sent->frame.more)
        return;
    check_message(sent);
    sent->frames = sent->buffers = 0;
    sent->head_size = 0;
}

static size_t take_header(struct sent *sent, const unsigned char *data, size_t size)
{
    size_t used = ax_frame_read_header(&sent->frame, data, size);

    if (sent->frame.in_body) {
        if (sent->frames++ > 0)
            sent->buffers++;
        else
            CHECK(sent->frame.length > 0 && sent->frame.length <= sizeof(sent->head));
        if (sent->frame.length == 0 && ax_frame_read_body(&sent->frame, 0))
            end_frame(sent);
    }
    return used;
}

static size_t take_body(struct sent *sent, const unsigned char *data, size_t size)
{
    size_t used = sent->frame.remaining < size ? (size_t)sent->frame.remaining : size;

    if (sent->buffers == 0) {
        memcpy(sent->head + sent->head_size, data, used);
        sent->head_size += used;
    }
    if (ax_frame_read_body(&sent->frame, used))
        end_frame(sent);
    return used;
}

void sent_take(struct sent *sent, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    while (size > 0) {
        size_t missing = size_before_frames(sent->session) - sent->before;
        size_t used = size;
        if (missing > 0) {
            used = size < missing ? size : missing;
            sent->before += used;
        } else {
            used = sent->frame.in_body ? take_body(sent, bytes, size) : take_header(sent, bytes, size);
        }
        bytes += used;
        size -= used;
    }
}

void sent_finish(const struct sent *sent)
{
    CHECK(ax_frame_reader_at_boundary(&sent->frame) && sent->frames == 0);
}
