/* SPDX-License-Identifier: MIT */
/*
 * A map from 64-bit ids to pointers: the calls that wait for a result, the objects that a peer holds.
 *
 * Open addressing with linear probing and backward-shift deletion: no tombstones, so a map that has seen a million ids
 * costs what its present ones cost, and shrinks as they go. Ids are spread by a multiplicative hash, since peers choose
 * some of them. Not thread-safe: the owner's lock guards it.
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
    size_t cursor; /* where ax_idmap_take_any() looks first */
};

void ax_idmap_init(struct ax_idmap *map);

/* Adds an id that is not in the map. `value` is borrowed and not NULL. AX_ENOMEM leaves the map as it was. */
int ax_idmap_put(struct ax_idmap *map, uint64_t id, void *value);

/* The value of id, or NULL. */
void *ax_idmap_get(const struct ax_idmap *map, uint64_t id);

/*
 * Puts another value, not NULL, in the place of id's and returns the old one; NULL, and nothing done, without the id.
 */
void *ax_idmap_replace(struct ax_idmap *map, uint64_t id, void *value);

/* Removes id and returns its value, or NULL. Never fails: when memory to shrink is short, it does not shrink. */
void *ax_idmap_take(struct ax_idmap *map, uint64_t id);

/* Any entry, removed from the map, or NULL when the map is empty: for emptying it in one linear walk overall. */
void *ax_idmap_take_any(struct ax_idmap *map);

/* Frees the map's own memory, not the values. */
void ax_idmap_fini(struct ax_idmap *map);

#endif
