/* SPDX-License-Identifier: MIT */
#include "protocol/message.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/error.h"
#include "protocol/text.h"

bool ax_ids_next(struct ax_ids *ids, uint64_t *id)
{
    /* A count may exceed what the head holds: the list ends with the head, so that no count makes a long loop. */
    if (ids->count == 0 || ids->reader.pos == ids->reader.end)
        return false;
    ids->count--;
    *id = ax_head_get_uint(&ids->reader);
    return true;
}

bool ax_is_request(uint64_t type)
{
    return type == AX_APPLY || (type >= AX_CREATE && type <= AX_METHOD);
}

struct ax_message *ax_message_new(void)
{
    return calloc(1, sizeof(struct ax_message));
}

void ax_message_free(struct ax_message *message)
{
    if (message == NULL)
        return;
    for (uint32_t i = 0; i < message->buffer_count; i++)
        ax_buffer_fini(&message->buffers[i]);
    free(message->buffers);
    ax_buffer_fini(&message->head);
    free(message);
}

void ax_message_free_all(struct ax_message *list)
{
    while (list != NULL) {
        struct ax_message *next = list->next;
        ax_message_free(list);
        list = next;
    }
}

struct ax_buffer *ax_message_add_buffer(struct ax_message *message)
{
    uint32_t count = message->buffer_count;

    /* The capacity is the next power of two: the array is full when the count is a power of two, or zero. */
    if ((count & (count - 1)) == 0) {
        size_t capacity = count != 0 ? (size_t)count * 2 : 1;
        struct ax_buffer *buffers = realloc(message->buffers, capacity * sizeof *buffers);
        if (buffers == NULL)
            return NULL;
        message->buffers = buffers;
    }
    message->buffers[count] = (struct ax_buffer){0};
    message->buffer_count = count + 1;
    return &message->buffers[count];
}

uint64_t ax_message_kind(const struct ax_message *message, uint32_t i)
{
    struct ax_ids kinds = message->kinds;
    uint64_t kind = AX_BUFFER_MEMORY;

    while (i > 0 && ax_ids_next(&kinds, &kind))
        i--;
    return i == 0 ? kind : AX_BUFFER_MEMORY;
}

uint64_t ax_message_payload_size(const struct ax_message *message)
{
    uint64_t size = 0;

    for (uint32_t i = 0; i < message->buffer_count; i++)
        size += message->buffers[i].size;
    return size;
}

size_t ax_message_memory(const struct ax_message *message)
{
    size_t size = sizeof *message + message->head.capacity + message->buffer_count * sizeof *message->buffers;

    for (uint32_t i = 0; i < message->buffer_count; i++)
        size += message->buffers[i].capacity;
    return size;
}

/* Reads a list; the reader is then behind it. */
static struct ax_ids decode_list(struct ax_head_reader *reader)
{
    struct ax_ids list = {.count = ax_head_get_uint(reader)};

    list.reader = *reader;
    struct ax_ids rest = list;
    uint64_t id;
    while (ax_ids_next(&rest, &id))
        ;
    *reader = rest.reader;
    return list;
}

static bool has_object(uint64_t type)
{
    return type == AX_COPY || type == AX_METHOD;
}

static void decode_request(struct ax_message *message, struct ax_head_reader *reader)
{
    message->call = ax_head_get_uint(reader);
    if (has_object(message->type))
        message->object = ax_head_get_uint(reader);
    if (message->type == AX_METHOD)
        message->text = ax_head_get_bytes(reader, &message->text_size);
    message->ids = decode_list(reader);
    message->within = ax_head_get_uint(reader);
    message->kinds = decode_list(reader);
}

static void decode_result(struct ax_message *message, struct ax_head_reader *reader)
{
    message->call = ax_head_get_uint(reader);
    message->kind = ax_head_get_uint(reader);
    switch (message->kind) {
    case AX_RESULT_SUCCESS:
    case AX_RESULT_ERROR:
    case AX_RESULT_REFERENCE:
        message->ids = decode_list(reader);
        message->kinds = decode_list(reader);
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
    message->ids = message->kinds = (struct ax_ids){reader, 0}; /* empty lists, for types that have none */
    message->type = ax_head_get_uint(&reader);
    switch (message->type) {
    case AX_GREETING:
        message->timeout_ms = ax_head_get_uint(&reader);
        message->window = ax_head_get_uint(&reader);
        message->max_calls = ax_head_get_uint(&reader);
        message->max_message = ax_head_get_uint(&reader);
        message->max_head = ax_head_get_uint(&reader);
        message->max_ids = ax_head_get_uint(&reader);
        break;
    case AX_CREDIT:
        message->size = ax_head_get_uint(&reader);
        break;
    case AX_APPLY:
    case AX_CREATE:
    case AX_REPLICATE:
    case AX_COPY:
    case AX_METHOD:
        decode_request(message, &reader);
        break;
    case AX_RESULT:
        decode_result(message, &reader);
        break;
    case AX_GOODBYE:
        message->text = ax_head_get_bytes(&reader, &message->text_size);
        break;
    case AX_DEL_OBJS:
        message->ids = decode_list(&reader);
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

/* Trailing fields of a head are omitted when they are empty. */
static size_t kinds_size(const struct ax_payload *payload)
{
    return payload->kind_count > 0 ? ax_ids_size(payload->kinds, payload->kind_count) : 0;
}

static unsigned char *put_kinds(unsigned char *out, const struct ax_payload *payload)
{
    return payload->kind_count > 0 ? ax_put_ids(out, payload->kinds, payload->kind_count) : out;
}

size_t ax_request_size(const struct ax_operation *operation, uint64_t call, const struct ax_payload *payload)
{
    size_t size = ax_uint_size(operation->type) + ax_uint_size(call) + ax_ids_size(payload->refs, payload->ref_count);

    if (has_object(operation->type))
        size += ax_uint_size(operation->object);
    if (operation->type == AX_METHOD)
        size += ax_uint_size(operation->name_size) + operation->name_size;
    if (operation->within != 0 || payload->kind_count > 0)
        size += ax_uint_size(operation->within);
    return size + kinds_size(payload);
}

unsigned char *ax_put_request(unsigned char *out, const struct ax_operation *operation, uint64_t call,
                              const struct ax_payload *payload)
{
    out = ax_head_put_uint(out, operation->type);
    out = ax_head_put_uint(out, call);
    if (has_object(operation->type))
        out = ax_head_put_uint(out, operation->object);
    if (operation->type == AX_METHOD) {
        out = ax_head_put_uint(out, operation->name_size);
        memcpy(out, operation->name, operation->name_size);
        out += operation->name_size;
    }
    out = ax_put_ids(out, payload->refs, payload->ref_count);
    if (operation->within != 0 || payload->kind_count > 0)
        out = ax_head_put_uint(out, operation->within);
    return put_kinds(out, payload);
}

size_t ax_result_size(uint64_t call, enum ax_result_kind kind, const struct ax_payload *payload)
{
    return ax_uint_size(AX_RESULT) + ax_uint_size(call) + ax_uint_size(kind) +
           ax_ids_size(payload->refs, payload->ref_count) + kinds_size(payload);
}

unsigned char *ax_put_result(unsigned char *out, uint64_t call, enum ax_result_kind kind,
                             const struct ax_payload *payload)
{
    out = ax_head_put_uint(out, AX_RESULT);
    out = ax_head_put_uint(out, call);
    out = ax_head_put_uint(out, kind);
    return put_kinds(ax_put_ids(out, payload->refs, payload->ref_count), payload);
}

unsigned char *ax_put_goodbye(unsigned char *out, const char *reason)
{
    size_t length = reason != NULL ? ax_text_cut(reason, strlen(reason), AX_GOODBYE_REASON_MAX) : 0;

    out = ax_head_put_uint(out, AX_GOODBYE);
    if (length == 0)
        return out;
    out = ax_head_put_uint(out, length);
    memcpy(out, reason, length);
    return out + length;
}
