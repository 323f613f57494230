/* SPDX-License-Identifier: MIT */
/*
 * The fields of a message head: variable-length unsigned integers ("uint") and byte strings.
 *
 * A uint takes one byte up to 0xfc; else 0xfd + u16, 0xfe + u32 or 0xff + u64, big-endian. Reading past the end of a
 * head gives 0 (and a byte string of length 0): that is how trailing fields are optional.
 */
#ifndef AX_PROTOCOL_HEAD_H
#define AX_PROTOCOL_HEAD_H

#include <stddef.h>
#include <stdint.h>

#define AX_UINT_MAX_SIZE 9 /* bytes that the longest uint takes */

/* Reads fields from borrowed memory. Invariant: pos <= end. */
struct ax_head_reader {
    const unsigned char *pos;
    const unsigned char *end;
};

void ax_head_reader_init(struct ax_head_reader *reader, const void *data, size_t size);

/* The next uint. A field that is cut short by the end of the head counts as past the end: 0, and nothing is left. */
uint64_t ax_head_get_uint(struct ax_head_reader *reader);

/* The next byte string, borrowed from the head: *size bytes, cut at the end of the head. */
const unsigned char *ax_head_get_bytes(struct ax_head_reader *reader, size_t *size);

/* Bytes that ax_head_put_uint() writes for value: 1, 3, 5 or 9. */
size_t ax_uint_size(uint64_t value);

/* Writes value at out, which has room for ax_uint_size(value) bytes; returns the end of what it wrote. */
unsigned char *ax_head_put_uint(unsigned char *out, uint64_t value);

/* Big-endian integers of a fixed width, for superblocks and frame headers. */
uint32_t ax_get_u32(const unsigned char *in);
uint64_t ax_get_u64(const unsigned char *in);
void ax_put_u32(unsigned char *out, uint32_t value);
void ax_put_u64(unsigned char *out, uint64_t value);

#endif
