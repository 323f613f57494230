/* SPDX-License-Identifier: MIT */
/*
 * Text that crosses the wire: cut without splitting a character, and made harmless where it comes from a peer.
 */
#ifndef AX_PROTOCOL_TEXT_H
#define AX_PROTOCOL_TEXT_H

#include <stddef.h>

/* Bytes of the longest beginning of valid UTF-8 text that takes at most `max` bytes and ends between characters. */
size_t ax_text_cut(const char *text, size_t size, size_t max);

/*
 * Copies `size` bytes that may be anything into `room` bytes (at least 1) as one line of UTF-8 with a final NUL: a byte
 * that is not UTF-8 becomes '?', a control character a space, and what does not fit is cut between characters.
 */
void ax_text_copy(char *out, size_t room, const void *text, size_t size);

#endif
