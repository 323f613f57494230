/* SPDX-License-Identifier: MIT */
#include "daemon/process/pids.h"

#include <stdint.h>
#include <stdlib.h>

#define FIRST_CAPACITY 64u

/* Process ids are assigned in sequence: any bits will do, but runs have to be spread. */
static size_t home_of(size_t capacity, pid_t pid)
{
    return (uint32_t)pid * 2654435769u & (capacity - 1);
}

/* The slot of a process id, or the empty one where it would go. There always is an empty one. */
static struct ax_pids_slot *slot_of(const struct ax_pids *pids, pid_t pid)
{
    size_t at = home_of(pids->capacity, pid);

    while (pids->slots[at].pid != 0 && pids->slots[at].pid != pid)
        at = (at + 1) & (pids->capacity - 1);
    return &pids->slots[at];
}

static int grow(struct ax_pids *pids)
{
    size_t capacity = pids->capacity > 0 ? pids->capacity * 2 : FIRST_CAPACITY;
    struct ax_pids larger = {
        .slots = calloc(capacity, sizeof *larger.slots), .capacity = capacity, .count = pids->count};

    if (larger.slots == NULL)
        return -1;
    for (size_t i = 0; i < pids->capacity; i++)
        if (pids->slots[i].pid != 0)
            *slot_of(&larger, pids->slots[i].pid) = pids->slots[i];
    free(pids->slots);
    *pids = larger;
    return 0;
}

int ax_pids_add(struct ax_pids *pids, pid_t pid, void *value)
{
    struct ax_pids_slot *slot;

    if ((pids->count + 1) * 2 > pids->capacity && grow(pids) < 0)
        return -1;
    slot = slot_of(pids, pid);
    pids->count += slot->pid == 0;
    *slot = (struct ax_pids_slot){pid, value};
    return 0;
}

void *ax_pids_find(const struct ax_pids *pids, pid_t pid)
{
    return pids->capacity > 0 ? slot_of(pids, pid)->value : NULL;
}

/* Whether an entry at `at`, with home slot `home`, would still be found if it were moved to `hole` before it. */
static int may_move(size_t capacity, size_t home, size_t hole, size_t at)
{
    return ((at - home) & (capacity - 1)) >= ((at - hole) & (capacity - 1));
}

void *ax_pids_remove(struct ax_pids *pids, pid_t pid)
{
    struct ax_pids_slot *slot = pids->capacity > 0 ? slot_of(pids, pid) : NULL;
    void *value = slot != NULL ? slot->value : NULL;
    size_t hole, at;

    if (slot == NULL || slot->pid == 0)
        return NULL;
    hole = (size_t)(slot - pids->slots);
    for (at = (hole + 1) & (pids->capacity - 1); pids->slots[at].pid != 0; at = (at + 1) & (pids->capacity - 1))
        if (may_move(pids->capacity, home_of(pids->capacity, pids->slots[at].pid), hole, at)) {
            pids->slots[hole] = pids->slots[at];
            hole = at;
        }
    pids->slots[hole] = (struct ax_pids_slot){0};
    pids->count--;
    return value;
}

void ax_pids_fini(struct ax_pids *pids)
{
    free(pids->slots);
    *pids = (struct ax_pids){0};
}
