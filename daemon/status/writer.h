/* SPDX-License-Identifier: MIT */
/*
 * Text that grows as it is written, up to a limit.
 *
 * Errors latch: later writes are ignored, so it is enough to check at the end. Used by one thread at a time.
 */
#ifndef AX_DAEMON_STATUS_WRITER_H
#define AX_DAEMON_STATUS_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/buffer.h"

/* Invariant: text.size < limit. */
struct ax_writer {
    struct ax_buffer text; /* not NUL-terminated */
    size_t limit;          /* bytes */
    bool has_failed;       /* out of memory, or the limit was reached: the text is incomplete */
};

void ax_writer_init(struct ax_writer *writer, size_t limit);
void ax_writer_fini(struct ax_writer *writer);

__attribute__((format(printf, 2, 3))) void ax_writer_print(struct ax_writer *writer, const char *format, ...);

void ax_writer_add(struct ax_writer *writer, const void *data, size_t size);

/* Writes arbitrary bytes as one line of UTF-8: see ax_text_copy(). */
void ax_writer_add_line(struct ax_writer *writer, const void *data, size_t size);

#endif
