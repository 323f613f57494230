/* SPDX-License-Identifier: MIT */
/*
 * The queue of bytes to be sent, in order: small pieces are copied together, large ones stay where they are.
 *
 * Does no I/O: ax_output_slices() returns what to write next, ax_output_consume() records that it was written.
 */
#ifndef AX_PROTOCOL_OUTPUT_H
#define AX_PROTOCOL_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/buffer.h"

/* Buffers up to this size are copied behind their headers: a memcpy is cheaper than another iovec. */
#define AX_OUTPUT_COPY_MAX 16384

struct ax_output_block;

/* A piece of borrowed memory to send; laid out like struct iovec. */
struct ax_slice {
    const void *data;
    size_t size;
};

/* Invariant: size is the sum of the unconsumed bytes of all blocks. All zero is the empty output. */
struct ax_output {
    struct ax_output_block *first;
    struct ax_output_block *last;
    size_t size;
};

void ax_output_init(struct ax_output *output);

/*
 * Appends exactly `size` contiguous bytes, for the caller to fill at once; size > 0. NULL when memory is short; then
 * nothing has changed.
 */
unsigned char *ax_output_append(struct ax_output *output, size_t size);

/*
 * Queues a buffer. Takes ownership on success: its release runs, in the thread that consumes or ends the output, when
 * it has been sent or dropped. AX_ENOMEM: nothing has changed, and the buffer is still the caller's.
 */
int ax_output_append_buffer(struct ax_output *output, struct ax_buffer *buffer);

/*
 * Undoes the newest ax_output_append(), of `size` bytes, if nothing was done since: for a message whose second part
 * could not be allocated.
 */
void ax_output_retract(struct ax_output *output, size_t size);

/* Stores up to `max` slices of what to send next and returns how many. Valid until the next call on this output. */
size_t ax_output_slices(const struct ax_output *output, struct ax_slice *slices, size_t max);

/* Records that `size` bytes from the front have been sent; size <= output->size. */
void ax_output_consume(struct ax_output *output, size_t size);

/*
 * Moves the first `size` bytes of another output to the end of this one; size <= from->size. AX_ENOMEM: nothing has
 * changed.
 */
int ax_output_move(struct ax_output *output, struct ax_output *from, size_t size);

/* Moves everything in `tail` to the end of `output`; tail is empty then. */
void ax_output_join(struct ax_output *output, struct ax_output *tail);

/* Drops everything without releasing the buffers: they belong to the caller again, which has kept copies of them. */
void ax_output_abandon(struct ax_output *output);

/* Drops everything. */
void ax_output_fini(struct ax_output *output);

#endif
