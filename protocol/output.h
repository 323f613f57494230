/* SPDX-License-Identifier: MIT */
/*
 * The bytes that wait to be sent, in order: small ones copied together, large ones left where they are.
 *
 * Nothing is written here: ax_output_slices() says what to write next, ax_output_consume() that it was.
 */
#ifndef AX_PROTOCOL_OUTPUT_H
#define AX_PROTOCOL_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/buffer.h"

/* Payloads up to this many bytes are copied behind their headers: one more memcpy is cheaper than one more iovec. */
#define AX_OUTPUT_COPY_MAX 16384

struct ax_output_block;

/* A piece of borrowed memory to send; laid out like struct iovec. */
struct ax_slice {
    const void *data;
    size_t size;
};

/* Invariant: size is the sum over all blocks of what is not consumed. All zero is the empty output. */
struct ax_output {
    struct ax_output_block *first;
    struct ax_output_block *last;
    size_t size;
};

void ax_output_init(struct ax_output *output);

/*
 * Room for exactly `size` bytes that will be sent in one piece after all that is queued; size > 0. The caller fills it
 * at once. NULL when memory is short; then nothing has changed.
 */
unsigned char *ax_output_append(struct ax_output *output, size_t size);

/*
 * Queues a buffer. Takes ownership on success: its release runs, in the thread that consumes or ends the output, when
 * it has been sent or dropped. AX_ENOMEM: nothing has changed, and the buffer is still the caller's.
 */
int ax_output_append_buffer(struct ax_output *output, struct ax_buffer *buffer);

/*
 * Undoes the newest ax_output_append(), of `size` bytes, if nothing was done since: for a message whose second part
 * found no memory.
 */
void ax_output_retract(struct ax_output *output, size_t size);

/* Stores up to `max` slices of what to send next and returns how many. Valid until the next call on this output. */
size_t ax_output_slices(const struct ax_output *output, struct ax_slice *slices, size_t max);

/* Notes that `size` bytes from the front have been sent; size <= output->size. */
void ax_output_consume(struct ax_output *output, size_t size);

/*
 * Moves the first `size` bytes of another output behind what this one holds; size <= from->size. AX_ENOMEM: nothing has
 * changed.
 */
int ax_output_move(struct ax_output *output, struct ax_output *from, size_t size);

/* Moves all that `tail` holds behind what `output` holds; tail is empty then. */
void ax_output_join(struct ax_output *output, struct ax_output *tail);

/* Drops everything, but does not release the buffers: they are the caller's again, who has kept copies of them. */
void ax_output_abandon(struct ax_output *output);

/* Drops everything. */
void ax_output_fini(struct ax_output *output);

#endif
