/* SPDX-License-Identifier: MIT */
#include "protocol/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/error.h"

#define FIRST_CAPACITY 64

int ax_buffer_reserve(struct ax_buffer *buffer, size_t capacity)
{
    if (capacity <= buffer->capacity)
        return 0;
    unsigned char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        return AX_ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

/* The capacity to grow to so that `size` more bytes fit; 0 if it would exceed size_t. */
static size_t grown_capacity(const struct ax_buffer *buffer, size_t size)
{
    if (size > SIZE_MAX - buffer->size)
        return 0;
    size_t needed = buffer->size + size;
    size_t doubled = buffer->capacity <= SIZE_MAX / 2 ? buffer->capacity * 2 : SIZE_MAX;
    if (doubled < FIRST_CAPACITY)
        doubled = FIRST_CAPACITY;
    return needed > doubled ? needed : doubled;
}

int ax_buffer_append(struct ax_buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return 0;
    if (size > buffer->capacity - buffer->size) {
        size_t capacity = grown_capacity(buffer, size);
        if (capacity == 0 || ax_buffer_reserve(buffer, capacity) < 0)
            return AX_ENOMEM;
    }
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return 0;
}

void ax_buffer_fini(struct ax_buffer *buffer)
{
    struct ax_buffer taken = ax_buffer_take(buffer);

    if (taken.release != NULL)
        taken.release(taken.owner);
    else
        free(taken.data);
}

struct ax_buffer ax_buffer_take(struct ax_buffer *buffer)
{
    struct ax_buffer taken = *buffer;

    *buffer = (struct ax_buffer){0};
    return taken;
}
