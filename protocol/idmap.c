/* SPDX-License-Identifier: MIT */
#include "protocol/idmap.h"

#include <stdlib.h>

#include "protocol/error.h"

/* Eight slots are 128 bytes, enough for a connection with a few calls at a time. */
#define CAPACITY_MIN 8

struct ax_idmap_slot {
    uint64_t id;
    void *value; /* NULL: the slot is empty */
};

void ax_idmap_init(struct ax_idmap *map)
{
    *map = (struct ax_idmap){0};
}

/*
 * The home slot of id, where its search begins. Fibonacci hashing: the high bits of the product depend on all bits of
 * the id.
 */
static size_t home(const struct ax_idmap *map, uint64_t id)
{
    return (size_t)(id * 0x9e3779b97f4a7c15u >> 32) & (map->capacity - 1);
}

static size_t after(const struct ax_idmap *map, size_t index)
{
    return (index + 1) & (map->capacity - 1);
}

/* The slot that holds id, or the empty one where it would go. The invariant guarantees an empty one. */
static struct ax_idmap_slot *find(const struct ax_idmap *map, uint64_t id)
{
    size_t index = home(map, id);

    while (map->slots[index].value != NULL && map->slots[index].id != id)
        index = after(map, index);
    return &map->slots[index];
}

/* Rehashes all entries into slots of another capacity, which is large enough. */
static int resize(struct ax_idmap *map, size_t capacity)
{
    struct ax_idmap old = *map;
    struct ax_idmap_slot *slots = calloc(capacity, sizeof *slots);

    if (slots == NULL)
        return AX_ENOMEM;

    map->slots = slots;
    map->capacity = capacity;
    map->cursor = 0;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL)
            *find(map, old.slots[i].id) = old.slots[i];
    }
    free(old.slots);
    return 0;
}

int ax_idmap_put(struct ax_idmap *map, uint64_t id, void *value)
{
    if (map->count + 1 > map->capacity / 4 * 3) {
        int error = resize(map, map->capacity > 0 ? map->capacity * 2 : CAPACITY_MIN);
        if (error != 0)
            return error;
    }
    *find(map, id) = (struct ax_idmap_slot){id, value};
    map->count++;
    return 0;
}

void *ax_idmap_get(const struct ax_idmap *map, uint64_t id)
{
    return map->count > 0 ? find(map, id)->value : NULL;
}

void *ax_idmap_replace(struct ax_idmap *map, uint64_t id, void *value)
{
    if (map->count == 0)
        return NULL;
    struct ax_idmap_slot *slot = find(map, id);
    void *old = slot->value;
    if (old != NULL)
        slot->value = value;
    return old;
}

/*
 * Empties a slot, and moves entries of the same run back so that none is cut off from its home by the gap: an entry may
 * fill the gap unless its home lies cyclically between the gap and itself.
 */
static void remove_at(struct ax_idmap *map, size_t gap)
{
    size_t mask = map->capacity - 1;

    for (size_t i = after(map, gap); map->slots[i].value; i = after(map, i)) {
        size_t from_home = (i - home(map, map->slots[i].id)) & mask;
        if (from_home >= ((i - gap) & mask)) {
            map->slots[gap] = map->slots[i];
            gap = i;
        }
    }
    map->slots[gap].value = NULL;
    map->count--;
}

/*
 * Halves the map when seven eighths of it are empty: far enough from the threshold for growing that the two do not
 * alternate.
 */
static void shrink(struct ax_idmap *map)
{
    if (map->capacity > CAPACITY_MIN && map->count <= map->capacity / 8)
        (void)resize(map, map->capacity / 2); /* without memory it stays as it is */
}

void *ax_idmap_take(struct ax_idmap *map, uint64_t id)
{
    if (map->count == 0)
        return NULL;
    struct ax_idmap_slot *slot = find(map, id);
    void *value = slot->value;
    if (value != NULL) {
        remove_at(map, (size_t)(slot - map->slots));
        shrink(map);
    }
    return value;
}

void *ax_idmap_take_any(struct ax_idmap *map)
{
    if (map->count == 0)
        return NULL;
    /* The cursor stays at the slot that it empties: an entry behind it may have moved there. */
    while (map->slots[map->cursor].value == NULL)
        map->cursor = after(map, map->cursor);
    void *value = map->slots[map->cursor].value;
    remove_at(map, map->cursor);
    shrink(map);
    return value;
}

void ax_idmap_fini(struct ax_idmap *map)
{
    free(map->slots);
    *map = (struct ax_idmap){0};
}
