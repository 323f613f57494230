/* SPDX-License-Identifier: MIT */
/* Marshalling: pickling and unpickling for a connection. All functions need the GIL. */
#ifndef AX_EMBED_MARSHAL_H
#define AX_EMBED_MARSHAL_H

#include "embed/binding.h"
#include "embed/scope.h"

/* A value that is ready to be sent. Its references are already in the object table. */
struct ax_pickled {
    PyObject *bytes;                       /* the pickle in one piece; or NULL, and then `segmented` */
    struct ax_segmented_pickle *segmented; /* the pickle in segments; or NULL */
    struct ax_scope scope;                 /* ids: the references */
    struct ax_buffer *buffers;
    size_t buffer_count;
    uint64_t *kinds;
    struct ax_buffer one; /* storage of `buffers` if there is only one */
};

/*
 * Pickles a value: 0; or -1 with pickle's own exception set, and nothing to clean up. Large objects are sent from their
 * memory, without a copy. `waits`: the caller waits until the peer has received everything, so that bytearrays may be
 * locked until then.
 */
int ax_pickle(struct ax_module *module, struct ax_connection *connection, PyObject *value, bool waits,
              struct ax_pickled *pickled);

/* The payload for the session, once; `pickled` must live until the session has taken the buffers. 0 or AX_ENOMEM. */
int ax_pickled_payload(struct ax_pickled *pickled, struct ax_connection *connection, struct ax_payload *payload);

/* Frees it, and buffers that were not taken. Unless `sent`, the references are removed from the object table again. */
void ax_pickled_fini(struct ax_pickled *pickled, bool sent);

/*
 * Unpickles the value of a message from its buffers, which it takes: an exception for an exception record, a proxy for
 * a reference. References that did not become handles are released, also on failure. A new reference; or NULL with the
 * exception set that unpickling raised.
 */
PyObject *ax_unpickle(struct ax_module *module, struct ax_connection *connection, struct ax_message *message);

/* Adds an object to our table. 0; or -1 with an exception set. */
int ax_register(struct ax_module *module, struct ax_connection *connection, PyObject *object, uint64_t *id);

/*
 * The object with this id: a new reference; or NULL with KeyError set, or DisconnectError when the connection has
 * ended.
 */
PyObject *ax_look_up(struct ax_module *module, struct ax_connection *connection, uint64_t id);

/* Removes an object again whose id the peer has not been sent. */
void ax_unregister(struct ax_connection *connection, uint64_t id);

/* Drops objects that were taken out of the table, and frees the list. */
void ax_drop_objects(struct ax_object *objects);

#endif
