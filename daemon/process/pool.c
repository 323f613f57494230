/* SPDX-License-Identifier: MIT */
#include "daemon/process/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/process/login.h"
#include "daemon/process/process.h"
#include "daemon/process/tree.h"

/* Workers that are being started at a time: more do not start sooner, and a zygote that is stuck holds them all. */
#define STARTING_MAX 8u

/* Of the spare workers beyond --spare-workers that nobody has needed for this long, half go. */
#define DEMAND_MS 250u

/* Between two looks at what is left behind: the list of children takes the longer the more there are. */
#define SWEEP_MS 50u

/* A fork takes milliseconds. Below the time of a handshake, so that a client survives a zygote that is stuck. */
#define SILENCE_MS 5000u

/* Between attempts after a failure: doubles with each one. */
#define FIRST_RETRY_MS 100u
#define RETRY_DOUBLINGS 5u

/* What is killed is gone by then, unless the kernel itself is stuck with it. */
#define KILL_MS 2000u

static void fill(struct ax_pool *pool);
static void finish_if_empty(struct ax_pool *pool);
static void sweep_soon(struct ax_pool *pool);
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

static void enlist(struct ax_pool *pool, struct ax_child *child, enum ax_pool_role role)
{
    struct ax_pool_list *list = &pool->lists[role];

    child->role = role;
    child->next = NULL;
    child->previous = list->last;
    if (list->last != NULL)
        list->last->next = child;
    else
        list->first = child;
    list->last = child;
    list->count++;
}

static void delist(struct ax_pool *pool, struct ax_child *child)
{
    struct ax_pool_list *list = &pool->lists[child->role];

    if (child->previous != NULL)
        child->previous->next = child->next;
    else
        list->first = child->next;
    if (child->next != NULL)
        child->next->previous = child->previous;
    else
        list->last = child->previous;
    list->count--;
}

static bool is_current(const struct ax_pool *pool, const struct ax_child *child)
{
    return child->generation == pool->generation;
}

static enum ax_pool_role role_of(const struct ax_pool *pool, const struct ax_child *child)
{
    if (child->state == AX_CHILD_STARTING)
        return is_current(pool, child) ? AX_POOL_ORDERED : AX_POOL_OUTDATED;
    if (child->state == AX_CHILD_READY && is_current(pool, child) && (is_shared(pool) || child->given == 0))
        return AX_POOL_OPEN;
    return AX_POOL_OTHER;
}

/* After each change of what its role depends on. */
static void update_role(struct ax_pool *pool, struct ax_child *child)
{
    enum ax_pool_role role = role_of(pool, child);

    if (role == child->role)
        return;
    delist(pool, child);
    enlist(pool, child, role);
}

static void forget_child(struct ax_pool *pool, struct ax_child *child)
{
    delist(pool, child);
    pool->count--;
    if (ax_pids_find(&pool->keepers, child->keeper) == child)
        ax_pids_remove(&pool->keepers, child->keeper);
}

const struct ax_child *ax_pool_next(const struct ax_pool *pool, const struct ax_child *child)
{
    const struct ax_child *next = child->next;

    for (unsigned role = child->role + 1; next == NULL && role < AX_POOL_ROLES; role++)
        next = pool->lists[role].first;
    return next;
}

const struct ax_child *ax_pool_first(const struct ax_pool *pool)
{
    const struct ax_child *first = NULL;

    for (unsigned role = 0; first == NULL && role < AX_POOL_ROLES; role++)
        first = pool->lists[role].first;
    return first;
}

/* Those of one role, each of which may leave its list in `act`. */
static void for_each(struct ax_pool *pool, enum ax_pool_role role, void (*act)(struct ax_pool *, struct ax_child *))
{
    struct ax_child *next;

    for (struct ax_child *child = pool->lists[role].first; child != NULL; child = next) {
        next = child->next;
        pool->steps++;
        act(pool, child);
    }
}

static void for_all(struct ax_pool *pool, void (*act)(struct ax_pool *, struct ax_child *))
{
    for (int role = 0; role < AX_POOL_ROLES; role++)
        for_each(pool, (enum ax_pool_role)role, act);
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

/* Without its keeper in the index, it would be taken for something that a worker has left behind. */
static void on_child_started(struct ax_child *child)
{
    struct ax_pool *pool = child->owner;

    pool->forked_at = child->started_at;
    if (ax_pids_add(&pool->keepers, child->keeper, child) < 0)
        ax_child_kill(child);
}

static void on_child_ready(struct ax_child *child)
{
    struct ax_pool *pool = child->owner;

    update_role(pool, child);
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
        update_role(pool, child);
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

    update_role(pool, child);
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
    if (pool->groups != NULL)
        ax_groups_end(pool->groups, child->group);
    sweep_soon(pool); /* its keeper may have been killed, and what was below it is our child now */
    fill(pool);
    finish_if_empty(pool);
}

static const struct ax_child_events child_events = {
    .started = on_child_started,
    .ready = on_child_ready,
    .ended = on_child_ended,
    .abandoned = on_child_abandoned,
    .writable = on_child_writable,
    .died = on_child_died,
    .gone = on_child_gone,
};

bool ax_pool_has_open(const struct ax_pool *pool)
{
    return pool->lists[AX_POOL_OPEN].first != NULL;
}

struct ax_child *ax_pool_give(struct ax_pool *pool, struct ax_client *client, uint32_t handshake_ms, int *code)
{
    *code = 0;
    for (struct ax_child *child = pool->lists[AX_POOL_OPEN].first; child != NULL; child = child->next) {
        pool->steps++;
        if (child->wants_to_write || child->free_count == 0)
            continue;
        *code = ax_child_give(child, client, handshake_ms);
        if (*code == 0 && !is_shared(pool))
            ax_child_watch_client(child, client);
        if (*code == 0) {
            update_role(pool, child);
            if (pool->lists[AX_POOL_OPEN].count < pool->least_open)
                pool->least_open = pool->lists[AX_POOL_OPEN].count;
            return child;
        }
        if (*code != -EAGAIN && *code != -EPIPE) /* -EPIPE: it is dying, of which we shall hear */
            return NULL;
        *code = 0;
    }
    return NULL;
}

/* ---- how many workers there should be ---- */

static size_t spares_wanted(const struct ax_pool *pool)
{
    return pool->options->spare_workers + pool->extra_spares;
}

/* Workers that have no connection yet. */
static size_t unused(const struct ax_pool *pool)
{
    return pool->lists[AX_POOL_ORDERED].count + pool->lists[AX_POOL_OPEN].count;
}

static size_t missing(const struct ax_pool *pool)
{
    size_t target = is_shared(pool) ? 1 : pool->waiting + spares_wanted(pool);
    size_t room = pool->limit + pool->options->spare_workers;
    size_t lack = target > unused(pool) ? target - unused(pool) : 0;

    room = room > pool->count ? room - pool->count : 0;
    return lack < room ? lack : room;
}

/* It has no connection, and is not to get one. */
static void dismiss(struct ax_pool *pool, struct ax_child *child)
{
    ax_child_kill(child);
    child->state = AX_CHILD_STOPPING;
    update_role(pool, child);
}

static void on_demand_timer(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;
    struct ax_pool_list *open = &pool->lists[AX_POOL_OPEN];
    size_t least = pool->options->spare_workers;
    size_t idle = pool->least_open > least && !pool->was_short ? (pool->least_open - least + 1) / 2 : 0;

    pool->extra_spares -= idle < pool->extra_spares ? idle : pool->extra_spares;
    pool->was_short = false;
    pool->least_open = open->count;
    if (pool->extra_spares == 0)
        uv_timer_stop(timer);
    for (size_t surplus = open->count > spares_wanted(pool) ? open->count - spares_wanted(pool) : 0; surplus > 0;
         surplus--)
        dismiss(pool, open->last);
}

/*
 * Connections wait although some workers were spare: that was too few of them. One more for each that waits, up to the
 * bound: connections that come one after the other soon find as many as it takes to have one always ready.
 */
static void note_shortage(struct ax_pool *pool, size_t more)
{
    size_t room = AX_POOL_SPARE_MAX - pool->extra_spares;

    if (more == 0 || is_shared(pool) || pool->options->spare_workers == 0)
        return;
    pool->was_short = true;
    pool->extra_spares += more < room ? more : room;
    pool->least_open = 0;
    if (!uv_is_active((uv_handle_t *)&pool->demand_timer))
        uv_timer_start(&pool->demand_timer, on_demand_timer, DEMAND_MS, DEMAND_MS);
}

static bool ask(struct ax_pool *pool)
{
    struct ax_child *child;
    uint32_t slots = is_shared(pool) ? (uint32_t)pool->limit : 1;
    bool is_grouped = pool->groups != NULL && pool->groups->exist;
    struct ax_group *group =
        is_grouped ? ax_groups_take(pool->groups, pool->options->worker_memory, pool->options->worker_tasks) : NULL;
    int code;

    if (is_grouped && group == NULL)
        return false; /* ax_pool_grouped() goes on */
    code = ax_child_ask(&child, pool->loop, pool->nursery, slots, group, &child_events, pool);
    if (code < 0 && group != NULL)
        ax_groups_end(pool->groups, group);
    if (code == 0) {
        child->generation = pool->generation;
        enlist(pool, child, AX_POOL_ORDERED);
        pool->count++;
    } else if (code != -EAGAIN && code != -EPIPE) {
        cannot_start_worker(pool, strerror(-code));
    }
    return code == 0;
}

static void watch_silence(struct ax_pool *pool);

/*
 * Since when a worker that was asked for is waited for. The zygote forks one after the other, so each that comes shows that
 * it is not stuck, however long a busy machine takes for all of them.
 */
static uint64_t silent_since(const struct ax_pool *pool, const struct ax_child *child)
{
    uint64_t sign = child->pid != 0 ? child->started_at : pool->forked_at;

    return sign > child->asked_at ? sign : child->asked_at;
}

static void end_if_silent(struct ax_pool *pool, struct ax_child *child)
{
    if (child->was_killed || silent_since(pool, child) + SILENCE_MS > uv_now(pool->loop))
        return;
    if (child->pid == 0 && is_current(pool, child) && pool->nursery != NULL && !pool->nursery->was_dismissed) {
        ax_log(AX_LOG_WARNING, "the zygote, process %ld, does not answer, and is killed", (long)pool->nursery->pid);
        ax_nursery_kill(pool->nursery);
    }
    ax_child_kill(child);
}

/*
 * A worker that was asked for did not come: the zygote is stuck when it is not even forked, else it is stuck itself, in a
 * function that a preloaded module wants to be called after a fork.
 */
static void on_silence(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    for_each(pool, AX_POOL_OUTDATED, end_if_silent);
    for_each(pool, AX_POOL_ORDERED, end_if_silent);
    watch_silence(pool);
}

/* The oldest request that is not answered; NULL: there is none. */
static const struct ax_child *oldest_request(const struct ax_pool *pool)
{
    const struct ax_child *outdated = pool->lists[AX_POOL_OUTDATED].first; /* older than those that are not */

    return outdated != NULL ? outdated : pool->lists[AX_POOL_ORDERED].first;
}

static void watch_silence(struct ax_pool *pool)
{
    const struct ax_child *oldest = oldest_request(pool);
    uint64_t now = uv_now(pool->loop);
    uint64_t due = oldest != NULL ? silent_since(pool, oldest) + SILENCE_MS : 0;

    if (oldest == NULL)
        uv_timer_stop(&pool->silence_timer);
    else
        uv_timer_start(&pool->silence_timer, on_silence, due > now ? due - now : SILENCE_MS, 0);
}

static int start_nursery(struct ax_pool *pool, struct ax_nursery **nursery, const struct ax_texts *arguments);

/* Gets what is missing, as far as that is possible now. */
static void fill(struct ax_pool *pool)
{
    size_t more;

    if (pool->state != AX_POOL_RUNNING || uv_is_active((uv_handle_t *)&pool->retry_timer))
        return;
    if (pool->nursery == NULL) {
        int code = start_nursery(pool, &pool->nursery, &pool->arguments);

        if (code < 0)
            cannot_start_worker(pool, strerror(-code));
        return;
    }
    more = pool->nursery->is_ready ? missing(pool) : 0;
    while (more > 0 && pool->lists[AX_POOL_ORDERED].count + pool->lists[AX_POOL_OUTDATED].count < STARTING_MAX &&
           ask(pool))
        more--;
    watch_silence(pool);
}

/* Connections have gone that workers were asked for: those that nobody needs then go, too. */
static void note_surplus(struct ax_pool *pool)
{
    if (!is_shared(pool) && pool->state == AX_POOL_RUNNING && unused(pool) > pool->waiting + spares_wanted(pool) &&
        !uv_is_active((uv_handle_t *)&pool->demand_timer))
        uv_timer_start(&pool->demand_timer, on_demand_timer, DEMAND_MS, DEMAND_MS);
}

void ax_pool_demand(struct ax_pool *pool, size_t waiting)
{
    note_shortage(pool, waiting > pool->waiting ? waiting - pool->waiting : 0);
    pool->waiting = waiting;
    fill(pool);
    note_surplus(pool);
}

void ax_pool_grouped(struct ax_pool *pool)
{
    fill(pool);
}

/* ---- zygotes ---- */

/* There is another zygote now. */
static void outdate(struct ax_pool *pool, struct ax_child *child)
{
    update_role(pool, child);
    if (is_left_over(pool, child))
        retire(pool, child);
}

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
    for_all(pool, outdate);
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
    const struct ax_child *child;

    if ((pool->nursery != NULL && pool->nursery->pid == pid) || (pool->reload != NULL && pool->reload->pid == pid))
        return true;
    child = ax_pids_find(&pool->keepers, pid);
    return child != NULL && !child->was_killed;
}

static void sweep(struct ax_pool *pool)
{
    uv_timer_stop(&pool->sweep_timer);
    pool->swept_at = uv_now(pool->loop);
    ax_tree_sweep(is_ours, pool);
}

static void on_sweep_timer(uv_timer_t *timer)
{
    sweep(timer->data);
}

/* Now, or when some time has passed since the last one. */
static void sweep_soon(struct ax_pool *pool)
{
    uint64_t due = pool->swept_at + SWEEP_MS;
    uint64_t now = uv_now(pool->loop);

    if (now >= due)
        sweep(pool);
    else if (!uv_is_active((uv_handle_t *)&pool->sweep_timer))
        uv_timer_start(&pool->sweep_timer, on_sweep_timer, due - now, 0);
}

/* A zygote; a keeper, once its zygote has ended; or something that was left behind, and may have left more behind. */
static void on_sigchld(uv_signal_t *handle, int number)
{
    struct ax_pool *pool = handle->data;
    pid_t pid;
    int status;

    (void)number;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (!ax_nursery_bury(pool->nursery, pid, status))
            ax_nursery_bury(pool->reload, pid, status);
    sweep_soon(pool);
    finish_if_empty(pool);
}

/* ---- life ---- */

int ax_pool_init(struct ax_pool *pool, uv_loop_t *loop, const struct ax_options *options, size_t limit,
                 const struct ax_pool_events *events, void *owner)
{
    *pool = (struct ax_pool){.loop = loop, .options = options, .limit = limit, .events = events, .owner = owner};
    ax_tree_adopt();
    uv_timer_init(loop, &pool->retry_timer);
    uv_timer_init(loop, &pool->silence_timer);
    uv_timer_init(loop, &pool->stop_timer);
    uv_timer_init(loop, &pool->demand_timer);
    uv_timer_init(loop, &pool->sweep_timer);
    pool->retry_timer.data = pool->silence_timer.data = pool->stop_timer.data = pool->demand_timer.data =
        pool->sweep_timer.data = pool->sigchld.data = pool;
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

static void on_kill_overdue(uv_timer_t *timer);

static void kill_child(struct ax_pool *pool, struct ax_child *child)
{
    (void)pool;
    ax_child_kill(child);
}

void ax_pool_kill(struct ax_pool *pool)
{
    for_all(pool, kill_child);
    if (pool->state == AX_POOL_STOPPING)
        uv_timer_start(&pool->stop_timer, on_kill_overdue, KILL_MS, 0);
}

static void give_up_child(struct ax_pool *pool, struct ax_child *child)
{
    (void)pool;
    ax_child_give_up(child);
}

static void on_kill_overdue(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    ax_log(AX_LOG_WARNING, "processes that were killed are still there");
    pool->state = AX_POOL_EMPTY;
    for_all(pool, give_up_child);
    pool->events->empty(pool);
}

static void on_stop_overdue(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    if (pool->count > 0)
        ax_log(AX_LOG_WARNING, "a worker did not end in time, and is killed");
    ax_pool_kill(pool);
    sweep(pool);
}

static void finish_if_empty(struct ax_pool *pool)
{
    if (pool->state != AX_POOL_STOPPING || pool->nursery != NULL || pool->reload != NULL || pool->count > 0 ||
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
    uv_timer_stop(&pool->demand_timer);
    if (pool->nursery != NULL)
        ax_nursery_kill(pool->nursery);
    if (pool->reload != NULL)
        ax_nursery_kill(pool->reload);
    for (int role = 0; role < AX_POOL_ROLES; role++)
        for (struct ax_child *child = pool->lists[role].first; child != NULL; child = child->next) {
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
    uv_close((uv_handle_t *)&pool->demand_timer, NULL);
    uv_close((uv_handle_t *)&pool->sweep_timer, NULL);
    uv_close((uv_handle_t *)&pool->sigchld, NULL);
}

void ax_pool_free_memory(struct ax_pool *pool)
{
    ax_texts_fini(&pool->arguments);
    ax_texts_fini(&pool->reload_arguments);
    ax_pids_fini(&pool->keepers);
}
