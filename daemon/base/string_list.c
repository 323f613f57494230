/* SPDX-License-Identifier: MIT */
#include "daemon/base/string_list.h"

#include <stdlib.h>
#include <string.h>

int ax_string_list_add(struct ax_string_list *strings, const char *text)
{
    char **items = realloc(strings->items, (strings->count + 2) * sizeof *items);

    if (items == NULL)
        return -1;
    strings->items = items;
    items[strings->count] = strdup(text);
    if (items[strings->count] == NULL)
        return -1;
    items[++strings->count] = NULL;
    return 0;
}

void ax_string_list_fini(struct ax_string_list *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct ax_string_list){0};
}
