/* SPDX-License-Identifier: MIT */
#include "daemon/status/writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/text.h"

#define FIRST_CAPACITY 4096u

void ax_writer_init(struct ax_writer *writer, size_t limit)
{
    *writer = (struct ax_writer){.limit = limit};
}

void ax_writer_fini(struct ax_writer *writer)
{
    ax_buffer_fini(&writer->text);
}

/* Reserves `size` bytes and the NUL that a formatter adds. Returns their address, or NULL. */
static char *reserve(struct ax_writer *writer, size_t size)
{
    struct ax_buffer *text = &writer->text;
    size_t needed = text->size + size + 1;
    size_t capacity = text->capacity > 0 ? text->capacity : FIRST_CAPACITY;

    if (writer->has_failed || size >= writer->limit || needed > writer->limit) {
        writer->has_failed = true;
        return NULL;
    }
    while (capacity < needed)
        capacity *= 2;
    if (ax_buffer_reserve(text, capacity) < 0) {
        writer->has_failed = true;
        return NULL;
    }
    return (char *)text->data + text->size;
}

void ax_writer_add(struct ax_writer *writer, const void *data, size_t size)
{
    char *capacity = reserve(writer, size);

    if (capacity == NULL)
        return;
    memcpy(capacity, data, size);
    writer->text.size += size;
}

void ax_writer_add_line(struct ax_writer *writer, const void *data, size_t size)
{
    char *capacity = reserve(writer, size);

    if (capacity == NULL)
        return;
    ax_text_copy(capacity, size + 1, data, size);
    writer->text.size += strlen(capacity);
}

void ax_writer_print(struct ax_writer *writer, const char *format, ...)
{
    va_list values, again;
    char *capacity;
    int size;

    va_start(values, format);
    va_copy(again, values);
    size = vsnprintf(NULL, 0, format, values);
    va_end(values);
    capacity = size < 0 ? NULL : reserve(writer, (size_t)size);
    if (capacity != NULL) {
        vsnprintf(capacity, (size_t)size + 1, format, again);
        writer->text.size += (size_t)size;
    } else {
        writer->has_failed = true;
    }
    va_end(again);
}
