/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

void wire_free(struct wire *wire)
{
    plain_free(wire->data);
    *wire = (struct wire){0};
}

void wire_raw(struct wire *wire, const void *data, size_t size)
{
    if (size == 0)
        return;
    unsigned char *grown = plain_realloc(wire->data, wire->size + size);
    if (grown == NULL)
        abort();
    memcpy(grown + wire->size, data, size);
    wire->data = grown;
    wire->size += size;
}

void wire_u8(struct wire *wire, unsigned value)
{
    unsigned char byte = (unsigned char)value;

    wire_raw(wire, &byte, 1);
}

static void put_big_endian(struct wire *wire, uint64_t value, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        wire_u8(wire, (unsigned)(value >> (8 * i)) & 0xff);
}

void wire_u64(struct wire *wire, uint64_t value)
{
    put_big_endian(wire, value, 8);
}

void wire_uint(struct wire *wire, uint64_t value)
{
    if (value <= 0xfc) {
        wire_u8(wire, (unsigned)value);
    } else if (value <= 0xffff) {
        wire_u8(wire, 0xfd);
        put_big_endian(wire, value, 2);
    } else if (value <= 0xffffffff) {
        wire_u8(wire, 0xfe);
        put_big_endian(wire, value, 4);
    } else {
        wire_u8(wire, 0xff);
        put_big_endian(wire, value, 8);
    }
}

static void put_superblock(struct wire *wire, uint32_t magic, const unsigned version[3], unsigned level,
                           uint32_t features)
{
    put_big_endian(wire, magic, 4);
    for (int i = 0; i < 3; i++)
        wire_u8(wire, version[i]);
    wire_u8(wire, level);
    put_big_endian(wire, features, 4);
    put_big_endian(wire, 0, 4);
}

void wire_superblock(struct wire *wire, unsigned major, unsigned minor, unsigned patch)
{
    put_superblock(wire, 0xe35b9e78, (unsigned[]){major, minor, patch}, 0, 0);
}

void wire_superblock_features(struct wire *wire, unsigned minor, uint32_t features)
{
    put_superblock(wire, 0xe35b9e78, (unsigned[]){0, minor, 0}, 1, features);
}

void wire_bare_superblock(struct wire *wire, unsigned major, unsigned minor, unsigned patch)
{
    put_superblock(wire, 0xe54e6d01, (unsigned[]){major, minor, patch}, 0, 0);
}

void wire_frame(struct wire *wire, const void *body, size_t size, bool more)
{
    wire_u64(wire, (uint64_t)size << 1 | more);
    wire_raw(wire, body, size);
}

/* Moves a head into a frame, with a payload behind it unless that is NULL. */
static void put_message(struct wire *wire, struct wire *head, const char *payload)
{
    wire_frame(wire, head->data, head->size, payload != NULL);
    if (payload != NULL)
        wire_frame(wire, payload, strlen(payload), false);
    wire_free(head);
}

static void put_ids(struct wire *head, const uint64_t *ids, size_t count)
{
    wire_uint(head, count);
    for (size_t i = 0; i < count; i++)
        wire_uint(head, ids[i]);
}

static void put_text(struct wire *head, const char *text)
{
    wire_uint(head, strlen(text));
    wire_raw(head, text, strlen(text));
}

void wire_greeting(struct wire *wire, uint64_t timeout_ms)
{
    struct wire head = {0};

    wire_uint(&head, 0);
    wire_uint(&head, timeout_ms);
    put_message(wire, &head, NULL);
}

void wire_apply(struct wire *wire, uint64_t call, const uint64_t *refs, size_t ref_count, const char *payload)
{
    struct wire head = {0};

    wire_uint(&head, 1);
    wire_uint(&head, call);
    put_ids(&head, refs, ref_count);
    put_message(wire, &head, payload);
}

void wire_result(struct wire *wire, uint64_t call, uint64_t kind, const uint64_t *refs, size_t ref_count,
                 const char *payload)
{
    struct wire head = {0};

    wire_uint(&head, 2);
    wire_uint(&head, call);
    wire_uint(&head, kind);
    put_ids(&head, refs, ref_count);
    put_message(wire, &head, payload);
}

void wire_operation_error(struct wire *wire, uint64_t call, const char *text)
{
    struct wire head = {0};

    wire_uint(&head, 2);
    wire_uint(&head, call);
    wire_uint(&head, 4);
    put_text(&head, text);
    put_message(wire, &head, NULL);
}

void wire_goodbye(struct wire *wire, const char *text)
{
    struct wire head = {0};

    wire_uint(&head, 3);
    if (text != NULL)
        put_text(&head, text);
    put_message(wire, &head, NULL);
}

void wire_del_objs(struct wire *wire, const uint64_t *ids, size_t count)
{
    struct wire head = {0};

    wire_uint(&head, 4);
    put_ids(&head, ids, count);
    put_message(wire, &head, NULL);
}

void wire_idle(struct wire *wire)
{
    wire_bare_message(wire, 5);
}

void wire_bare_message(struct wire *wire, uint64_t type)
{
    struct wire head = {0};

    wire_uint(&head, type);
    put_message(wire, &head, NULL);
}
