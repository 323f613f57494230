/* SPDX-License-Identifier: MIT */
#include "protocol/output.h"

#include <stdlib.h>

#include "protocol/error.h"

/*
 * Capacity of the first block of an empty output: one or a few messages, small enough for malloc's fastest path. If
 * output is already waiting, more will follow, so later blocks are larger and take many messages each.
 */
#define FIRST_ROOM 896
#define NEXT_ROOM 16384

/* Bytes to send: either copied, behind this header, or those of a buffer. Invariant: begin <= end <= capacity. */
struct ax_output_block {
    struct ax_output_block *next;
    unsigned char *data;
    size_t begin;
    size_t end;
    size_t capacity;         /* equal to end for a buffer: nothing may be appended to it */
    struct ax_buffer buffer; /* empty for copied bytes */
};

void ax_output_init(struct ax_output *output)
{
    *output = (struct ax_output){0};
}

static void add_block(struct ax_output *output, struct ax_output_block *block)
{
    if (output->last != NULL)
        output->last->next = block;
    else
        output->first = block;
    output->last = block;
}

static void free_block(struct ax_output_block *block)
{
    ax_buffer_fini(&block->buffer);
    free(block);
}

static struct ax_output_block *add_room(struct ax_output *output, size_t size)
{
    size_t room = output->size > 0 ? NEXT_ROOM : FIRST_ROOM;

    if (room < size)
        room = size;
    struct ax_output_block *block = malloc(sizeof *block + room);
    if (block == NULL)
        return NULL;
    *block = (struct ax_output_block){.data = (unsigned char *)(block + 1), .capacity = room};
    add_block(output, block);
    return block;
}

unsigned char *ax_output_append(struct ax_output *output, size_t size)
{
    struct ax_output_block *block = output->last;

    if (block == NULL || block->capacity - block->end < size)
        block = add_room(output, size);
    if (block == NULL)
        return NULL;
    unsigned char *room = block->data + block->end;
    block->end += size;
    output->size += size;
    return room;
}

int ax_output_append_buffer(struct ax_output *output, struct ax_buffer *buffer)
{
    if (buffer->size == 0) {
        ax_buffer_fini(buffer);
        return 0;
    }
    struct ax_output_block *block = malloc(sizeof *block);
    if (block == NULL)
        return AX_ENOMEM;
    *block = (struct ax_output_block){.data = buffer->data, .end = buffer->size, .capacity = buffer->size};
    block->buffer = ax_buffer_take(buffer);
    output->size += block->end;
    add_block(output, block);
    return 0;
}

void ax_output_retract(struct ax_output *output, size_t size)
{
    /* A block that becomes empty is kept: it is the last one, and the next append uses it. */
    output->last->end -= size;
    output->size -= size;
}

size_t ax_output_slices(const struct ax_output *output, struct ax_slice *slices, size_t max)
{
    size_t count = 0;

    for (const struct ax_output_block *block = output->first; block != NULL && count < max; block = block->next) {
        if (block->begin < block->end)
            slices[count++] = (struct ax_slice){block->data + block->begin, block->end - block->begin};
    }
    return count;
}

static struct ax_output_block *take_first(struct ax_output *output)
{
    struct ax_output_block *block = output->first;

    output->first = block->next;
    if (output->first == NULL)
        output->last = NULL;
    block->next = NULL;
    return block;
}

static void drop_first(struct ax_output *output)
{
    free_block(take_first(output));
}

void ax_output_consume(struct ax_output *output, size_t size)
{
    output->size -= size;
    while (output->first != NULL) {
        struct ax_output_block *block = output->first;
        size_t here = block->end - block->begin;
        if (size < here) {
            block->begin += size;
            return;
        }
        size -= here;
        drop_first(output);
    }
}

static size_t block_size(const struct ax_output_block *block)
{
    return block->end - block->begin;
}

/*
 * Allocates a block for the part of another that a move of `size` bytes would cut off; *part is NULL if it cuts none.
 */
static int make_part(const struct ax_output *from, size_t size, struct ax_output_block **part)
{
    const struct ax_output_block *block = from->first;

    for (; block != NULL && block_size(block) <= size; block = block->next)
        size -= block_size(block);
    *part = NULL;
    if (block == NULL || size == 0)
        return 0;
    *part = malloc(sizeof **part);
    if (*part == NULL)
        return AX_ENOMEM;
    /* Its memory belongs to the block that it was cut from, which is sent, and dropped, later. */
    **part = (struct ax_output_block){.data = block->data, .begin = block->begin, .end = block->begin + size};
    (*part)->capacity = (*part)->end;
    return 0;
}

int ax_output_move(struct ax_output *output, struct ax_output *from, size_t size)
{
    struct ax_output_block *part;

    if (make_part(from, size, &part) < 0)
        return AX_ENOMEM;
    output->size += size;
    from->size -= size;
    while (from->first != NULL && block_size(from->first) <= size) {
        size -= block_size(from->first);
        add_block(output, take_first(from));
    }
    if (part != NULL) {
        from->first->begin += size;
        add_block(output, part);
    }
    return 0;
}

void ax_output_join(struct ax_output *output, struct ax_output *tail)
{
    if (tail->first == NULL)
        return;
    if (output->last != NULL)
        output->last->next = tail->first;
    else
        output->first = tail->first;
    output->last = tail->last;
    output->size += tail->size;
    ax_output_init(tail);
}

void ax_output_abandon(struct ax_output *output)
{
    for (struct ax_output_block *block = output->first; block != NULL; block = block->next)
        block->buffer = (struct ax_buffer){0};
    ax_output_fini(output);
}

void ax_output_fini(struct ax_output *output)
{
    while (output->first != NULL)
        drop_first(output);
    output->size = 0;
}
