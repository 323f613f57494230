/* SPDX-License-Identifier: MIT */
/*
 * Streams of bytes as a peer would send them, right or wrong, put together by hand.
 *
 * These helpers share no code with protocol/: what they write is what the wire says, not what the library does.
 */
#ifndef AX_TESTS_PROTOCOL_WIRE_H
#define AX_TESTS_PROTOCOL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing array of bytes. All zero is the empty one. Freed with wire_free(). */
struct wire {
    unsigned char *data;
    size_t size;
};

void wire_free(struct wire *wire);

void wire_raw(struct wire *wire, const void *data, size_t size);
void wire_u8(struct wire *wire, unsigned value);
void wire_u64(struct wire *wire, uint64_t value);

/* A uint in its shortest form. */
void wire_uint(struct wire *wire, uint64_t value);

/* The superblock of a plain peer. */
void wire_superblock(struct wire *wire, unsigned major, unsigned minor, unsigned patch);

/* The superblock of a peer with feature bits. */
void wire_superblock_features(struct wire *wire, unsigned minor, uint32_t features);

/* The superblock of a bare Python that needs at least this version. */
void wire_bare_superblock(struct wire *wire, unsigned major, unsigned minor, unsigned patch);

void wire_frame(struct wire *wire, const void *body, size_t size, bool more);

/* Complete messages. `text` may be NULL; payloads are C strings. */
void wire_greeting(struct wire *wire, uint64_t timeout_ms);
void wire_apply(struct wire *wire, uint64_t call, const uint64_t *refs, size_t ref_count, const char *payload);
void wire_result(struct wire *wire, uint64_t call, uint64_t kind, const uint64_t *refs, size_t ref_count,
                 const char *payload);
void wire_operation_error(struct wire *wire, uint64_t call, const char *text);
void wire_goodbye(struct wire *wire, const char *text);
void wire_del_objs(struct wire *wire, const uint64_t *ids, size_t count);
void wire_idle(struct wire *wire);

/* A message of some type whose head has nothing but the type, and no buffers. */
void wire_bare_message(struct wire *wire, uint64_t type);

#endif
