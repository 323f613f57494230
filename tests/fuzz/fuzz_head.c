/* SPDX-License-Identifier: MIT */
/*
 * Decoding of message heads: for any bytes, the fields lie within them, and what was decoded can be encoded and decoded
 * again.
 *
 * Input: a head.
 */
#include "fuzz.h"
#include "protocol/message.h"
#include "protocol/text.h"

static void check_text(const struct ax_message *message)
{
    const unsigned char *begin = message->head.data;
    char copy[64];

    if (message->text_size > 0) {
        CHECK(message->text >= begin);
        CHECK(message->text_size <= (size_t)(begin + message->head.size - message->text));
    }
    ax_text_copy(copy, sizeof copy, message->text, message->text_size);
    CHECK(strlen(copy) < sizeof copy);
    CHECK(strlen(copy) <= message->text_size);
    for (const char *c = copy; *c != '\0'; c++)
        CHECK((unsigned char)*c >= 0x20);
    /* Escaping is idempotent. */
    char again[64];
    ax_text_copy(again, sizeof again, copy, strlen(copy));
    CHECK(strcmp(copy, again) == 0);
    CHECK(ax_text_cut(copy, strlen(copy), 10) <= 10);
}

static size_t count_ids(struct ax_ids ids, uint64_t *out)
{
    size_t count = 0;
    uint64_t id;

    while (ax_ids_next(&ids, &id)) {
        if (out != NULL)
            out[count] = id;
        count++;
    }
    return count;
}

static void check_ids(const struct ax_message *message)
{
    size_t count = count_ids(message->ids, NULL);
    uint64_t *ids = malloc((count + 1) * sizeof *ids);

    CHECK(count <= message->head.size);
    CHECK(count <= message->ids.count);
    CHECK(ids != NULL);
    count_ids(message->ids, ids);

    size_t size = ax_ids_size(ids, count);
    unsigned char *written = malloc(size);
    CHECK(written != NULL);
    CHECK(ax_put_ids(written, ids, count) == written + size);
    struct ax_ids again;
    ax_head_reader_init(&again.reader, written, size);
    again.count = ax_head_get_uint(&again.reader);
    CHECK(again.count == count);
    for (size_t i = 0; i < count; i++) {
        uint64_t id;
        CHECK(ax_ids_next(&again, &id));
        CHECK(id == ids[i]);
    }
    free(written);
    free(ids);
}

static bool result_has_ids(uint64_t kind)
{
    return kind == AX_RESULT_SUCCESS || kind == AX_RESULT_ERROR || kind == AX_RESULT_REFERENCE;
}

/* Fields that a type does not have are zero. */
static void check_fields(const struct ax_message *message)
{
    bool is_result = message->type == AX_RESULT;
    bool is_request = ax_is_request(message->type);
    bool has_object = message->type == AX_COPY || message->type == AX_METHOD;
    bool has_ids = is_request || message->type == AX_DEL_OBJS || (is_result && result_has_ids(message->kind));
    bool has_text = message->type == AX_GOODBYE || message->type == AX_METHOD ||
                    (is_result && message->kind == AX_RESULT_OPERATION_ERROR);

    CHECK(has_ids || message->ids.count == 0);
    CHECK(has_text || message->text_size == 0);
    CHECK(has_object || message->object == 0);
    CHECK(is_request || message->within == 0);
    CHECK(is_request || is_result || message->call == 0);
    CHECK(is_result || message->kind == 0);
    CHECK(message->type == AX_GREETING || message->timeout_ms == 0);
}

/* Whether the list has as many items as it says, and at most this many. */
static bool is_list_of(struct ax_ids list, size_t max)
{
    return list.count <= max && count_ids(list, NULL) == list.count;
}

/* A request that was decoded and fits is encoded again, and decodes to the same. */
static void check_request(const struct ax_message *message)
{
    uint64_t ids[64], kinds[64];
    struct ax_message again = {0};

    if (!ax_is_request(message->type) || !is_list_of(message->ids, 64) || !is_list_of(message->kinds, 64))
        return;
    struct ax_payload payload = {.refs = ids, .ref_count = count_ids(message->ids, ids), .kinds = kinds};
    payload.kind_count = count_ids(message->kinds, kinds);
    struct ax_operation operation = {(enum ax_message_type)message->type, message->object, (const char *)message->text,
                                     message->text_size, message->within};
    size_t size = ax_request_size(&operation, message->call, &payload);
    CHECK(ax_buffer_reserve(&again.head, size) == 0);
    CHECK(ax_put_request(again.head.data, &operation, message->call, &payload) == again.head.data + size);
    again.head.size = size;
    ax_message_decode(&again);
    CHECK(again.type == message->type && again.call == message->call && again.object == message->object);
    CHECK(again.within == message->within && again.ids.count == message->ids.count);
    CHECK(again.kinds.count == message->kinds.count);
    for (uint32_t i = 0; i < payload.kind_count; i++)
        CHECK(ax_message_kind(&again, i + 1) == kinds[i]);
    CHECK(again.text_size == message->text_size);
    CHECK(message->text_size == 0 || memcmp(again.text, message->text, message->text_size) == 0);
    ax_buffer_fini(&again.head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ax_message *message = ax_message_new();

    CHECK(message != NULL);
    CHECK(ax_buffer_reserve(&message->head, size) == 0); /* no space behind the last byte */
    CHECK(ax_buffer_append(&message->head, data, size) == 0);
    ax_message_decode(message);
    check_fields(message);
    check_text(message);
    check_ids(message);
    check_request(message);
    CHECK(ax_message_memory(message) >= size);
    ax_message_free(message);
    return 0;
}
