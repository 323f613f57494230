/* SPDX-License-Identifier: MIT */
#include "protocol/message.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/error.h"
#include "protocol/text.h"

bool ax_ids_next(struct ax_ids *ids, uint64_t *id)
{
    /*
     * A count may promise more than the head holds: what ends first ends the list, so that no count makes a long loop.
     */
    if (ids->count == 0 || ids->reader.pos == ids->reader.end)
        return false;
    ids->count--;
    *id = ax_head_get_uint(&ids->reader);
    return true;
}

struct ax_message *ax_message_new(void)
{
    return calloc(1, sizeof(struct ax_message));
}

void ax_message_free(struct ax_message *message)
{
    if (!message)
        return;
    for (uint32_t i = 0; i < message->buffer_count; i++)
        ax_buffer_fini(&message->buffers[i]);
    free(message->buffers);
    ax_buffer_fini(&message->head);
    free(message);
}

struct ax_buffer *ax_message_add_buffer(struct ax_message *message)
{
    uint32_t count = message->buffer_count;

    /* The array has room for the next power of two: it is full when the count is one, or zero. */
    if ((count & (count - 1)) == 0) {
        size_t capacity = count ? (size_t)count * 2 : 1;
        struct ax_buffer *buffers = realloc(message->buffers, capacity * sizeof(*buffers));
        if (!buffers)
            return NULL;
        message->buffers = buffers;
    }
    message->buffers[count] = (struct ax_buffer){0};
    message->buffer_count = count + 1;
    return &message->buffers[count];
}

size_t ax_message_memory(const struct ax_message *message)
{
    size_t size = sizeof(*message) + message->head.capacity + message->buffer_count * sizeof(*message->buffers);

    for (uint32_t i = 0; i < message->buffer_count; i++)
        size += message->buffers[i].capacity;
    return size;
}

static void decode_ids(struct ax_message *message, struct ax_head_reader *reader)
{
    message->ids.count = ax_head_get_uint(reader);
    message->ids.reader = *reader;
}

static void decode_result(struct ax_message *message, struct ax_head_reader *reader)
{
    message->call = ax_head_get_uint(reader);
    message->kind = ax_head_get_uint(reader);
    switch (message->kind) {
    case AX_RESULT_SUCCESS:
    case AX_RESULT_ERROR:
        decode_ids(message, reader);
        break;
    case AX_RESULT_OPERATION_ERROR:
        message->text = ax_head_get_bytes(reader, &message->text_size);
        break;
    default:
        break;
    }
}

void ax_message_decode(struct ax_message *message)
{
    struct ax_head_reader reader;

    ax_head_reader_init(&reader, message->head.data, message->head.size);
    message->ids = (struct ax_ids){reader, 0}; /* an empty list, for types that have none */
    message->type = ax_head_get_uint(&reader);
    switch (message->type) {
    case AX_GREETING:
        message->timeout_ms = ax_head_get_uint(&reader);
        break;
    case AX_APPLY:
        message->call = ax_head_get_uint(&reader);
        decode_ids(message, &reader);
        break;
    case AX_RESULT:
        decode_result(message, &reader);
        break;
    case AX_GOODBYE:
        message->text = ax_head_get_bytes(&reader, &message->text_size);
        break;
    case AX_DEL_OBJS:
        decode_ids(message, &reader);
        break;
    default:
        break;
    }
}

size_t ax_ids_size(const uint64_t *ids, size_t count)
{
    size_t size = ax_uint_size(count);

    for (size_t i = 0; i < count; i++)
        size += ax_uint_size(ids[i]);
    return size;
}

unsigned char *ax_put_ids(unsigned char *out, const uint64_t *ids, size_t count)
{
    out = ax_head_put_uint(out, count);
    for (size_t i = 0; i < count; i++)
        out = ax_head_put_uint(out, ids[i]);
    return out;
}

unsigned char *ax_put_goodbye(unsigned char *out, const char *reason)
{
    size_t length = reason ? ax_text_cut(reason, strlen(reason), AX_GOODBYE_REASON_MAX) : 0;

    out = ax_head_put_uint(out, AX_GOODBYE);
    if (length == 0)
        return out;
    out = ax_head_put_uint(out, length);
    memcpy(out, reason, length);
    return out + length;
}
