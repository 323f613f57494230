/* SPDX-License-Identifier: MIT */
#include "embed/blocks.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "embed/fork.h"

/* Size of a huge page where the system has them; elsewhere only the unit of rounding. */
#define LARGE_PAGE (2u * 1024u * 1024u)

struct ax_block {
    struct ax_job job;        /* unmaps it */
    struct ax_blocks *blocks; /* it returns to these, if they still exist */
    unsigned generation;      /* generation of the process that mapped it (fork.h) */
    void *memory;             /* start of the mapping */
    size_t mapped;
    unsigned char *data; /* aligned to a huge page */
    size_t size;
};

/* This process's, or those of the process that it was forked from; NULL: none. */
static _Atomic(struct ax_blocks *) current;

static uintptr_t round_down(uintptr_t address)
{
    return address / LARGE_PAGE * LARGE_PAGE;
}

static uintptr_t round_up(uintptr_t address)
{
    return round_down(address + LARGE_PAGE - 1);
}

void ax_blocks_prepare(void *memory, size_t size)
{
    uintptr_t begin = round_up((uintptr_t)memory);
    uintptr_t end = round_down((uintptr_t)memory + size);

    if (begin < end)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* a hint: failure is harmless */
}

/* ---- blocks ---- */

static void unmap(struct ax_block *block)
{
    if (block == NULL)
        return;
    munmap(block->memory, block->mapped);
    free(block);
}

static void run_unmap(struct ax_job *job)
{
    unmap((struct ax_block *)job);
}

/*
 * Unmaps it in a service: unmapping takes long, and this may be the loop's thread, or one that holds the GIL. NULL is
 * fine.
 */
static void unmap_later(struct ax_block *block)
{
    if (block == NULL)
        return;
    block->job.run = run_unmap;
    ax_executor_submit_service(block->blocks->executor, &block->job);
}

static struct ax_block *map(struct ax_blocks *blocks, size_t size)
{
    struct ax_block *block = malloc(sizeof *block);

    if (block == NULL)
        return NULL;
    size = round_up(size);
    *block = (struct ax_block){
        .blocks = blocks, .generation = ax_fork_generation, .mapped = size + LARGE_PAGE, .size = size};
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    block->memory = mmap(NULL, block->mapped, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (block->memory == MAP_FAILED) {
        free(block);
        return NULL;
    }
    block->data = (unsigned char *)round_up((uintptr_t)block->memory);
    ax_blocks_prepare(block->data, size);
    return block;
}

/* ---- the spare one ---- */

/* Takes the spare block if it has been unused for this long. */
static struct ax_block *take_spare(struct ax_blocks *blocks, uint64_t ms)
{
    pthread_mutex_lock(&blocks->lock);
    struct ax_block *spare = ax_loop_now() - blocks->since >= ms ? blocks->spare : NULL;
    if (spare != NULL)
        blocks->spare = NULL;
    pthread_mutex_unlock(&blocks->lock);
    return spare;
}

static void watch_on(struct ax_blocks *blocks, uint64_t ms);

static void on_trim(uv_timer_t *timer)
{
    struct ax_blocks *blocks = timer->data;

    unmap_later(take_spare(blocks, AX_BLOCKS_KEEP_MS));
    pthread_mutex_lock(&blocks->lock);
    blocks->watched = blocks->spare != NULL;
    uint64_t age = ax_loop_now() - blocks->since;
    bool watched = blocks->watched;
    pthread_mutex_unlock(&blocks->lock);
    if (watched)
        watch_on(blocks, age < AX_BLOCKS_KEEP_MS ? AX_BLOCKS_KEEP_MS - age : 1);
}

static void watch_on(struct ax_blocks *blocks, uint64_t ms)
{
    if (!blocks->has_timer)
        uv_timer_init(&blocks->loop->uv, &blocks->trim);
    blocks->has_timer = true;
    blocks->trim.data = blocks;
    uv_update_time(&blocks->loop->uv);
    uv_timer_start(&blocks->trim, on_trim, ms, 0);
}

static void run_watch(struct ax_task *task)
{
    struct ax_blocks *blocks = (struct ax_blocks *)((char *)task - offsetof(struct ax_blocks, watch));

    watch_on(blocks, AX_BLOCKS_KEEP_MS);
}

void ax_blocks_init(struct ax_blocks *blocks, struct ax_loop *loop, struct ax_executor *executor)
{
    *blocks = (struct ax_blocks){.loop = loop, .executor = executor};
    ax_task_init(&blocks->watch, run_watch);
    pthread_mutex_init(&blocks->lock, NULL);
    atomic_store(&current, blocks);
}

void ax_blocks_fini(struct ax_blocks *blocks)
{
    atomic_store(&current, NULL);
    unmap(blocks->spare);
    pthread_mutex_destroy(&blocks->lock);
}

/* Keeps this block as the spare one, in place of an older one. */
static void keep(struct ax_block *block)
{
    struct ax_blocks *blocks = block->blocks;

    pthread_mutex_lock(&blocks->lock);
    struct ax_block *before = blocks->spare;
    bool watched = blocks->watched;
    blocks->spare = block;
    blocks->since = ax_loop_now();
    blocks->watched = true;
    pthread_mutex_unlock(&blocks->lock);
    if (!watched)
        ax_loop_post(blocks->loop, &blocks->watch);
    unmap_later(before);
}

static void release(void *owner)
{
    struct ax_block *block = owner;
    bool is_home = block->blocks == atomic_load(&current) && !ax_fork_is_past(block->generation);

    if (block->size <= AX_BLOCKS_KEPT_MAX && is_home)
        keep(block);
    else
        unmap(block);
}

bool ax_blocks_take(struct ax_blocks *blocks, uint64_t size, struct ax_buffer *buffer)
{
    if (size > SIZE_MAX - 2 * LARGE_PAGE)
        return false;
    struct ax_block *block = take_spare(blocks, 0);
    if (block != NULL && (block->size < size || block->size / 2 > round_up(size))) { /* too small, or far too large */
        unmap_later(block);
        block = NULL;
    }
    if (block == NULL)
        block = map(blocks, (size_t)size);
    if (block == NULL)
        return false;
    *buffer = (struct ax_buffer){.data = block->data, .capacity = (size_t)size, .release = release, .owner = block};
    return true;
}
