/* SPDX-License-Identifier: MIT */
#include "embed/arenas.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define LARGE_PAGE ((size_t)2 * 1024 * 1024)
#define REGION_SIZE ((size_t)256 * 1024 * 1024) /* of addresses, not of memory; arenas beyond it are anywhere */

/* Addresses from `begin` on, of which those up to `next` have been given to Python. */
static struct {
    char *begin; /* of a large page; NULL: there is no region */
    char *next;
    char *end;
} region;

static PyObjectArenaAllocator usual;

static void *allocate(void *context, size_t size)
{
    (void)context;
    char *arena = region.next;
    if ((size_t)(region.end - region.next) < size || mprotect(arena, size, PROT_READ | PROT_WRITE) != 0)
        return usual.alloc(usual.ctx, size);
    region.next += size;
    return arena;
}

static void release(void *context, void *arena, size_t size)
{
    (void)context;
    if ((char *)arena >= region.begin && (char *)arena < region.end)
        munmap(arena, size);
    else
        usual.free(usual.ctx, arena, size);
}

static char *round_up(char *address)
{
    return address + (LARGE_PAGE - (uintptr_t)address % LARGE_PAGE) % LARGE_PAGE;
}

void ax_arenas_begin(void)
{
    PyObjectArenaAllocator allocator = {.alloc = allocate, .free = release};
    char *mapped = mmap(NULL, REGION_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
        return;
    region.begin = region.next = round_up(mapped);
    region.end = mapped + REGION_SIZE;
    if (region.begin > mapped)
        munmap(mapped, (size_t)(region.begin - mapped));
    PyObject_GetArenaAllocator(&usual);
    PyObject_SetArenaAllocator(&allocator);
}

void ax_arenas_end(void)
{
    if (region.begin == NULL)
        return;
    for (char *page = region.begin; (size_t)(region.next - page) >= LARGE_PAGE; page += LARGE_PAGE)
        (void)madvise(page, LARGE_PAGE, MADV_COLLAPSE); /* one that has a hole, or finds no memory, stays as it is */
    if (region.next < region.end)
        munmap(region.next, (size_t)(region.end - region.next));
    region.end = region.next;
}
