/* SPDX-License-Identifier: MIT */
#include "embed/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "embed/deadline.h"
#include "embed/call_stats.h"

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the four below; taken before any other lock */
static struct ax_engine *engine_of_process;
static struct ax_executor_hooks configured_hooks;
static uint32_t configured_threads;
static struct ax_call_stats *configured_stats;

void ax_engine_set_hooks(const struct ax_executor_hooks *hooks)
{
    pthread_mutex_lock(&start_lock);
    configured_hooks = *hooks;
    pthread_mutex_unlock(&start_lock);
}

void ax_engine_set_max_threads(uint32_t max_threads)
{
    pthread_mutex_lock(&start_lock);
    configured_threads = max_threads;
    pthread_mutex_unlock(&start_lock);
}

void ax_engine_set_stats(struct ax_call_stats *calls)
{
    pthread_mutex_lock(&start_lock);
    configured_stats = calls;
    pthread_mutex_unlock(&start_lock);
}

static struct ax_engine *engine_new(void)
{
    struct ax_engine *engine = calloc(1, sizeof *engine);

    if (engine == NULL)
        return NULL;
    engine->generation = ax_fork_generation;
    pthread_mutex_init(&engine->lock, NULL);
    ax_deadline_cond_init(&engine->quiet);
    engine->calls = configured_stats;
    int error = ax_loop_start(&engine->loop);
    if (error != 0)
        goto fail;
    error = ax_executor_start(&engine->executor, &configured_hooks, configured_threads);
    if (error != 0)
        goto fail_loop;
    ax_spinners_init(&engine->spinners, ax_spin_ask_system);
    ax_blocks_init(&engine->blocks, &engine->loop, &engine->executor);
    return engine;

fail_loop:
    ax_loop_stop(&engine->loop);
fail:
    free(engine);
    errno = -error;
    return NULL;
}

/* ---- forks ---- */

/* Around a fork, in the parent: prevents that an engine is started, or its list of members changes. */
static void before_fork(void)
{
    pthread_mutex_lock(&start_lock);
    if (engine_of_process != NULL)
        pthread_mutex_lock(&engine_of_process->lock);
}

static void after_fork_in_parent(void)
{
    if (engine_of_process != NULL)
        pthread_mutex_unlock(&engine_of_process->lock);
    pthread_mutex_unlock(&start_lock);
}

/*
 * The parent's memory is left as it is, except for what the child would publish or signal through it. Its list of
 * members is consistent.
 */
static void after_fork_in_child(void)
{
    if (engine_of_process != NULL) {
        for (struct ax_member *at = engine_of_process->members; at != NULL; at = at->next)
            at->ops->forked(at);
        close(uv_backend_fd(&engine_of_process->loop.uv));
        engine_of_process->calls = NULL;
    }
    engine_of_process = NULL;
    configured_stats = NULL;
    pthread_mutex_init(&start_lock, NULL);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

struct ax_engine *ax_engine_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&start_lock);
    if (engine_of_process == NULL)
        engine_of_process = engine_new();
    struct ax_engine *engine = engine_of_process;
    pthread_mutex_unlock(&start_lock);
    return engine;
}

/* ---- members and counts ---- */

/* The counts have changed: publishes them, and wakes waiters. */
static void counts_changed(struct ax_engine *engine)
{
    if (engine->connection_count == 0 && engine->calls_running == 0)
        pthread_cond_broadcast(&engine->quiet);
    if (engine->calls != NULL) {
        engine->calls->connections = engine->connection_count;
        engine->calls->calls_running = engine->calls_running;
        engine->calls->calls_done = engine->calls_done;
    }
}

void ax_engine_add(struct ax_engine *engine, struct ax_member *member)
{
    member->ops->ref(member);
    pthread_mutex_lock(&engine->lock);
    member->next = engine->members;
    member->link = &engine->members;
    if (engine->members != NULL)
        engine->members->link = &member->next;
    engine->members = member;
    engine->connection_count++;
    counts_changed(engine);
    pthread_mutex_unlock(&engine->lock);
}

void ax_engine_remove(struct ax_engine *engine, struct ax_member *member)
{
    pthread_mutex_lock(&engine->lock);
    *member->link = member->next;
    if (member->next != NULL)
        member->next->link = member->link;
    engine->connection_count--;
    counts_changed(engine);
    pthread_mutex_unlock(&engine->lock);
    member->ops->unref(member);
}

void ax_engine_call_begins(struct ax_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->calls_running++;
    counts_changed(engine);
    pthread_mutex_unlock(&engine->lock);
}

void ax_engine_call_ends(struct ax_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->calls_running--;
    engine->calls_done++;
    counts_changed(engine);
    pthread_mutex_unlock(&engine->lock);
}

bool ax_engine_wait_quiet(struct ax_engine *engine, uint32_t timeout_ms)
{
    struct timespec deadline = ax_deadline_after(timeout_ms);
    int error = 0;

    pthread_mutex_lock(&engine->lock);
    while ((engine->connection_count > 0 || engine->calls_running > 0) && error == 0) {
        if (timeout_ms == UINT32_MAX)
            pthread_cond_wait(&engine->quiet, &engine->lock);
        else
            error = pthread_cond_timedwait(&engine->quiet, &engine->lock, &deadline);
    }
    bool quiet = engine->connection_count == 0 && engine->calls_running == 0;
    pthread_mutex_unlock(&engine->lock);
    return quiet;
}

void ax_engine_for_each(struct ax_engine *engine, void (*each)(struct ax_member *member, void *arg), void *arg)
{
    pthread_mutex_lock(&engine->lock);
    size_t count = engine->connection_count;
    struct ax_member **all = calloc(count + 1, sizeof *all);
    size_t taken = 0;
    for (struct ax_member *at = engine->members; at != NULL && all != NULL; at = at->next) {
        at->ops->ref(at);
        all[taken++] = at;
    }
    pthread_mutex_unlock(&engine->lock);
    for (size_t i = 0; i < taken; i++) {
        each(all[i], arg);
        all[i]->ops->unref(all[i]);
    }
    free(all);
}

void ax_engine_quiesce(void)
{
    if (engine_of_process != NULL)
        ax_executor_stop(&engine_of_process->executor, false, 1000);
}

void ax_engine_stop(void)
{
    struct ax_engine *engine = engine_of_process;

    if (engine == NULL)
        return;
    /*
     * Stopped before and after the loop: its threads may still post to the loop, and the loop may submit jobs until it
     * stops.
     */
    if (ax_executor_stop(&engine->executor, true, 10000) > 0)
        return; /* a thread is blocked in a call: the memory is leaked */
    ax_loop_stop(&engine->loop);
    if (ax_executor_stop(&engine->executor, true, 10000) > 0)
        return;
    ax_executor_fini(&engine->executor);
    ax_blocks_fini(&engine->blocks);
    pthread_cond_destroy(&engine->quiet);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
    engine_of_process = NULL;
}
