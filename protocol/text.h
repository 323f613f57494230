/* SPDX-License-Identifier: MIT */
/* Text on the wire: cut without splitting a character, and sanitized if it comes from a peer. */
#ifndef AX_PROTOCOL_TEXT_H
#define AX_PROTOCOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Size of the longest prefix of valid UTF-8 text that has at most `max` bytes and ends between characters. */
size_t ax_text_cut(const char *text, size_t size, size_t max);

/*
 * Size of the character at the beginning of `size` bytes (at least 1), or 0 if it is not valid UTF-8. `is_plain`: it
 * may be displayed as it is. Others are control characters (C0 and C1, which terminals obey), line and paragraph
 * separators, and format characters that are invisible or change the direction of the text around them.
 */
size_t ax_text_next(const void *text, size_t size, bool *is_plain);

/*
 * Copies `size` arbitrary bytes into `room` bytes (at least 1) as one line of UTF-8 with a final NUL: a byte that is
 * not UTF-8 becomes '?', a character that is not plain a space, and what does not fit is cut between characters.
 */
void ax_text_copy(char *out, size_t room, const void *text, size_t size);

#endif
