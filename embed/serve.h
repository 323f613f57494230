/* SPDX-License-Identifier: MIT */
/*
 * Serves requests of the peer, from unpickling to the answer. Each call has a contextvars.Context of its own, initially
 * empty.
 */
#ifndef AX_EMBED_SERVE_H
#define AX_EMBED_SERVE_H

#include "embed/binding.h"

/* ax_connection_ops.serve: runs a request, answers it, and frees it. Without the GIL. */
void ax_serve(struct ax_request *request);

/* The same in a thread that has the GIL and no exception set, and meanwhile waits for a call of its own. */
void ax_serve_within(struct ax_module *module, struct ax_request *request);

#endif
