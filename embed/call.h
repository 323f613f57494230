/* SPDX-License-Identifier: MIT */
/*
 * Calls and operations at the peer, from pickling to the result. All functions need the GIL, and release it while they
 * wait.
 */
#ifndef AX_EMBED_CALL_H
#define AX_EMBED_CALL_H

#include "embed/binding.h"

/* Each returns a new reference, or NULL with an exception set: that of the call, or one of the connection. */

/* Runs func(*args, **kwargs) at the peer; kwargs may be NULL. */
PyObject *ax_call(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                  PyObject *kwargs);

/* The same, but the result stays at the peer: returns a proxy for it. With any peer. */
PyObject *ax_create(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                    PyObject *kwargs);

/* Copies a value to the peer and returns a proxy for the copy. With any peer. */
PyObject *ax_replicate(struct ax_module *module, struct ax_connection *connection, PyObject *value);

/* Whether the peer supports the messages that the next two functions send. The connection is running, or has been. */
bool ax_has_operations(const struct ax_connection *connection);

/* A copy of an object of the peer. */
PyObject *ax_copy(struct ax_module *module, struct ax_connection *connection, uint64_t id);

/* Calls a method of an object of the peer; module->same_object when its result is that object. `name` is a str. */
PyObject *ax_invoke(struct ax_module *module, struct ax_connection *connection, uint64_t id, PyObject *name,
                    PyObject *args, PyObject *kwargs);

/* Blocks until the connection is in this phase or a later one. 0; or -1 with an exception set, raised by a signal
 * handler. */
int ax_wait_phase(struct ax_connection *connection, enum ax_phase phase);

#endif
