/* SPDX-License-Identifier: MIT */
/* The Link type: a connection as Python sees it, and what a connection asks of Python. docs/engine.md describes it. */
#ifndef AX_EMBED_LINK_H
#define AX_EMBED_LINK_H

#include "embed/binding.h"

/* What connections do that belong to a struct ax_binding. */
extern const struct ax_connection_ops ax_link_ops;

extern PyType_Spec ax_link_spec;

/* The connection of a link, when it may be used in this process. Borrowed; NULL with an exception set. */
struct ax_connection *ax_link_connection(struct ax_link *link);

#endif
