/* SPDX-License-Identifier: MIT */
#include "daemon/base/string_list.h"

#include <stdlib.h>
#include <string.h>

int ax_texts_add(struct ax_texts *texts, const char *text)
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

void ax_texts_fini(struct ax_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct ax_texts){0};
}
