/* SPDX-License-Identifier: MIT */
/*
 * Bytes objects and bytearrays into which large bodies are received, allocated when enough of a body has arrived.
 *
 * Two parties share such an object until it is taken: the buffer that the session fills, and the thread that copies the
 * bytes that arrived before it was allocated.
 */
#ifndef AX_EMBED_RECEIVE_BUFFER_H
#define AX_EMBED_RECEIVE_BUFFER_H

#include "embed/binding.h"

/* Callbacks of connections: struct ax_connection_ops. The first takes the GIL. */
bool ax_receive_buffer_allocate(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                                struct ax_buffer *memory);
void ax_receive_buffer_copied(void *owner);

/*
 * Takes the object that a complete buffer was received into: a new reference, and the buffer is empty. NULL for an
 * ordinary buffer. Needs the GIL, which it releases if it has to wait for the copy.
 */
PyObject *ax_receive_buffer_take(struct ax_buffer *buffer);

#endif
