/* SPDX-License-Identifier: MIT */
/*
 * What a thread is doing for which connection: running a call, pickling or unpickling.
 *
 * Pickles name functions of the package (across._get_obj, across._make_proxy); those find their connection here. Scopes
 * nest, since a pickle may run anything, a call of another connection included. They live on the stack, one thread
 * each, under the GIL.
 */
#ifndef AX_EMBED_SCOPE_H
#define AX_EMBED_SCOPE_H

#include <stddef.h>
#include <stdint.h>

#include "embed/connection.h"

enum ax_scope_mode { AX_SCOPE_CALL, AX_SCOPE_PICKLE, AX_SCOPE_UNPICKLE };

struct ax_scope {
    struct ax_connection *connection; /* borrowed from whoever opened the scope */
    enum ax_scope_mode mode;
    uint64_t call; /* CALL: the id of the peer's call */
    uint64_t
        *ids; /* PICKLE: objects entered into our table. UNPICKLE: objects of the peer that became handles. Owned */
    size_t count;
    size_t capacity;
    struct ax_scope *outer;
};

/* Opens a scope in this thread. ax_scope_leave() must follow in the same thread, in reverse order. */
void ax_scope_enter(struct ax_scope *scope, struct ax_connection *connection, enum ax_scope_mode mode);

/* Closes the scope; its ids stay, until ax_scope_fini(). */
void ax_scope_leave(struct ax_scope *scope);
void ax_scope_fini(struct ax_scope *scope);

/* The innermost scope of this thread, or NULL. */
struct ax_scope *ax_scope_current(void);

/*
 * What to say as struct ax_operation.within: the id of the call that this thread serves for the connection, plus one;
 * or 0.
 */
uint64_t ax_scope_within(const struct ax_connection *connection);

/* Notes an id. 0 or AX_ENOMEM. */
int ax_scope_add(struct ax_scope *scope, uint64_t id);

#endif
