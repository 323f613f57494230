/* SPDX-License-Identifier: MIT */
#include "protocol/text.h"

#include <stdint.h>
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

/*
 * Valid second bytes for a range of first bytes of a sequence; the bytes after these are any continuation (Unicode,
 * table 3-7).
 */
struct lead {
    unsigned char first, last; /* range of the first byte */
    unsigned char low, high;   /* range of the second */
    unsigned char size;
};

static const struct lead leads[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Size of the character at the beginning, or 0 if it is not valid. */
static size_t character_size(const unsigned char *text, size_t size)
{
    if (text[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof leads / sizeof leads[0]; i++) {
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

static uint32_t decode(const unsigned char *text, size_t size)
{
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = text[0] & masks[size];

    for (size_t i = 1; i < size; i++)
        point = point << 6 | (text[i] & 0x3f);
    return point;
}

/* Characters that must not reach a terminal or a log: control characters, line separators, and format characters. */
static const struct {
    uint32_t first, last;
} unsafe[] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x180e, 0x180e},   {0x200b, 0x200f},
    {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
};

static bool is_unsafe(uint32_t point)
{
    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
        if (point >= unsafe[i].first && point <= unsafe[i].last)
            return true;
    return false;
}

size_t ax_text_next(const void *text, size_t size, bool *is_plain)
{
    size_t valid = character_size(text, size);

    *is_plain = valid > 0 && !is_unsafe(decode(text, valid));
    return valid;
}

void ax_text_copy(char *out, size_t room, const void *text, size_t size)
{
    const unsigned char *in = text;

    while (size > 0) {
        bool is_plain;
        size_t valid = ax_text_next(in, size, &is_plain);
        size_t step = valid != 0 ? valid : 1;
        size_t written = is_plain ? step : 1;

        if (written >= room)
            break;
        if (is_plain)
            memcpy(out, in, step);
        else
            *out = valid == 0 ? '?' : ' ';
        out += written;
        room -= written;
        in += step;
        size -= step;
    }
    *out = '\0';
}
