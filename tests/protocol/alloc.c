/* SPDX-License-Identifier: MIT */
#include "alloc.h"

#include <malloc.h>

/* Named by the linker's --wrap: calls of malloc() come to __wrap_malloc(), and the true one is __real_malloc(). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

static unsigned countdown; /* 0: nothing fails */
static bool keeps_failing;
static bool failed;
static size_t blocks;
static size_t bytes;
static size_t largest;

static bool fails(size_t size)
{
    if (size > largest)
        largest = size;
    if (countdown == 0 || --countdown > 0)
        return false;
    failed = true;
    countdown = keeps_failing ? 1 : 0;
    return true;
}

static void *counted(void *memory)
{
    if (memory != NULL) {
        blocks++;
        bytes += malloc_usable_size(memory);
    }
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return fails(size) ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(count * size) ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (fails(size))
        return NULL;
    if (memory == NULL)
        return counted(__real_malloc(size));
    size_t before = malloc_usable_size(memory);
    void *moved = __real_realloc(memory, size);
    if (moved != NULL)
        bytes += malloc_usable_size(moved) - before;
    return moved;
}

void __wrap_free(void *memory)
{
    if (memory != NULL) {
        blocks--;
        bytes -= malloc_usable_size(memory);
    }
    __real_free(memory);
}

void alloc_fail_at(unsigned n)
{
    countdown = n;
    keeps_failing = false;
    failed = false;
}

void alloc_fail_from(unsigned n)
{
    alloc_fail_at(n);
    keeps_failing = true;
}

bool alloc_has_failed(void)
{
    return failed;
}

size_t alloc_blocks(void)
{
    return blocks;
}

size_t alloc_bytes(void)
{
    return bytes;
}

size_t alloc_largest(void)
{
    return largest;
}

void alloc_reset_largest(void)
{
    largest = 0;
}

void *plain_realloc(void *memory, size_t size)
{
    return __real_realloc(memory, size);
}

void plain_free(void *memory)
{
    __real_free(memory);
}
