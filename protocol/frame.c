/* SPDX-License-Identifier: MIT */
#include "protocol/frame.h"

#include <string.h>

#include "protocol/head.h"

void ax_frame_reader_init(struct ax_frame_reader *reader)
{
    *reader = (struct ax_frame_reader){0};
}

size_t ax_frame_read_header(struct ax_frame_reader *reader, const void *data, size_t size)
{
    size_t missing = AX_FRAME_HEADER_SIZE - reader->header_size;
    size_t used = size < missing ? size : missing;

    if (used == 0)
        return 0;

    memcpy(reader->header + reader->header_size, data, used);
    reader->header_size += (unsigned)used;
    if (used == missing) {
        uint64_t header = ax_get_u64(reader->header);
        reader->header_size = 0;
        reader->in_body = true;
        reader->more = header & 1;
        reader->length = header >> 1;
        reader->remaining = reader->length;
    }
    return used;
}

bool ax_frame_read_body(struct ax_frame_reader *reader, uint64_t size)
{
    reader->remaining -= size;
    reader->in_body = reader->remaining > 0;
    return !reader->in_body;
}

bool ax_frame_reader_at_boundary(const struct ax_frame_reader *reader)
{
    return !reader->in_body && reader->header_size == 0;
}

void ax_frame_put_header(unsigned char out[AX_FRAME_HEADER_SIZE], uint64_t length, bool more)
{
    ax_put_u64(out, length << 1 | more);
}
