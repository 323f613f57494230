/* SPDX-License-Identifier: MIT */
/*
 * Frames: a u64 header (length << 1 | more) and a body of that length.
 *
 * The reader is fed bytes in pieces of any size. It stores no more than a partial header: the consumer provides the
 * memory for a body, piece by piece, so that a length in a header costs nothing until its bytes arrive.
 */
#ifndef AX_PROTOCOL_FRAME_H
#define AX_PROTOCOL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AX_FRAME_HEADER_SIZE 8
#define AX_FRAME_MAX_LENGTH (UINT64_MAX >> 1) /* the largest length in a header: 2^63 - 1 bytes */

/* Invariant: header_size < AX_FRAME_HEADER_SIZE while in_body is false; remaining is 0 unless in_body. */
struct ax_frame_reader {
    unsigned char header[AX_FRAME_HEADER_SIZE];
    unsigned header_size; /* bytes of the header that have arrived */
    bool in_body;
    bool more;          /* of the current frame: another frame of this message follows */
    uint64_t length;    /* of the current frame's body */
    uint64_t remaining; /* bytes of the body that have not arrived */
};

void ax_frame_reader_init(struct ax_frame_reader *reader);

/*
 * Consumes header bytes from data and returns how many. When the header is complete, in_body becomes true, and length,
 * remaining and more are set. Only while in_body is false.
 */
size_t ax_frame_read_header(struct ax_frame_reader *reader, const void *data, size_t size);

/*
 * Records that `size` bytes of the body have arrived in the consumer's memory; size <= remaining. Returns whether the
 * body is complete; the reader then expects the next header. Only while in_body is true; with remaining 0, size is 0.
 */
bool ax_frame_read_body(struct ax_frame_reader *reader, uint64_t size);

/* True between frames: the stream may end here without cutting a frame. */
bool ax_frame_reader_at_boundary(const struct ax_frame_reader *reader);

/* Writes the header of a frame; length <= AX_FRAME_MAX_LENGTH. */
void ax_frame_put_header(unsigned char out[AX_FRAME_HEADER_SIZE], uint64_t length, bool more);

#endif
