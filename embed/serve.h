/* SPDX-License-Identifier: MIT */
/*
 * What the peer asks of us, from unpickling to the answer: here a message becomes a function call, and its value
 * becomes a message again. Each call has a contextvars.Context of its own, which is empty at first.
 */
#ifndef AX_EMBED_SERVE_H
#define AX_EMBED_SERVE_H

#include "embed/binding.h"

/* ax_connection_ops.serve: runs a request, answers it, and frees it. Without the GIL. */
void ax_serve(struct ax_request *request);

/* The same in a thread that has the GIL, and no exception set: it waits for a call of its own meanwhile. */
void ax_serve_within(struct ax_module *module, struct ax_request *request);

#endif
