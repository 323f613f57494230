/* SPDX-License-Identifier: MIT */
/* A list of strings that can be appended to. */
#ifndef AX_DAEMON_BASE_STRING_LIST_H
#define AX_DAEMON_BASE_STRING_LIST_H

#include <stddef.h>

/* Owned; NULL-terminated once it has an item. All zero is the empty list. */
struct ax_string_list {
    char **items;
    size_t count;
};

/* Appends a copy of the string. 0, or -1 when there is no memory. */
int ax_string_list_add(struct ax_string_list *strings, const char *text);

/* Frees the items; the list is empty afterwards. */
void ax_string_list_fini(struct ax_string_list *strings);

#endif
