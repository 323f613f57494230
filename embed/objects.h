/* SPDX-License-Identifier: MIT */
/*
 * The object table of a connection: the objects that its peer may refer to, by id.
 *
 * An object is added while a message that refers to it is pickled (the caller holds the GIL), and doomed when the peer
 * releases it (in the loop, without the GIL). A doomed object can be looked up until it is removed, since messages that
 * arrived before the release may refer to it. Objects are also removed with the GIL, since dropping a value runs its
 * destructor.
 *
 * Independent of Python: values are pointers that the table does not dereference. A pointer that ax_objects_get()
 * returns is valid while the caller holds the GIL. The lock inside is a leaf, held for a few instructions.
 */
#ifndef AX_EMBED_OBJECTS_H
#define AX_EMBED_OBJECTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/idmap.h"

#define AX_OBJECTS_MAX 1000000 /* objects that one peer may hold: some 100 MB of table and small objects */

struct ax_object {
    uint64_t id;
    void *value;
    bool doomed;
    struct ax_object *next; /* in a list of doomed objects, or of objects taken out */
};

struct ax_objects {
    pthread_mutex_t lock;
    struct ax_idmap map; /* of struct ax_object, owned */
    uint64_t next_id;
};

void ax_objects_init(struct ax_objects *objects);

/* Adds a value under a fresh id. AX_EFULL: the peer holds AX_OBJECTS_MAX already. AX_ENOMEM. */
int ax_objects_put(struct ax_objects *objects, void *value, uint64_t *id);

/* The value, or NULL. */
void *ax_objects_get(struct ax_objects *objects, uint64_t id);

/*
 * The peer has released the object: adds it to the list. AX_ERANGE: there is no such object, or it is doomed already.
 */
int ax_objects_doom(struct ax_objects *objects, uint64_t id, struct ax_object **list);

/*
 * Removes the objects of a list from the table, if they are still in it. The caller then owns the list: values to drop,
 * nodes to free().
 */
void ax_objects_take(struct ax_objects *objects, struct ax_object *list);

/*
 * Removes an object by id; NULL if there is none, or if it is doomed and so belongs to the list that it is in: the peer
 * may have guessed its id. Owned by the caller, to drop and free().
 */
struct ax_object *ax_objects_take_id(struct ax_objects *objects, uint64_t id);

/*
 * Removes any object that is not doomed, and forgets doomed ones, which belong to the list that they are in. NULL when
 * the table is empty.
 */
struct ax_object *ax_objects_take_any(struct ax_objects *objects);

size_t ax_objects_count(struct ax_objects *objects);

/* The table must be empty. */
void ax_objects_fini(struct ax_objects *objects);

#endif
