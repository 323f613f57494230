/* SPDX-License-Identifier: MIT */
/*
 * The frame reader: a stream that arrives in pieces contains the same frames as one that arrives at once.
 *
 * Input: one byte for the size of the pieces, then the stream.
 */
#include "fuzz.h"
#include "protocol/frame.h"

/* The contents of a stream: each header and each completed body, mixed into a checksum. */
struct summary {
    uint64_t sum;
    uint64_t body_bytes;
    unsigned headers;
    unsigned bodies;
    bool at_boundary;
};

static void add(struct summary *summary, uint64_t value)
{
    summary->sum = (summary->sum ^ value) * 0x100000001b3u;
}

static void check_header(const struct ax_frame_reader *reader)
{
    unsigned char again[AX_FRAME_HEADER_SIZE];

    CHECK(reader->length <= AX_FRAME_MAX_LENGTH);
    CHECK(reader->remaining == reader->length);
    CHECK(reader->header_size == 0);
    ax_frame_put_header(again, reader->length, reader->more);
    CHECK(memcmp(again, reader->header, sizeof again) == 0);
}

static size_t read_some(struct ax_frame_reader *reader, const uint8_t *data, size_t size, struct summary *summary)
{
    size_t used = 0;

    if (!reader->in_body) {
        CHECK(reader->remaining == 0);
        used = ax_frame_read_header(reader, data, size);
        CHECK(used > 0 && used <= size);
        CHECK(reader->in_body || used == size);
        if (!reader->in_body)
            return used;
        check_header(reader);
        summary->headers++;
        add(summary, reader->length << 1 | reader->more);
        if (reader->length > 0)
            return used;
    }
    size_t body = size - used < reader->remaining ? size - used : (size_t)reader->remaining;
    if (ax_frame_read_body(reader, body)) {
        CHECK(ax_frame_reader_at_boundary(reader));
        summary->bodies++;
    } else {
        CHECK(!ax_frame_reader_at_boundary(reader));
    }
    summary->body_bytes += body;
    return used + body;
}

static struct summary read_stream(const uint8_t *data, size_t size, size_t piece)
{
    struct ax_frame_reader reader;
    struct summary summary = {0};

    ax_frame_reader_init(&reader);
    while (size > 0) {
        size_t used = read_some(&reader, data, size < piece ? size : piece, &summary);
        data += used;
        size -= used;
    }
    summary.at_boundary = ax_frame_reader_at_boundary(&reader);
    return summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    size_t piece = 1 + take_byte(&input) % 32;
    struct summary whole = read_stream(input.data, input.size, SIZE_MAX);
    struct summary pieces = read_stream(input.data, input.size, piece);

    CHECK(whole.sum == pieces.sum);
    CHECK(whole.headers == pieces.headers);
    CHECK(whole.bodies == pieces.bodies);
    CHECK(whole.body_bytes == pieces.body_bytes);
    CHECK(whole.at_boundary == pieces.at_boundary);
    return 0;
}
