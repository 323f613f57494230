/* SPDX-License-Identifier: MIT */
/*
 * Memory for large bodies: blocks of huge pages. The last block that was freed is kept for reuse for a second.
 *
 * Most of the cost of fresh memory is that the kernel zeroes it, which takes nearly as long as filling it. With the
 * spare block, a stream of large arrays is received into the same few blocks. An idle process keeps none.
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
/* Larger blocks are not kept. */
#define AX_BLOCKS_KEPT_MAX (256u * 1024u * 1024u)

struct ax_block;

/* Part of the engine. `lock`, a leaf, guards what follows it. */
struct ax_blocks {
    struct ax_loop *loop; /* both borrowed */
    struct ax_executor *executor;
    struct ax_task watch; /* starts the timer in the loop */
    uv_timer_t trim;      /* frees the spare block; the loop's thread only */
    bool has_timer;       /* `trim` is initialised; likewise */
    pthread_mutex_t lock;
    struct ax_block *spare;
    uint64_t since; /* ms: when it became spare */
    bool watched;   /* the timer is running, or is about to be started */
};

/* At most one in a process at a time, until _fini; a child of a fork has its own. */
void ax_blocks_init(struct ax_blocks *blocks, struct ax_loop *loop, struct ax_executor *executor);

/* Only when the loop and the executor have stopped. */
void ax_blocks_fini(struct ax_blocks *blocks);

/*
 * An empty buffer with a capacity of `size` bytes, whose pages take memory only once they are written. False when
 * memory is short. Any thread; the buffer may outlive the blocks.
 */
bool ax_blocks_take(struct ax_blocks *blocks, uint64_t size, struct ax_buffer *buffer);

/* Asks the kernel for huge pages for memory that is about to be filled. */
void ax_blocks_prepare(void *memory, size_t size);

#endif
