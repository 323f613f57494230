/* SPDX-License-Identifier: MIT */
#include "embed/connection_state.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>

/*
 * For how long bulk I/O yields. Waking up on another core takes 50 µs and more, and others may get no processor at all.
 */
#define YIELD_NS 1000000

/* ---- the lock ---- */

#ifndef NDEBUG
static bool (*may_not_lock)(void);

void ax_connection_forbid_lock(bool (*is_held)(void))
{
    may_not_lock = is_held;
}
#endif

/* The holder of the lock never waits for the GIL, so a thread that has the GIL must not wait for the lock. */
static void check_thread(void)
{
    assert(may_not_lock == NULL || !may_not_lock());
}

void ax_connection_lock(struct ax_connection *connection)
{
    check_thread();
    if (pthread_mutex_trylock(&connection->lock) == 0)
        return;
    atomic_fetch_add(&connection->waiters, 1);
    pthread_mutex_lock(&connection->lock);
    atomic_fetch_sub(&connection->waiters, 1);
}

void ax_connection_lock_yielding(struct ax_connection *connection)
{
    check_thread();
    if (atomic_load(&connection->waiters) > 0) {
        uint64_t end = uv_hrtime() + YIELD_NS;
        while (atomic_load(&connection->waiters) > 0 && uv_hrtime() < end)
            sched_yield();
    }
    pthread_mutex_lock(&connection->lock);
}

/* Messages to be freed in a service: returning pages to the kernel takes long. */
struct discarded {
    struct ax_job job;
    struct ax_message *messages;
};

static void run_discard(struct ax_job *job)
{
    struct discarded *discarded = (struct discarded *)job;

    ax_message_free_all(discarded->messages);
    free(discarded);
}

static void discard(struct ax_connection *connection, struct ax_message *messages)
{
    struct discarded *discarded = malloc(sizeof *discarded);

    if (discarded == NULL) {
        ax_message_free_all(messages);
        return;
    }
    *discarded = (struct discarded){.job.run = run_discard, .messages = messages};
    ax_executor_submit_service(&connection->engine->executor, &discarded->job);
}

void ax_connection_unlock(struct ax_connection *connection)
{
    struct ax_message *discarded = NULL;

    /* The body that is being copied may be one of them; whoever copies it unlocks once more. */
    if (connection->session.discarded != NULL && !connection->reader.copying)
        discarded = ax_session_take_discarded(&connection->session);
    pthread_mutex_unlock(&connection->lock);
    if (discarded != NULL)
        discard(connection, discarded);
}

/* ---- phases ---- */

void ax_connection_wake_watchers_locked(struct ax_connection *connection)
{
    struct ax_waiter *waiter = connection->watchers;

    connection->watchers = NULL;
    while (waiter != NULL) {
        struct ax_waiter *next = waiter->next; /* invalid once posted */
        ax_waiter_post(waiter);
        waiter = next;
    }
}

int ax_connection_watch_locked(struct ax_connection *connection)
{
    struct ax_waiter waiter;

    ax_waiter_init(&waiter);
    waiter.next = connection->watchers;
    connection->watchers = &waiter;
    ax_connection_unlock(connection);
    int error = ax_loop_wait(&connection->engine->loop, &waiter);
    ax_connection_lock(connection);
    if (error != 0) { /* interrupted: the waiter is still in the list, or was just taken out and posted */
        struct ax_waiter **link = &connection->watchers;
        while (*link != NULL && *link != &waiter)
            link = &(*link)->next;
        if (*link != NULL)
            *link = waiter.next;
    }
    ax_waiter_fini(&waiter);
    return error;
}

int ax_connection_wait(struct ax_connection *connection, enum ax_phase phase)
{
    int error = 0;

    if (ax_connection_is_past(connection))
        return 0;
    ax_connection_lock(connection);
    while (atomic_load(&connection->phase) < (int)phase && error == 0)
        error = ax_connection_watch_locked(connection);
    ax_connection_unlock(connection);
    return error;
}

enum ax_phase ax_connection_phase(struct ax_connection *connection)
{
    return ax_connection_is_past(connection) ? AX_PHASE_FINISHED : (enum ax_phase)atomic_load(&connection->phase);
}

void ax_connection_set_phase_locked(struct ax_connection *connection, enum ax_phase phase)
{
    if ((int)phase <= atomic_load(&connection->phase))
        return;
    atomic_store(&connection->phase, (int)phase);
    ax_connection_wake_watchers_locked(connection);
}

/* Completes all our calls: none will have a result any more. */
static void end_calls(struct ax_connection *connection)
{
    struct ax_pending *pending;

    while ((pending = ax_session_next_waiter(&connection->session)) != NULL) {
        pending->message = NULL;
        pending->done = true;
        ax_waiter_post(&pending->waiter);
    }
}

void ax_connection_follow_session_locked(struct ax_connection *connection)
{
    switch (connection->session.state) {
    case AX_STATE_SUPERBLOCK:
    case AX_STATE_GREETING:
        return;
    case AX_STATE_READY:
        atomic_store(&connection->was_running, true);
        ax_connection_set_phase_locked(connection, AX_PHASE_RUNNING);
        return;
    case AX_STATE_CLOSING:
    case AX_STATE_CLOSED:
        if (connection->end == AX_END_NONE)
            connection->end = connection->close_called ? AX_END_CLOSED : AX_END_REMOTE;
        break;
    case AX_STATE_FAILED:
        if (connection->end == AX_END_NONE || connection->end == AX_END_CLOSED)
            connection->end = AX_END_FAILED;
        break;
    }
    end_calls(connection);
    ax_connection_set_phase_locked(connection, AX_PHASE_STOPPING);
}

/* ---- others that serve it ---- */

void ax_connection_post(struct ax_connection *connection)
{
    ax_connection_ref(connection); /* held by the task until it has run */
    if (!ax_loop_post(&connection->engine->loop, &connection->update))
        ax_connection_unref(connection); /* it was queued already, with a reference */
}

void ax_connection_register_locked(struct ax_connection *connection)
{
    if (!connection->registered)
        ax_engine_add(connection->engine, &connection->member);
    connection->registered = true;
}

void ax_connection_disown_if_finished(struct ax_connection *connection)
{
    if (!ax_connection_is_past(connection) && ax_connection_phase(connection) == AX_PHASE_FINISHED)
        ax_executor_disown(&connection->engine->executor, connection->number);
}
