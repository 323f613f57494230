/* SPDX-License-Identifier: MIT */
/*
 * The engine of a process: its loop, its threads, its connections. There is one, started when it is first needed.
 *
 * It knows connections only as *members*, by the functions of struct ax_member_ops, so that the engine does not depend
 * on what uses it.
 *
 * After a fork the child has none of its parent's threads: it starts an engine of its own, and the parent's connections
 * cannot be used there (see ax_engine_is_past).
 */
#ifndef AX_EMBED_ENGINE_H
#define AX_EMBED_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "embed/blocks.h"
#include "embed/executor.h"
#include "embed/fork.h"
#include "embed/loop.h"
#include "embed/spin.h"

struct ax_call_stats;
struct ax_member;

/* Operations of a member. All but unref may be called with the engine's lock. */
struct ax_member_ops {
    void (*ref)(struct ax_member *member);
    void (*unref)(struct ax_member *member);  /* called without the lock */
    void (*forked)(struct ax_member *member); /* in a child of a fork, which has one thread: closes descriptors */
};

/* A connection that has started and not finished. Embedded in it. */
struct ax_member {
    const struct ax_member_ops *ops; /* static storage */
    struct ax_member *next;          /* engine->lock */
    struct ax_member **link;         /* likewise */
};

/* Connections whose lease is not with the loop; reader.h. The loop's thread only. */
struct ax_guard {
    uv_timer_t timer;
    bool has_timer; /* it is initialised */
    struct ax_connection *first;
};

struct ax_engine {
    unsigned generation; /* of the process that it belongs to (fork.h) */
    struct ax_loop loop;
    struct ax_executor executor;
    struct ax_blocks blocks;
    struct ax_guard guard;
    struct ax_spinners spinners; /* atomic */

    pthread_mutex_t lock;      /* a leaf; guards what follows */
    struct ax_member *members; /* the engine has a reference to each */
    uint32_t connection_count; /* of them */
    uint32_t calls_running;    /* calls of peers */
    uint64_t calls_done;
    pthread_cond_t quiet;        /* connection_count and calls_running are both 0 */
    struct ax_call_stats *calls; /* borrowed: copy of the counts for others to read; or NULL */
};

/* Configuration of the engine. Before the first ax_engine_get(). */
void ax_engine_set_hooks(const struct ax_executor_hooks *hooks);
void ax_engine_set_max_threads(uint32_t max_threads); /* 0: the default */

void ax_engine_set_stats(struct ax_call_stats *calls); /* NULL: none */

/* The engine of this process, started on first use. Any thread. NULL, with errno set, when it can't be started. */
struct ax_engine *ax_engine_get(void);

/* Whether it is the engine of a process that this one was forked from: only its memory may be used then (fork.h). */
static inline bool ax_engine_is_past(const struct ax_engine *engine)
{
    return ax_fork_is_past(engine->generation);
}

/* Maintain the list and the counts. The list holds a reference to each member. */
void ax_engine_add(struct ax_engine *engine, struct ax_member *member);
void ax_engine_remove(struct ax_engine *engine, struct ax_member *member);
void ax_engine_call_begins(struct ax_engine *engine);
void ax_engine_call_ends(struct ax_engine *engine);

/*
 * Blocks until no connection is open and no call runs, for at most timeout_ms (UINT32_MAX: no limit). Returns whether
 * that was reached.
 */
bool ax_engine_wait_quiet(struct ax_engine *engine, uint32_t timeout_ms);

/* Calls `each` for every member, with a reference held and no lock. */
void ax_engine_for_each(struct ax_engine *engine, void (*each)(struct ax_member *member, void *arg), void *arg);

/*
 * Ends all threads without a job, and waits for that, so that none is about to enter the interpreter when it is
 * finalized. Later jobs still get a thread. Without the GIL.
 */
void ax_engine_quiesce(void);

/* Ends the threads of the current engine and discards it, when no work is left; for tests that check for leaks. */
void ax_engine_stop(void);

#endif
