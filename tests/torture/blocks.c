/* SPDX-License-Identifier: MIT */
#include "blocks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define PLACES 65536u /* a scenario has some thousands of allocations; a power of two */

/* Open addressing: a place that was left keeps its site, so that a search goes on behind it. */
struct block {
    const void *memory; /* NULL: left, or never taken */
    struct site *site;  /* NULL: never taken */
};

static struct block blocks[PLACES]; /* guarded by lock */
static atomic_flag lock = ATOMIC_FLAG_INIT;

/* No mutex: threads may be in the middle of becoming one. It is held for some instructions. */
static void acquire(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        continue;
}

static void release(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static size_t first_place(const void *memory)
{
    return (size_t)(((uintptr_t)memory >> 4) * 0x9e3779b97f4a7c15u >> 40) % PLACES;
}

void blocks_add(const void *memory, struct site *site)
{
    size_t at = first_place(memory);

    acquire();
    for (size_t i = 0; i < PLACES; i++, at = (at + 1) % PLACES)
        if (blocks[at].memory == NULL) {
            blocks[at] = (struct block){memory, site};
            break;
        }
    release();
}

void blocks_remove(const void *memory)
{
    size_t at = first_place(memory);

    if (blocks[at].site == NULL)
        return; /* nearly always: it is CPython's */
    acquire();
    for (size_t i = 0; i < PLACES && blocks[at].site != NULL; i++, at = (at + 1) % PLACES)
        if (blocks[at].memory == memory) {
            blocks[at].memory = NULL;
            break;
        }
    release();
}

/* How many of these blocks are from one site: once for all of them, at the first. */
static uint32_t count_of(const struct site *site, size_t first)
{
    uint32_t count = 0;

    for (size_t i = 0; i < PLACES; i++)
        if (blocks[i].memory != NULL && blocks[i].site == site) {
            if (i < first)
                return 0;
            count++;
        }
    return count;
}

void blocks_tell(void)
{
    acquire();
    for (size_t i = 0; i < PLACES; i++) {
        uint32_t count = blocks[i].memory != NULL ? count_of(blocks[i].site, i) : 0;
        uint32_t most = count > 0 ? atomic_load(&blocks[i].site->live) : 0;

        while (count > most && !atomic_compare_exchange_weak(&blocks[i].site->live, &most, count))
            continue;
    }
    release();
}
