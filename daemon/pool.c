/* SPDX-License-Identifier: MIT */
#include "daemon/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/login.h"
#include "daemon/process.h"
#include "daemon/sentence.h"
#include "daemon/tree.h"

/* Workers that are being started at a time: more do not start sooner, and a zygote that is stuck holds them all. */
#define STARTING_MAX 8u

/* A fork takes milliseconds. Below the time of a handshake, so that a client survives a zygote that is stuck. */
#define SILENCE_MS 5000u

/* Between attempts after a failure: doubles with each one. */
#define FIRST_RETRY_MS 100u
#define RETRY_DOUBLINGS 5u

/* What is killed is gone by then, unless the kernel itself is stuck with it. */
#define KILL_MS 2000u

static void fill(struct ax_pool *pool);
static void finish_if_empty(struct ax_pool *pool);
static bool is_ours(void *arg, pid_t pid);

static bool is_shared(const struct ax_pool *pool)
{
    return pool->options->isolation == AX_ISOLATION_SHARED;
}

/* ---- failures, and the next attempt ---- */

static void on_retry(uv_timer_t *timer)
{
    fill(timer->data);
}

static void try_later(struct ax_pool *pool)
{
    if (pool->state != AX_POOL_RUNNING)
        return;
    unsigned doublings = pool->failures < RETRY_DOUBLINGS ? pool->failures : RETRY_DOUBLINGS;

    pool->failures++;
    uv_timer_start(&pool->retry_timer, on_retry, FIRST_RETRY_MS << doublings, 0);
}

static void cannot_start_worker(struct ax_pool *pool, const char *why)
{
    if (pool->state != AX_POOL_RUNNING || uv_is_active((uv_handle_t *)&pool->retry_timer))
        return; /* one of several is enough */
    ax_log(AX_LOG_WARNING, "cannot start a worker: %s", why);
    try_later(pool);
}

/* ---- workers ---- */

static void forget_child(struct ax_pool *pool, const struct ax_child *child)
{
    struct ax_child **link = &pool->children;

    while (*link != child)
        link = &(*link)->next;
    *link = child->next;
}

static bool is_current(const struct ax_pool *pool, const struct ax_child *child)
{
    return child->generation == pool->generation;
}

/* One that takes, or will take, new connections. */
static bool is_unused(const struct ax_pool *pool, const struct ax_child *child)
{
    return child->state <= AX_CHILD_READY && is_current(pool, child) && (is_shared(pool) || child->given == 0);
}

/* One that nobody needs any more: of an old zygote, and without a connection. */
static bool is_left_over(const struct ax_pool *pool, const struct ax_child *child)
{
    return child->state == AX_CHILD_READY && !is_current(pool, child) && child->connections == 0;
}

static void retire(struct ax_pool *pool, struct ax_child *child)
{
    if (child->given == 0) {
        ax_child_kill(child);
        return;
    }
    ax_child_stop(child, pool->options->grace_ms, "The server has reloaded");
    ax_child_end_after(child, pool->options->grace_ms);
}

static void on_child_ready(struct ax_child *child)
{
    struct ax_pool *pool = child->owner;

    if (pool->state == AX_POOL_STOPPING) {
        ax_child_kill(child);
        return;
    }
    pool->failures = 0;
    if (is_left_over(pool, child))
        retire(pool, child);
    else
        pool->events->room(pool);
    fill(pool);
}

static void on_child_ended(struct ax_child *child, uint64_t id, const char *reason)
{
    struct ax_pool *pool = child->owner;

    pool->events->ended(pool, child, id, reason);
    if (!is_shared(pool)) {
        child->state = AX_CHILD_STOPPING;
        ax_child_end_after(child, pool->options->grace_ms);
    } else if (is_left_over(pool, child)) {
        retire(pool, child);
    }
}

/* Its worker hears of it, too, and ends by itself if it can. */
static void on_child_abandoned(struct ax_child *child)
{
    struct ax_pool *pool = child->owner;

    ax_child_end_after(child, pool->options->grace_ms);
}

static void on_child_writable(struct ax_child *child)
{
    struct ax_pool *pool = child->owner;

    pool->events->room(pool);
}

static void on_child_died(struct ax_child *child, enum ax_child_state before, bool in_order, const char *how)
{
    struct ax_pool *pool = child->owner;
    char reason[AX_SENTENCE_SIZE];
    size_t lost;

    ax_sentence(reason, sizeof reason, "The worker, process %ld, %s", (long)child->pid, how);
    lost = pool->events->lost(pool, child, reason);
    if (before == AX_CHILD_STARTING) {
        cannot_start_worker(pool, child->was_killed ? "it did not answer in time" : how);
    } else if (in_order ? lost > 0 && !child->was_abandoned : lost > 0 || !child->was_killed) {
        ax_log(AX_LOG_WARNING, "the worker, process %ld, %s; connections lost: %zu", (long)child->pid, how, lost);
    }
    if (before == AX_CHILD_READY && child->given == 0 && !child->was_killed)
        try_later(pool); /* a spare one that ends by itself: its successor may do the same */
}

static void on_child_gone(struct ax_child *child)
{
    struct ax_pool *pool = child->owner;

    forget_child(pool, child);
    ax_tree_sweep(is_ours, pool); /* its keeper, if the zygote that would bury it has gone */
    fill(pool);
    finish_if_empty(pool);
}

static const struct ax_child_events child_events = {
    .ready = on_child_ready,
    .ended = on_child_ended,
    .abandoned = on_child_abandoned,
    .writable = on_child_writable,
    .died = on_child_died,
    .gone = on_child_gone,
};

struct ax_child *ax_pool_give(struct ax_pool *pool, struct ax_client *client, uint32_t handshake_ms, int *code)
{
    *code = 0;
    for (struct ax_child *child = pool->children; child != NULL; child = child->next) {
        if (child->state != AX_CHILD_READY || !is_unused(pool, child) || child->wants_to_write ||
            child->free_count == 0)
            continue;
        *code = ax_child_give(child, client, handshake_ms);
        if (*code == 0 && !is_shared(pool))
            ax_child_watch_client(child, client);
        if (*code == 0)
            return child;
        if (*code != -EAGAIN && *code != -EPIPE) /* -EPIPE: it is dying, of which we shall hear */
            return NULL;
        *code = 0;
    }
    return NULL;
}

/* ---- how many workers there should be ---- */

struct census {
    size_t all;
    size_t unused;
    size_t starting;
    uint64_t asked_at; /* the oldest request that is not answered; UINT64_MAX: none */
};

static struct census count_children(const struct ax_pool *pool)
{
    struct census census = {.asked_at = UINT64_MAX};

    for (const struct ax_child *child = pool->children; child != NULL; child = child->next) {
        census.all++;
        if (is_unused(pool, child))
            census.unused++;
        if (child->state == AX_CHILD_STARTING) {
            census.starting++;
            if (child->asked_at < census.asked_at)
                census.asked_at = child->asked_at;
        }
    }
    return census;
}

static size_t wanted(const struct ax_pool *pool, const struct census *census)
{
    size_t target = is_shared(pool) ? 1 : pool->waiting + pool->options->spare_workers;
    size_t room = pool->limit + pool->options->spare_workers;
    size_t missing = target > census->unused ? target - census->unused : 0;

    room = room > census->all ? room - census->all : 0;
    return missing < room ? missing : room;
}

static bool ask(struct ax_pool *pool)
{
    struct ax_child *child;
    uint32_t slots = is_shared(pool) ? (uint32_t)pool->limit : 1;
    int code = ax_child_ask(&child, pool->loop, pool->nursery, slots, &child_events, pool);

    if (code == 0) {
        child->generation = pool->generation;
        child->next = pool->children;
        pool->children = child;
    } else if (code != -EAGAIN && code != -EPIPE) {
        cannot_start_worker(pool, strerror(-code));
    }
    return code == 0;
}

static void watch_silence(struct ax_pool *pool);

/*
 * The first child that was asked for and did not come: the zygote is stuck when it is not even forked, else it is stuck
 * itself, in a function that a preloaded module wants to be called after a fork.
 */
static void on_silence(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;
    uint64_t now = uv_now(pool->loop);

    for (struct ax_child *child = pool->children; child != NULL; child = child->next) {
        if (child->state != AX_CHILD_STARTING || child->was_killed || child->asked_at + SILENCE_MS > now)
            continue;
        if (child->pid == 0 && is_current(pool, child) && pool->nursery != NULL && !pool->nursery->was_dismissed) {
            ax_log(AX_LOG_WARNING, "the zygote, process %ld, does not answer, and is killed", (long)pool->nursery->pid);
            ax_nursery_kill(pool->nursery);
        }
        ax_child_kill(child);
    }
    watch_silence(pool);
}

static void watch_silence(struct ax_pool *pool)
{
    struct census census = count_children(pool);
    uint64_t now = uv_now(pool->loop);
    uint64_t due = census.asked_at + SILENCE_MS;

    if (census.asked_at == UINT64_MAX)
        uv_timer_stop(&pool->silence_timer);
    else
        uv_timer_start(&pool->silence_timer, on_silence, due > now ? due - now : SILENCE_MS, 0);
}

static int start_nursery(struct ax_pool *pool, struct ax_nursery **nursery, const struct ax_texts *arguments);

/* Gets what is missing, as far as that is possible now. */
static void fill(struct ax_pool *pool)
{
    struct census census = count_children(pool);
    size_t missing;

    if (pool->state != AX_POOL_RUNNING || uv_is_active((uv_handle_t *)&pool->retry_timer))
        return;
    if (pool->nursery == NULL) {
        int code = start_nursery(pool, &pool->nursery, &pool->arguments);

        if (code < 0)
            cannot_start_worker(pool, strerror(-code));
        return;
    }
    missing = pool->nursery->is_ready ? wanted(pool, &census) : 0;
    while (missing > 0 && census.starting < STARTING_MAX && ask(pool)) {
        missing--;
        census.starting++;
    }
    watch_silence(pool);
}

void ax_pool_demand(struct ax_pool *pool, size_t waiting)
{
    pool->waiting = waiting;
    fill(pool);
}

/* ---- zygotes ---- */

static void replace_nursery(struct ax_pool *pool)
{
    struct ax_nursery *old = pool->nursery;
    struct ax_texts arguments = pool->arguments;

    pool->nursery = pool->reload;
    pool->reload = NULL;
    pool->arguments = pool->reload_arguments;
    pool->reload_arguments = (struct ax_texts){0};
    pool->options = pool->reload_options;
    pool->generation++;
    ax_texts_fini(&arguments);
    if (old != NULL)
        ax_nursery_kill(old);
    for (struct ax_child *child = pool->children; child != NULL; child = child->next)
        if (is_left_over(pool, child))
            retire(pool, child);
    pool->events->reloaded(pool, true);
}

static void on_nursery_ready(struct ax_nursery *nursery)
{
    struct ax_pool *pool = nursery->owner;

    if (nursery == pool->reload)
        replace_nursery(pool);
    if (pool->state == AX_POOL_STARTING) {
        pool->state = AX_POOL_RUNNING;
        pool->events->started(pool);
    }
    fill(pool);
}

static void on_nursery_pong(struct ax_nursery *nursery)
{
    struct ax_pool *pool = nursery->owner;

    if (nursery == pool->nursery)
        pool->events->pong(pool);
}

static void end_reload(struct ax_pool *pool)
{
    pool->reload = NULL;
    ax_texts_fini(&pool->reload_arguments);
    if (pool->state == AX_POOL_RUNNING)
        pool->events->reloaded(pool, false);
}

/* At once, if the one that died was of some use: else its successor may be of none, either. */
static void replace_dead_nursery(struct ax_pool *pool, bool was_ready)
{
    if (!was_ready || pool->failures > 0) {
        try_later(pool);
        return;
    }
    pool->failures = 1; /* until there is a worker */
    fill(pool);
}

static void on_nursery_died(struct ax_nursery *nursery, const char *how)
{
    struct ax_pool *pool = nursery->owner;
    bool was_current = nursery == pool->nursery;

    if (pool->state != AX_POOL_STOPPING && (was_current || nursery == pool->reload) && !nursery->has_explained)
        ax_log(pool->state == AX_POOL_STARTING ? AX_LOG_ERROR : AX_LOG_WARNING, "the zygote, process %ld, %s",
               (long)nursery->pid, how);
    if (nursery == pool->reload) {
        end_reload(pool);
        finish_if_empty(pool);
        return;
    }
    if (!was_current)
        return;
    pool->nursery = NULL;
    if (pool->state == AX_POOL_STARTING)
        pool->events->failed(pool);
    else
        replace_dead_nursery(pool, nursery->is_ready);
    finish_if_empty(pool);
}

static int start_nursery(struct ax_pool *pool, struct ax_nursery **nursery, const struct ax_texts *arguments)
{
    static const struct ax_nursery_events events = {
        .ready = on_nursery_ready, .pong = on_nursery_pong, .died = on_nursery_died};
    char **environment = NULL;
    int code;

    if (pool->options->run_as_peer) {
        environment = ax_login_make_environment(environ);
        if (environment == NULL)
            return -ENOMEM;
    }
    code = ax_nursery_start(nursery, pool->loop, arguments, environment != NULL ? environment : environ, &events, pool);
    free(environment);
    return code;
}

static int make_arguments(const struct ax_options *options, struct ax_texts *arguments)
{
    struct ax_options zygote = *options; /* borrows its texts */

    zygote.role = AX_PROCESS_ZYGOTE;
    zygote.control_fd = AX_PROCESS_CONTROL_FD;
    if (ax_texts_add(arguments, "acrossd") < 0)
        return -1;
    return ax_options_to_arguments(&zygote, AX_OPTION_WORKER, arguments);
}

void ax_pool_reload(struct ax_pool *pool, const struct ax_options *options)
{
    int code;

    if (pool->reload != NULL) /* a reload of a reload: the newest counts */
        ax_nursery_kill(pool->reload);
    pool->reload = NULL;
    ax_texts_fini(&pool->reload_arguments);
    pool->reload_options = options;
    code = make_arguments(options, &pool->reload_arguments) < 0
               ? -ENOMEM
               : start_nursery(pool, &pool->reload, &pool->reload_arguments);
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot start a zygote: %s", strerror(-code));
        end_reload(pool);
    }
}

void ax_pool_ping(struct ax_pool *pool)
{
    if (pool->nursery != NULL && pool->nursery->is_ready)
        ax_nursery_ping(pool->nursery);
}

/* ---- what is left behind ---- */

static bool is_ours(void *arg, pid_t pid)
{
    const struct ax_pool *pool = arg;

    if ((pool->nursery != NULL && pool->nursery->pid == pid) || (pool->reload != NULL && pool->reload->pid == pid))
        return true;
    for (const pid_t *stranger = pool->strangers; stranger != NULL && *stranger != 0; stranger++)
        if (*stranger == pid)
            return true;
    for (const struct ax_child *child = pool->children; child != NULL; child = child->next)
        if (child->keeper == pid && !child->was_killed)
            return true;
    return false;
}

/*
 * A child that is nobody's: what a worker has started whose keeper was killed. And keepers that have ended, once their
 * zygote has.
 */
static void on_sigchld(uv_signal_t *handle, int number)
{
    struct ax_pool *pool = handle->data;

    (void)number;
    ax_tree_sweep(is_ours, pool);
    finish_if_empty(pool);
}

struct list {
    pid_t *pids;
    size_t count;
};

static bool remember(void *arg, pid_t pid)
{
    struct list *list = arg;
    pid_t *pids = realloc(list->pids, (list->count + 2) * sizeof *pids);

    if (pids == NULL)
        return true;
    list->pids = pids;
    pids[list->count++] = pid;
    pids[list->count] = 0;
    return true;
}

/* ---- life ---- */

int ax_pool_init(struct ax_pool *pool, uv_loop_t *loop, const struct ax_options *options, size_t limit,
                 const struct ax_pool_events *events, void *owner)
{
    struct list strangers = {0};

    *pool = (struct ax_pool){.loop = loop, .options = options, .limit = limit, .events = events, .owner = owner};
    ax_tree_sweep(remember, &strangers);
    pool->strangers = strangers.pids;
    ax_tree_adopt();
    uv_timer_init(loop, &pool->retry_timer);
    uv_timer_init(loop, &pool->silence_timer);
    uv_timer_init(loop, &pool->stop_timer);
    pool->retry_timer.data = pool->silence_timer.data = pool->stop_timer.data = pool->sigchld.data = pool;
    if (make_arguments(options, &pool->arguments) < 0)
        return -ENOMEM;
    int code = uv_signal_init(loop, &pool->sigchld);

    return code < 0 ? code : uv_signal_start(&pool->sigchld, on_sigchld, SIGCHLD);
}

void ax_pool_start(struct ax_pool *pool)
{
    int code = start_nursery(pool, &pool->nursery, &pool->arguments);

    if (code == 0)
        return;
    ax_log(AX_LOG_ERROR, "cannot start a zygote: %s", strerror(-code));
    pool->events->failed(pool);
}

void ax_pool_kill(struct ax_pool *pool)
{
    for (struct ax_child *child = pool->children; child != NULL; child = child->next)
        ax_child_kill(child);
}

static void on_kill_overdue(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    ax_log(AX_LOG_WARNING, "processes that were killed are still there");
    pool->state = AX_POOL_EMPTY;
    pool->events->empty(pool);
}

static void on_stop_overdue(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    if (pool->children != NULL)
        ax_log(AX_LOG_WARNING, "a worker did not end in time, and is killed");
    ax_pool_kill(pool);
    ax_tree_sweep(is_ours, pool);
    uv_timer_start(timer, on_kill_overdue, KILL_MS, 0);
}

static void finish_if_empty(struct ax_pool *pool)
{
    if (pool->state != AX_POOL_STOPPING || pool->nursery != NULL || pool->reload != NULL || pool->children != NULL ||
        ax_tree_sweep(is_ours, pool) > 0)
        return;
    pool->state = AX_POOL_EMPTY;
    pool->events->empty(pool);
}

void ax_pool_stop(struct ax_pool *pool, uint32_t grace_ms, const char *reason)
{
    pool->state = AX_POOL_STOPPING;
    uv_timer_stop(&pool->retry_timer);
    uv_timer_stop(&pool->silence_timer);
    if (pool->nursery != NULL)
        ax_nursery_kill(pool->nursery);
    if (pool->reload != NULL)
        ax_nursery_kill(pool->reload);
    for (struct ax_child *child = pool->children; child != NULL; child = child->next) {
        if (child->given == 0)
            ax_child_kill(child);
        else
            ax_child_stop(child, grace_ms, reason);
    }
    uv_timer_start(&pool->stop_timer, on_stop_overdue, (uint64_t)grace_ms + AX_ENDING_MS, 0);
    finish_if_empty(pool);
}

void ax_pool_close(struct ax_pool *pool)
{
    uv_close((uv_handle_t *)&pool->retry_timer, NULL);
    uv_close((uv_handle_t *)&pool->silence_timer, NULL);
    uv_close((uv_handle_t *)&pool->stop_timer, NULL);
    uv_close((uv_handle_t *)&pool->sigchld, NULL);
}

void ax_pool_free_memory(struct ax_pool *pool)
{
    ax_texts_fini(&pool->arguments);
    ax_texts_fini(&pool->reload_arguments);
    free(pool->strangers);
}
