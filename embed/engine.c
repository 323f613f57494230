/* SPDX-License-Identifier: MIT */
#include "embed/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "embed/connection.h"
#include "embed/deadline.h"
#include "embed/tally.h"

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the four below; taken before any other lock */
static struct ax_engine *engine_of_process;
static struct ax_executor_hooks configured_hooks;
static uint32_t configured_threads;
static struct ax_tally *configured_tally;

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

void ax_engine_set_tally(struct ax_tally *tally)
{
    pthread_mutex_lock(&start_lock);
    configured_tally = tally;
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
    engine->tally = configured_tally;
    ax_blocks_init(&engine->blocks);
    int error = ax_loop_start(&engine->loop);
    if (error != 0)
        goto fail;
    error = ax_executor_start(&engine->executor, &configured_hooks, configured_threads);
    if (error != 0)
        goto fail_loop;
    return engine;

fail_loop:
    ax_loop_stop(&engine->loop);
fail:
    free(engine);
    errno = -error;
    return NULL;
}

struct ax_engine *ax_engine_get(void)
{
    pthread_mutex_lock(&start_lock);
    if (engine_of_process == NULL)
        engine_of_process = engine_new();
    struct ax_engine *engine = engine_of_process;
    pthread_mutex_unlock(&start_lock);
    return engine;
}

bool ax_engine_is_current(const struct ax_engine *engine)
{
    return engine == engine_of_process; /* changes in a fork's only thread; see ax_engine_forget_parent() */
}

void ax_engine_lock(void)
{
    pthread_mutex_lock(&start_lock);
    if (engine_of_process != NULL)
        pthread_mutex_lock(&engine_of_process->lock);
}

void ax_engine_unlock(void)
{
    if (engine_of_process != NULL)
        pthread_mutex_unlock(&engine_of_process->lock);
    pthread_mutex_unlock(&start_lock);
}

/* The parent's memory is left as it is, but for what the child would tell others with it. Its list of connections is whole. */
void ax_engine_forget_parent(void)
{
    if (engine_of_process != NULL) {
        for (struct ax_connection *at = engine_of_process->connections; at != NULL; at = at->engine_next) {
            ax_stream_close(&at->stream);
            at->wire = NULL;
        }
        close(uv_backend_fd(&engine_of_process->loop.uv));
        engine_of_process->tally = NULL;
    }
    engine_of_process = NULL;
    configured_tally = NULL;
    pthread_mutex_init(&start_lock, NULL);
}

/* The counts have changed: for those who wait, and those who look. */
static void counted(struct ax_engine *engine)
{
    if (engine->connection_count == 0 && engine->calls_running == 0)
        pthread_cond_broadcast(&engine->quiet);
    if (engine->tally != NULL) {
        engine->tally->connections = engine->connection_count;
        engine->tally->calls_running = engine->calls_running;
        engine->tally->calls_done = engine->calls_done;
    }
}

void ax_engine_add(struct ax_engine *engine, struct ax_connection *connection)
{
    ax_connection_ref(connection);
    pthread_mutex_lock(&engine->lock);
    connection->engine_next = engine->connections;
    connection->engine_link = &engine->connections;
    if (engine->connections != NULL)
        engine->connections->engine_link = &connection->engine_next;
    engine->connections = connection;
    engine->connection_count++;
    counted(engine);
    pthread_mutex_unlock(&engine->lock);
}

void ax_engine_remove(struct ax_engine *engine, struct ax_connection *connection)
{
    pthread_mutex_lock(&engine->lock);
    *connection->engine_link = connection->engine_next;
    if (connection->engine_next != NULL)
        connection->engine_next->engine_link = connection->engine_link;
    engine->connection_count--;
    counted(engine);
    pthread_mutex_unlock(&engine->lock);
    ax_connection_unref(connection);
}

void ax_engine_call_begins(struct ax_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->calls_running++;
    counted(engine);
    pthread_mutex_unlock(&engine->lock);
}

void ax_engine_call_ends(struct ax_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->calls_running--;
    engine->calls_done++;
    counted(engine);
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

void ax_engine_for_each(struct ax_engine *engine, void (*each)(struct ax_connection *connection, void *arg), void *arg)
{
    pthread_mutex_lock(&engine->lock);
    size_t count = engine->connection_count;
    struct ax_connection **all = calloc(count + 1, sizeof(struct ax_connection *));
    size_t taken = 0;
    for (struct ax_connection *at = engine->connections; at != NULL && all != NULL; at = at->engine_next) {
        ax_connection_ref(at);
        all[taken++] = at;
    }
    pthread_mutex_unlock(&engine->lock);
    for (size_t i = 0; i < taken; i++) {
        each(all[i], arg);
        ax_connection_unref(all[i]);
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
    /* Threads that have just served a call may still tell the loop something; and the loop gives the executor its work. */
    if (ax_executor_stop(&engine->executor, true, 10000) > 0)
        return; /* a thread is stuck in a call: its memory stays */
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
