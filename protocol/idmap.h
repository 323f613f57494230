/* SPDX-License-Identifier: MIT */
/*
 * A map from 64-bit ids to pointers: calls that wait for a result, objects that a peer holds.
 *
 * Open addressing with linear probing and backward-shift deletion: there are no tombstones, so the cost depends only on
 * the ids present, and the map shrinks as ids are removed. Ids are hashed by multiplication, since peers choose some of
 * them. Not thread-safe: the owner's lock guards it.
 */
#ifndef AX_PROTOCOL_IDMAP_H
#define AX_PROTOCOL_IDMAP_H

#include <stddef.h>
#include <stdint.h>

struct ax_idmap_slot;

/* Invariant: count <= capacity * 3/4; capacity is 0 or a power of two. All zero is the empty map. */
struct ax_idmap {
    struct ax_idmap_slot *slots;
    size_t capacity;
    size_t count;
    size_t cursor; /* where ax_idmap_take_any() starts */
};

void ax_idmap_init(struct ax_idmap *map);

/* Adds an id that is not in the map. `value` is borrowed and not NULL. AX_ENOMEM leaves the map as it was. */
int ax_idmap_put(struct ax_idmap *map, uint64_t id, void *value);

/* The value of id, or NULL. */
void *ax_idmap_get(const struct ax_idmap *map, uint64_t id);

/*
 * Replaces the value of id, by one that is not NULL, and returns the old one; without the id, NULL, and nothing is
 * done.
 */
void *ax_idmap_replace(struct ax_idmap *map, uint64_t id, void *value);

/* Removes id and returns its value, or NULL. Never fails: if memory is short, it does not shrink. */
void *ax_idmap_take(struct ax_idmap *map, uint64_t id);

/*
 * Removes any entry and returns its value, or NULL when the map is empty. Emptying the map this way takes linear time
 * overall.
 */
void *ax_idmap_take_any(struct ax_idmap *map);

/* Frees the map's own memory, not the values. */
void ax_idmap_fini(struct ax_idmap *map);

#endif
