/* SPDX-License-Identifier: MIT */
/*
 * The scope of a thread: for which connection it runs a call, pickles or unpickles.
 *
 * Pickles refer to functions of the package (across._get_obj, across._make_proxy), which find their connection here.
 * Scopes nest, since a pickle may run any code, including a call of another connection. They live on the stack of their
 * thread, under the GIL.
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

/* Closes the scope; its ids are kept until ax_scope_fini(). */
void ax_scope_leave(struct ax_scope *scope);
void ax_scope_fini(struct ax_scope *scope);

/* The innermost scope of this thread, or NULL. */
struct ax_scope *ax_scope_current(void);

/*
 * The value for struct ax_operation.within: the id of the call that this thread serves for the connection, plus one; or
 * 0.
 */
uint64_t ax_scope_within(const struct ax_connection *connection);

/* Adds an id. 0 or AX_ENOMEM. */
int ax_scope_add(struct ax_scope *scope, uint64_t id);

#endif
