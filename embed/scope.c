/* SPDX-License-Identifier: MIT */
#include "embed/scope.h"

#include <stdlib.h>

static _Thread_local struct ax_scope *innermost;

void ax_scope_enter(struct ax_scope *scope, struct ax_connection *connection, enum ax_scope_mode mode)
{
    *scope = (struct ax_scope){.connection = connection, .mode = mode, .outer = innermost};
    innermost = scope;
}

void ax_scope_leave(struct ax_scope *scope)
{
    innermost = scope->outer;
}

void ax_scope_fini(struct ax_scope *scope)
{
    free(scope->ids);
    scope->ids = NULL;
    scope->count = scope->capacity = 0;
}

struct ax_scope *ax_scope_current(void)
{
    return innermost;
}

uint64_t ax_scope_within(const struct ax_connection *connection)
{
    for (const struct ax_scope *scope = innermost; scope != NULL; scope = scope->outer)
        if (scope->connection == connection && scope->mode == AX_SCOPE_CALL)
            return scope->call + 1;
    return 0;
}

int ax_scope_add(struct ax_scope *scope, uint64_t id)
{
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity > 0 ? scope->capacity * 2 : 8;
        uint64_t *ids = realloc(scope->ids, capacity * sizeof *ids);
        if (ids == NULL)
            return AX_ENOMEM;
        scope->ids = ids;
        scope->capacity = capacity;
    }
    scope->ids[scope->count++] = id;
    return 0;
}
