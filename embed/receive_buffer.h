/* SPDX-License-Identifier: MIT */
/*
 * Objects that large bodies are received into: bytes and bytearrays, made when enough has come of them.
 *
 * Two have a share in such an object until it is a value: the buffer that the session fills, and whoever copies what
 * had come before there was an object.
 */
#ifndef AX_EMBED_RECEIVE_BUFFER_H
#define AX_EMBED_RECEIVE_BUFFER_H

#include "embed/binding.h"

/* Operations of connections: struct ax_connection_ops. The first takes the GIL. */
bool ax_receive_buffer_allocate(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                                struct ax_buffer *memory);
void ax_receive_buffer_copied(void *owner);

/*
 * The object that this buffer, which is complete, was received into: a new reference, and the buffer is empty then.
 * NULL when it is an ordinary buffer. Needs the GIL, which it gives back if it has to wait for the copy.
 */
PyObject *ax_receive_buffer_take(struct ax_buffer *buffer);

#endif
