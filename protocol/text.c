/* SPDX-License-Identifier: MIT */
#include "protocol/text.h"

#include <stdbool.h>
#include <string.h>

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t ax_text_cut(const char *text, size_t size, size_t max)
{
    if (size <= max)
        return size;
    while (max > 0 && is_continuation((unsigned char)text[max]))
        max--;
    return max;
}

/* What may follow the first byte of a sequence; the bytes after it are any continuation (Unicode, table 3-7). */
struct lead {
    unsigned char first, last; /* range of the first byte */
    unsigned char low, high;   /* range of the second */
    unsigned char size;
};

static const struct lead leads[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Bytes of the character at the beginning, or 0 when it is not valid. */
static size_t character_size(const unsigned char *text, size_t size)
{
    if (text[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++) {
        const struct lead *lead = &leads[i];
        if (text[0] < lead->first || text[0] > lead->last)
            continue;
        if (size < lead->size || text[1] < lead->low || text[1] > lead->high)
            return 0;
        for (size_t j = 2; j < lead->size; j++) {
            if (!is_continuation(text[j]))
                return 0;
        }
        return lead->size;
    }
    return 0;
}

static bool is_control(unsigned char byte)
{
    return byte < 0x20 || byte == 0x7f;
}

void ax_text_copy(char *out, size_t room, const void *text, size_t size)
{
    const unsigned char *in = text;

    while (size > 0) {
        size_t valid = character_size(in, size);
        size_t step = valid ? valid : 1;
        if (step >= room)
            break;
        if (valid == 0)
            *out = '?';
        else if (is_control(*in))
            *out = ' ';
        else
            memcpy(out, in, step);
        out += step;
        room -= step;
        in += step;
        size -= step;
    }
    *out = '\0';
}
