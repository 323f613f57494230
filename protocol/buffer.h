/* SPDX-License-Identifier: MIT */
/*
 * A block of bytes with one owner; ownership may be moved, but not shared.
 *
 * Received data is a block from the heap that grows as bytes arrive. Data to be sent may be foreign memory (a bytes
 * object made by a pickler), which `release` returns.
 */
#ifndef AX_PROTOCOL_BUFFER_H
#define AX_PROTOCOL_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Invariant: size <= capacity. All zero is the empty buffer, which owns nothing. */
struct ax_buffer {
    unsigned char *data;
    size_t size;
    size_t capacity;              /* allocated size of data, where it is to be filled */
    void (*release)(void *owner); /* returns the memory; NULL: data is from malloc(), and free() is used */
    void *owner;                  /* argument of release */
    bool continued;               /* in a payload: the next buffer continues the same frame */
};

/*
 * Grows the capacity to at least `capacity` bytes, keeping the contents; only for a buffer from the heap. AX_ENOMEM
 * leaves the buffer as it was.
 */
int ax_buffer_reserve(struct ax_buffer *buffer, size_t capacity);

/* Appends a copy of the bytes, growing by doubling. AX_ENOMEM leaves the buffer as it was. */
int ax_buffer_append(struct ax_buffer *buffer, const void *data, size_t size);

/* Releases the memory and leaves the empty buffer. May be called on an empty one. */
void ax_buffer_fini(struct ax_buffer *buffer);

/* Moves the contents of a buffer to the caller, and leaves the empty one behind. */
struct ax_buffer ax_buffer_take(struct ax_buffer *buffer);

#endif
