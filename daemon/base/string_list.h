/* SPDX-License-Identifier: MIT */
/* A list of texts that grows at its end. */
#ifndef AX_DAEMON_TEXTS_H
#define AX_DAEMON_TEXTS_H

#include <stddef.h>

/* Owned; NULL-terminated once it has one. All zero is the empty list. */
struct ax_texts {
    char **items;
    size_t count;
};

/* Appends a copy of the text. 0, or -1 when there is no memory. */
int ax_texts_add(struct ax_texts *texts, const char *text);

/* The list is empty after it. */
void ax_texts_fini(struct ax_texts *texts);

#endif
