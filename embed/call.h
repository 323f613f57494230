/* SPDX-License-Identifier: MIT */
/*
 * Calls: ours, from pickling to the result, and the peer's, from unpickling to the answer. This is where a message becomes a
 * function call, and where its value becomes a message again.
 */
#ifndef AX_EMBED_CALL_H
#define AX_EMBED_CALL_H

#include "embed/binding.h"

/* Runs func(*args, **kwargs) at the peer; kwargs may be NULL. A new reference, or NULL with an exception set. With the GIL, which
 * it gives back while it waits. */
PyObject *ax_call(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                  PyObject *kwargs);

/* ax_connection_ops.serve: runs a request of the peer. Without the GIL. */
void ax_serve(struct ax_request *request);

/* Blocks until the connection is in this phase or a later one. 0; or -1 with an exception set, raised by a signal
 * handler. With the GIL, which it gives back while it waits. */
int ax_wait_phase(struct ax_connection *connection, enum ax_phase phase);

#endif
