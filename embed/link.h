/* SPDX-License-Identifier: MIT */
/*
 * The Link type, the Python interface of a connection, and the callbacks of a connection into Python. docs/engine.md
 * describes it.
 */
#ifndef AX_EMBED_LINK_H
#define AX_EMBED_LINK_H

#include "embed/binding.h"

/* The callbacks of connections whose `above` is a struct ax_binding. */
extern const struct ax_connection_ops ax_link_ops;

extern PyType_Spec ax_link_spec;

/* The connection of a link, if it may be used in this process. Borrowed; NULL with an exception set. */
struct ax_connection *ax_link_connection(struct ax_link *link);

#endif
