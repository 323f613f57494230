/* SPDX-License-Identifier: MIT */
/* Converts error codes to exceptions; no other file does. All functions need the GIL. */
#ifndef AX_EMBED_FAILURE_H
#define AX_EMBED_FAILURE_H

#include "embed/binding.h"

/* Sets DisconnectError, saying why the connection is not connected. Returns NULL. */
PyObject *ax_raise_disconnected(struct ax_module *module, struct ax_connection *connection);

/*
 * Replaces the exception that is set by OperationError("<what> failed due to <it>"), with it as cause. Exceptions that
 * do not derive from Exception (KeyboardInterrupt, SystemExit) are kept.
 */
void ax_raise_operation_failed(struct ax_module *module, const char *what);

/* Sets the exception for a code of protocol/ or a negative errno that an operation of ours returned. Returns NULL. */
PyObject *ax_raise_code(struct ax_module *module, struct ax_connection *connection, int code);

/*
 * Sets OperationError for AX_ETOOLARGE: what is too large, and what helps. `operation` and `payload` are those of the
 * request; `operation` is NULL for a result. Returns NULL.
 */
PyObject *ax_raise_too_large(struct ax_module *module, struct ax_connection *connection,
                             const struct ax_operation *operation, const struct ax_payload *payload);

/*
 * The fatal error of a connection as an exception: a new reference; None when there is none; NULL with an exception
 * set.
 */
PyObject *ax_fatal_error(struct ax_module *module, struct ax_connection *connection);

/* Type and message of an exception in one line, as str; a new reference, or NULL with an exception set. */
PyObject *ax_describe(struct ax_module *module, PyObject *error);

#endif
