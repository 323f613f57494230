/* SPDX-License-Identifier: MIT */
/*
 * Pickling and unpickling with a connection in scope: where values leave and enter the interpreter. With the GIL.
 */
#ifndef AX_EMBED_MARSHAL_H
#define AX_EMBED_MARSHAL_H

#include "embed/binding.h"
#include "embed/scope.h"

/* A value that is ready to be sent. The references are in the object table from here on. */
struct ax_pickled {
    PyObject *bytes;                       /* the pickle in one piece; or NULL: */
    struct ax_segmented_pickle *segmented; /* in several */
    struct ax_scope scope;                 /* ids: the references */
    struct ax_buffer *buffers;
    size_t buffer_count;
    uint64_t *kinds;
    struct ax_buffer one; /* what buffers points to when it is one */
};

/*
 * Pickles a value: 0; or -1 with pickle's own exception set, and then nothing is left to undo. Large objects in it are
 * not copied but sent from their memory. `waits`: the caller goes on when the peer has got it all, so that bytearrays
 * may be locked until then.
 */
int ax_pickle(struct ax_module *module, struct ax_connection *connection, PyObject *value, bool waits,
              struct ax_pickled *pickled);

/* A payload for the session, once; `pickled` must live until the session has taken its buffers. 0 or AX_ENOMEM. */
int ax_pickled_payload(struct ax_pickled *pickled, struct ax_connection *connection, struct ax_payload *payload);

/*
 * Frees what was pickled, and buffers that nobody took. Unless it was sent, the references leave the object table
 * again.
 */
void ax_pickled_fini(struct ax_pickled *pickled, bool sent);

/*
 * Makes the value of a message from its buffers, which it takes: an exception where it is a record, a proxy where it
 * describes an object of the peer. References that do not become handles are released, whether it succeeds or not. A
 * new reference; or NULL with the exception set that unpickling raised.
 */
PyObject *ax_unpickle(struct ax_module *module, struct ax_connection *connection, struct ax_message *message);

/* Enters an object into our table. 0; or -1 with an exception set. */
int ax_register(struct ax_module *module, struct ax_connection *connection, PyObject *object, uint64_t *id);

/*
 * The object with this id: a new reference; or NULL with KeyError set, or DisconnectError when the connection has
 * ended.
 */
PyObject *ax_look_up(struct ax_module *module, struct ax_connection *connection, uint64_t id);

/* Takes an object out again that the peer will never hear of. */
void ax_unregister(struct ax_connection *connection, uint64_t id);

/* Drops objects that were taken out of the table, and frees the list. */
void ax_drop_objects(struct ax_object *objects);

#endif
