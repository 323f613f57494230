/* SPDX-License-Identifier: MIT */
/*
 * Memory for large bodies: whole large pages, and for a moment those that were used last.
 *
 * What makes large memory slow is that the kernel clears it before it gives it: that takes nearly as long as to fill
 * it. So the last block that was given back waits for the next body, for a second; streams of large arrays are
 * received into the same few blocks again and again. An idle process has none.
 */
#ifndef AX_EMBED_BLOCKS_H
#define AX_EMBED_BLOCKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "embed/executor.h"
#include "embed/loop.h"
#include "protocol/buffer.h"

#define AX_BLOCKS_KEEP_MS 1000
/* A larger block is not kept. */
#define AX_BLOCKS_KEPT_MAX (256u * 1024u * 1024u)

struct ax_block;

/* Part of the engine. `lock`, a leaf, guards what follows it. */
struct ax_blocks {
    struct ax_loop *loop; /* both borrowed */
    struct ax_executor *executor;
    struct ax_task watch; /* has the loop look after the spare one */
    uv_timer_t trim;      /* frees it; the loop's thread only */
    bool has_timer;       /* `trim` is initialised; likewise */
    pthread_mutex_t lock;
    struct ax_block *spare;
    uint64_t since; /* ms: when it became that */
    bool watched;   /* the loop does look after it, or is going to */
};

/* The process's only one, until _fini; in a child of a fork that of the parent counts no more. */
void ax_blocks_init(struct ax_blocks *blocks, struct ax_loop *loop, struct ax_executor *executor);

/* The loop and the executor have stopped. */
void ax_blocks_fini(struct ax_blocks *blocks);

/*
 * An empty buffer with room for `size` bytes, which costs nothing before it is filled. False when there is none. Any
 * thread; the buffer may outlive all of these.
 */
bool ax_blocks_take(struct ax_blocks *blocks, uint64_t size, struct ax_buffer *buffer);

/* Asks the kernel for large pages in memory that is about to be filled. */
void ax_blocks_prepare(void *memory, size_t size);

#endif
