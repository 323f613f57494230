/* SPDX-License-Identifier: MIT */
#include "daemon/base/string_list.h"

#include <stdlib.h>
#include <string.h>

int ax_string_list_add(struct ax_string_list *texts, const char *text)
{
    char **items = realloc(texts->items, (texts->count + 2) * sizeof *items);

    if (items == NULL)
        return -1;
    texts->items = items;
    items[texts->count] = strdup(text);
    if (items[texts->count] == NULL)
        return -1;
    items[++texts->count] = NULL;
    return 0;
}

void ax_string_list_fini(struct ax_string_list *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct ax_string_list){0};
}
