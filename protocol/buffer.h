/* SPDX-License-Identifier: MIT */
/*
 * A block of bytes with one owner, which may be handed over but never shared.
 *
 * What arrives is a block from the heap that grows as bytes come in. What is sent may be memory of somebody else (the
 * bytes object that a pickler made), which `release` gives back.
 */
#ifndef AX_PROTOCOL_BUFFER_H
#define AX_PROTOCOL_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Invariant: size <= capacity. All zero is the empty buffer, which owns nothing. */
struct ax_buffer {
    unsigned char *data;
    size_t size;
    size_t capacity;              /* what data has room for, where it is to be filled */
    void (*release)(void *owner); /* NULL: data came from malloc() and free() takes it back */
    void *owner;                  /* argument of release */
    bool continued;               /* in a payload: the next buffer goes on in the same frame */
};

/*
 * Makes room for at least `capacity` bytes, keeping the contents; only for a buffer from the heap.
 * AX_ENOMEM leaves the buffer as it was.
 */
int ax_buffer_reserve(struct ax_buffer *buffer, size_t capacity);

/* Appends a copy of the bytes, growing by doubling. AX_ENOMEM leaves the buffer as it was. */
int ax_buffer_append(struct ax_buffer *buffer, const void *data, size_t size);

/* Gives the memory back and leaves the empty buffer. May be called on an empty one. */
void ax_buffer_fini(struct ax_buffer *buffer);

/* Hands the contents of one buffer to the caller and leaves the empty one behind. */
struct ax_buffer ax_buffer_take(struct ax_buffer *buffer);

#endif
