/* SPDX-License-Identifier: MIT */
#include "protocol/head.h"

/* First bytes of the longer forms of a uint; anything up to UINT_BYTE_MAX is its own value. */
#define UINT_BYTE_MAX 0xfcu
#define UINT_U16 0xfdu
#define UINT_U32 0xfeu
#define UINT_U64 0xffu

void ax_head_reader_init(struct ax_head_reader *reader, const void *data, size_t size)
{
    /* An empty head may have a null pointer, to which C does not allow 0 to be added. */
    static const unsigned char nothing[1];

    reader->pos = size > 0 ? data : nothing;
    reader->end = reader->pos + size;
}

static size_t left(const struct ax_head_reader *reader)
{
    return (size_t)(reader->end - reader->pos);
}

uint64_t ax_head_get_uint(struct ax_head_reader *reader)
{
    if (left(reader) == 0)
        return 0;
    unsigned first = *reader->pos++;
    if (first <= UINT_BYTE_MAX)
        return first;

    size_t size = first == UINT_U16 ? 2 : first == UINT_U32 ? 4 : 8;
    if (left(reader) < size) {
        reader->pos = reader->end;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | reader->pos[i];
    reader->pos += size;
    return value;
}

const unsigned char *ax_head_get_bytes(struct ax_head_reader *reader, size_t *size)
{
    uint64_t length = ax_head_get_uint(reader);
    const unsigned char *bytes = reader->pos;

    *size = length < left(reader) ? (size_t)length : left(reader);
    reader->pos += *size;
    return bytes;
}

size_t ax_uint_size(uint64_t value)
{
    if (value <= UINT_BYTE_MAX)
        return 1;
    return value <= UINT16_MAX ? 3 : value <= UINT32_MAX ? 5 : 9;
}

unsigned char *ax_head_put_uint(unsigned char *out, uint64_t value)
{
    switch (ax_uint_size(value)) {
    case 1:
        out[0] = (unsigned char)value;
        return out + 1;
    case 3:
        out[0] = UINT_U16;
        out[1] = (unsigned char)(value >> 8);
        out[2] = (unsigned char)value;
        return out + 3;
    case 5:
        out[0] = UINT_U32;
        ax_put_u32(out + 1, (uint32_t)value);
        return out + 5;
    default:
        out[0] = UINT_U64;
        ax_put_u64(out + 1, value);
        return out + 9;
    }
}

uint32_t ax_get_u32(const unsigned char *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

uint64_t ax_get_u64(const unsigned char *in)
{
    return (uint64_t)ax_get_u32(in) << 32 | ax_get_u32(in + 4);
}

void ax_put_u32(unsigned char *out, uint32_t value)
{
    out[0] = (unsigned char)(value >> 24);
    out[1] = (unsigned char)(value >> 16);
    out[2] = (unsigned char)(value >> 8);
    out[3] = (unsigned char)value;
}

void ax_put_u64(unsigned char *out, uint64_t value)
{
    ax_put_u32(out, (uint32_t)(value >> 32));
    ax_put_u32(out + 4, (uint32_t)value);
}
