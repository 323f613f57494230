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

/* Limit of workers that are being started: more would not be ready sooner, and a stuck zygote holds all of them. */
#define STARTING_MAX 8u

/* Of the extra spare workers that were not needed for this long, half are dismissed. */
#define DEMAND_MS 250u

/* Least time between two passes that kill orphans: reading the list of children takes longer the more there are. */
#define ORPHANS_MS 50u

/* A fork takes milliseconds. Below the handshake timeout, so that clients survive a stuck zygote. */
#define SILENCE_MS 5000u

/* Delay after a failure: doubles with each one. */
#define FIRST_RETRY_MS 100u
#define RETRY_DOUBLINGS 5u

/* By then a killed process has exited, unless it hangs in the kernel. */
#define KILL_MS 2000u

static void fill(struct ax_pool *pool);
static void finish_if_empty(struct ax_pool *pool);
static void kill_orphans_soon(struct ax_pool *pool);
static bool is_ours(void *arg, pid_t pid);

static bool is_shared(const struct ax_pool *pool)
{
    return pool->options->isolation == AX_ISOLATION_SHARED;
}

/* ---- retries ---- */

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
        return; /* one is enough */
    ax_log(AX_LOG_WARNING, "cannot start a worker: %s", why);
    try_later(pool);
}

/* ---- workers ---- */

static void enlist(struct ax_pool *pool, struct ax_worker_handle *worker, enum ax_pool_role role)
{
    struct ax_pool_list *list = &pool->lists[role];

    worker->role = role;
    worker->next = NULL;
    worker->previous = list->last;
    if (list->last != NULL)
        list->last->next = worker;
    else
        list->first = worker;
    list->last = worker;
    list->count++;
}

static void delist(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    struct ax_pool_list *list = &pool->lists[worker->role];

    if (worker->previous != NULL)
        worker->previous->next = worker->next;
    else
        list->first = worker->next;
    if (worker->next != NULL)
        worker->next->previous = worker->previous;
    else
        list->last = worker->previous;
    list->count--;
}

static bool is_current(const struct ax_pool *pool, const struct ax_worker_handle *worker)
{
    return worker->generation == pool->generation;
}

static enum ax_pool_role role_of(const struct ax_pool *pool, const struct ax_worker_handle *worker)
{
    if (worker->state == AX_WORKER_STARTING)
        return is_current(pool, worker) ? AX_POOL_ORDERED : AX_POOL_OUTDATED;
    if (worker->state == AX_WORKER_READY && is_current(pool, worker) && (is_shared(pool) || worker->given == 0))
        return AX_POOL_OPEN;
    return AX_POOL_OTHER;
}

/* To be called after each change of what its role depends on. */
static void update_role(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    enum ax_pool_role role = role_of(pool, worker);

    if (role == worker->role)
        return;
    delist(pool, worker);
    enlist(pool, worker, role);
}

static void forget_worker(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    delist(pool, worker);
    pool->count--;
    if (ax_pids_find(&pool->keepers, worker->keeper) == worker)
        ax_pids_remove(&pool->keepers, worker->keeper);
}

const struct ax_worker_handle *ax_pool_next(const struct ax_pool *pool, const struct ax_worker_handle *worker)
{
    const struct ax_worker_handle *next = worker->next;

    for (unsigned role = worker->role + 1; next == NULL && role < AX_POOL_ROLES; role++)
        next = pool->lists[role].first;
    return next;
}

const struct ax_worker_handle *ax_pool_first(const struct ax_pool *pool)
{
    const struct ax_worker_handle *first = NULL;

    for (unsigned role = 0; first == NULL && role < AX_POOL_ROLES; role++)
        first = pool->lists[role].first;
    return first;
}

/* Calls `act` for each worker of a role; `act` may remove it from its list. */
static void for_each(struct ax_pool *pool, enum ax_pool_role role,
                     void (*act)(struct ax_pool *, struct ax_worker_handle *))
{
    struct ax_worker_handle *next;

    for (struct ax_worker_handle *worker = pool->lists[role].first; worker != NULL; worker = next) {
        next = worker->next;
        pool->steps++;
        act(pool, worker);
    }
}

static void for_all(struct ax_pool *pool, void (*act)(struct ax_pool *, struct ax_worker_handle *))
{
    for (int role = 0; role < AX_POOL_ROLES; role++)
        for_each(pool, (enum ax_pool_role)role, act);
}

/* A worker that is not needed any more: of an old zygote, and without a connection. */
static bool is_left_over(const struct ax_pool *pool, const struct ax_worker_handle *worker)
{
    return worker->state == AX_WORKER_READY && !is_current(pool, worker) && worker->connections == 0;
}

static void retire(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    if (worker->given == 0) {
        ax_worker_handle_kill(worker);
        return;
    }
    ax_worker_handle_stop(worker, pool->options->grace_ms, "The server has reloaded");
    ax_worker_handle_end_after(worker, pool->options->grace_ms);
}

/* If its keeper were not in the table, it would be killed as an orphan. */
static void on_worker_started(struct ax_worker_handle *worker)
{
    struct ax_pool *pool = worker->owner;

    pool->forked_at = worker->started_at;
    if (ax_pids_add(&pool->keepers, worker->keeper, worker) < 0)
        ax_worker_handle_kill(worker);
}

static void on_worker_ready(struct ax_worker_handle *worker)
{
    struct ax_pool *pool = worker->owner;

    update_role(pool, worker);
    if (pool->state == AX_POOL_STOPPING) {
        ax_worker_handle_kill(worker);
        return;
    }
    pool->failures = 0;
    if (is_left_over(pool, worker))
        retire(pool, worker);
    else
        pool->events->room(pool);
    fill(pool);
}

static void on_worker_ended(struct ax_worker_handle *worker, uint64_t id, const char *reason)
{
    struct ax_pool *pool = worker->owner;

    pool->events->ended(pool, worker, id, reason);
    if (!is_shared(pool)) {
        worker->state = AX_WORKER_STOPPING;
        update_role(pool, worker);
        ax_worker_handle_end_after(worker, pool->options->grace_ms);
    } else if (is_left_over(pool, worker)) {
        retire(pool, worker);
    }
}

/* The worker is notified, too, and ends by itself if it can. */
static void on_worker_abandoned(struct ax_worker_handle *worker)
{
    struct ax_pool *pool = worker->owner;

    ax_worker_handle_end_after(worker, pool->options->grace_ms);
}

static void on_worker_writable(struct ax_worker_handle *worker)
{
    struct ax_pool *pool = worker->owner;

    pool->events->room(pool);
}

static void on_worker_died(struct ax_worker_handle *worker, enum ax_worker_handle_state before, bool in_order,
                           const char *how)
{
    struct ax_pool *pool = worker->owner;
    char reason[AX_ERROR_TEXT_SIZE];
    size_t lost;

    update_role(pool, worker);
    ax_error_format(reason, sizeof reason, "The worker, process %ld, %s", (long)worker->pid, how);
    lost = pool->events->lost(pool, worker, reason);
    if (before == AX_WORKER_STARTING) {
        cannot_start_worker(pool, worker->was_killed ? "it did not answer in time" : how);
    } else if (in_order ? lost > 0 && !worker->was_abandoned : lost > 0 || !worker->was_killed) {
        ax_log(AX_LOG_WARNING, "the worker, process %ld, %s; connections lost: %zu", (long)worker->pid, how, lost);
    }
    if (before == AX_WORKER_READY && worker->given == 0 && !worker->was_killed)
        try_later(pool); /* a spare worker that ends by itself: its replacement may do the same */
}

static void on_worker_gone(struct ax_worker_handle *worker)
{
    struct ax_pool *pool = worker->owner;

    forget_worker(pool, worker);
    if (pool->groups != NULL)
        ax_groups_end(pool->groups, worker->group);
    kill_orphans_soon(pool); /* its keeper may have been killed, and its descendants are our children now */
    fill(pool);
    finish_if_empty(pool);
}

static const struct ax_worker_handle_events worker_events = {
    .started = on_worker_started,
    .ready = on_worker_ready,
    .ended = on_worker_ended,
    .abandoned = on_worker_abandoned,
    .writable = on_worker_writable,
    .died = on_worker_died,
    .gone = on_worker_gone,
};

bool ax_pool_has_open(const struct ax_pool *pool)
{
    return pool->lists[AX_POOL_OPEN].first != NULL;
}

struct ax_worker_handle *ax_pool_give(struct ax_pool *pool, struct ax_client *client, uint32_t handshake_ms, int *code)
{
    *code = 0;
    for (struct ax_worker_handle *worker = pool->lists[AX_POOL_OPEN].first; worker != NULL; worker = worker->next) {
        pool->steps++;
        if (worker->wants_to_write || worker->free_count == 0)
            continue;
        *code = ax_worker_handle_give(worker, client, handshake_ms);
        if (*code == 0 && !is_shared(pool))
            ax_worker_handle_watch_client(worker, client);
        if (*code == 0) {
            update_role(pool, worker);
            if (pool->lists[AX_POOL_OPEN].count < pool->least_open)
                pool->least_open = pool->lists[AX_POOL_OPEN].count;
            return worker;
        }
        if (*code != -EAGAIN && *code != -EPIPE) /* -EPIPE: it is dying, which will be reported */
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

/* Workers without a connection. */
static size_t unused(const struct ax_pool *pool)
{
    return pool->lists[AX_POOL_ORDERED].count + pool->lists[AX_POOL_OPEN].count;
}

static size_t missing(const struct ax_pool *pool)
{
    size_t target = is_shared(pool) ? 1 : pool->waiting + spares_wanted(pool);
    size_t left = pool->limit + pool->options->spare_workers;
    size_t lack = target > unused(pool) ? target - unused(pool) : 0;

    left = left > pool->count ? left - pool->count : 0;
    return lack < left ? lack : left;
}

/* Stops a worker that has no connection, and is not to get one. */
static void dismiss(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    ax_worker_handle_kill(worker);
    worker->state = AX_WORKER_STOPPING;
    update_role(pool, worker);
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
 * Connections wait although there were spare workers: too few. Adds one for each that waits, up to the bound: with
 * connections that arrive one after another, enough to have one always ready are soon found.
 */
static void note_shortage(struct ax_pool *pool, size_t more)
{
    size_t left = AX_POOL_SPARE_MAX - pool->extra_spares;

    if (more == 0 || is_shared(pool) || pool->options->spare_workers == 0)
        return;
    pool->was_short = true;
    pool->extra_spares += more < left ? more : left;
    pool->least_open = 0;
    if (!uv_is_active((uv_handle_t *)&pool->demand_timer))
        uv_timer_start(&pool->demand_timer, on_demand_timer, DEMAND_MS, DEMAND_MS);
}

static bool ask(struct ax_pool *pool)
{
    struct ax_worker_handle *worker;
    uint32_t slots = is_shared(pool) ? (uint32_t)pool->limit : 1;
    bool is_grouped = pool->groups != NULL && pool->groups->exist;
    struct ax_group *group =
        is_grouped ? ax_groups_take(pool->groups, pool->options->worker_memory, pool->options->worker_tasks) : NULL;
    int code;

    if (is_grouped && group == NULL)
        return false; /* ax_pool_grouped() continues */
    code = ax_worker_handle_ask(&worker, pool->loop, pool->zygote, slots, group, &worker_events, pool);
    if (code < 0 && group != NULL)
        ax_groups_end(pool->groups, group);
    if (code == 0) {
        worker->generation = pool->generation;
        enlist(pool, worker, AX_POOL_ORDERED);
        pool->count++;
    } else if (code != -EAGAIN && code != -EPIPE) {
        cannot_start_worker(pool, strerror(-code));
    }
    return code == 0;
}

static void watch_silence(struct ax_pool *pool);

/*
 * Since when a requested worker has been overdue. The zygote forks them one after another, so each one that starts
 * shows that it is not stuck, however long a busy machine takes for all of them.
 */
static uint64_t silent_since(const struct ax_pool *pool, const struct ax_worker_handle *worker)
{
    uint64_t sign = worker->pid != 0 ? worker->started_at : pool->forked_at;

    return sign > worker->asked_at ? sign : worker->asked_at;
}

static void end_if_silent(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    if (worker->was_killed || silent_since(pool, worker) + SILENCE_MS > uv_now(pool->loop))
        return;
    if (worker->pid == 0 && is_current(pool, worker) && pool->zygote != NULL && !pool->zygote->was_dismissed) {
        ax_log(AX_LOG_WARNING, "the zygote, process %ld, does not answer, and is killed", (long)pool->zygote->pid);
        ax_zygote_handle_kill(pool->zygote);
    }
    ax_worker_handle_kill(worker);
}

/*
 * A requested worker did not start in time: if it has not been forked, the zygote is stuck; else the worker is, in an
 * after-fork hook of a preloaded module.
 */
static void on_silence(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    for_each(pool, AX_POOL_OUTDATED, end_if_silent);
    for_each(pool, AX_POOL_ORDERED, end_if_silent);
    watch_silence(pool);
}

/* The oldest unanswered request; NULL: there is none. */
static const struct ax_worker_handle *oldest_request(const struct ax_pool *pool)
{
    const struct ax_worker_handle *outdated = pool->lists[AX_POOL_OUTDATED].first; /* older than the current ones */

    return outdated != NULL ? outdated : pool->lists[AX_POOL_ORDERED].first;
}

static void watch_silence(struct ax_pool *pool)
{
    const struct ax_worker_handle *oldest = oldest_request(pool);
    uint64_t now = uv_now(pool->loop);
    uint64_t due = oldest != NULL ? silent_since(pool, oldest) + SILENCE_MS : 0;

    if (oldest == NULL)
        uv_timer_stop(&pool->silence_timer);
    else
        uv_timer_start(&pool->silence_timer, on_silence, due > now ? due - now : SILENCE_MS, 0);
}

static int start_zygote(struct ax_pool *pool, struct ax_zygote_handle **zygote, const struct ax_string_list *arguments);

/* Requests the missing workers, as far as possible now. */
static void fill(struct ax_pool *pool)
{
    size_t more;

    if (pool->state != AX_POOL_RUNNING || uv_is_active((uv_handle_t *)&pool->retry_timer))
        return;
    if (pool->zygote == NULL) {
        int code = start_zygote(pool, &pool->zygote, &pool->arguments);

        if (code < 0)
            cannot_start_worker(pool, strerror(-code));
        return;
    }
    more = pool->zygote->is_ready ? missing(pool) : 0;
    while (more > 0 && pool->lists[AX_POOL_ORDERED].count + pool->lists[AX_POOL_OUTDATED].count < STARTING_MAX &&
           ask(pool))
        more--;
    watch_silence(pool);
}

/* Connections that workers were requested for have gone: dismisses the workers that are not needed. */
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

/* The zygote has been replaced. */
static void outdate(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    update_role(pool, worker);
    if (is_left_over(pool, worker))
        retire(pool, worker);
}

static void replace_zygote(struct ax_pool *pool)
{
    struct ax_zygote_handle *old = pool->zygote;
    struct ax_string_list arguments = pool->arguments;

    pool->zygote = pool->reload;
    pool->reload = NULL;
    pool->arguments = pool->reload_arguments;
    pool->reload_arguments = (struct ax_string_list){0};
    pool->options = pool->reload_options;
    pool->generation++;
    ax_string_list_fini(&arguments);
    if (old != NULL)
        ax_zygote_handle_kill(old);
    for_all(pool, outdate);
    pool->events->reloaded(pool, true);
}

static void on_zygote_ready(struct ax_zygote_handle *zygote)
{
    struct ax_pool *pool = zygote->owner;

    if (zygote == pool->reload)
        replace_zygote(pool);
    if (pool->state == AX_POOL_STARTING) {
        pool->state = AX_POOL_RUNNING;
        pool->events->started(pool);
    }
    fill(pool);
}

static void on_zygote_pong(struct ax_zygote_handle *zygote)
{
    struct ax_pool *pool = zygote->owner;

    if (zygote == pool->zygote)
        pool->events->pong(pool);
}

static void end_reload(struct ax_pool *pool)
{
    pool->reload = NULL;
    ax_string_list_fini(&pool->reload_arguments);
    if (pool->state == AX_POOL_RUNNING)
        pool->events->reloaded(pool, false);
}

/* At once if the one that died had worked: otherwise its successor may fail in the same way. */
static void replace_dead_zygote(struct ax_pool *pool, bool was_ready)
{
    if (!was_ready || pool->failures > 0) {
        try_later(pool);
        return;
    }
    pool->failures = 1; /* until there is a worker */
    fill(pool);
}

static void on_zygote_died(struct ax_zygote_handle *zygote, const char *how)
{
    struct ax_pool *pool = zygote->owner;
    bool was_current = zygote == pool->zygote;

    if (pool->state != AX_POOL_STOPPING && (was_current || zygote == pool->reload) && !zygote->has_explained)
        ax_log(pool->state == AX_POOL_STARTING ? AX_LOG_ERROR : AX_LOG_WARNING, "the zygote, process %ld, %s",
               (long)zygote->pid, how);
    if (zygote == pool->reload) {
        end_reload(pool);
        finish_if_empty(pool);
        return;
    }
    if (!was_current)
        return;
    pool->zygote = NULL;
    if (pool->state == AX_POOL_STARTING)
        pool->events->failed(pool);
    else
        replace_dead_zygote(pool, zygote->is_ready);
    finish_if_empty(pool);
}

static int start_zygote(struct ax_pool *pool, struct ax_zygote_handle **zygote, const struct ax_string_list *arguments)
{
    static const struct ax_zygote_handle_events events = {
        .ready = on_zygote_ready, .pong = on_zygote_pong, .died = on_zygote_died};
    char **environment = NULL;
    int code;

    if (pool->options->run_as_peer) {
        environment = ax_login_make_environment(environ);
        if (environment == NULL)
            return -ENOMEM;
    }
    code = ax_zygote_handle_start(zygote, pool->loop, arguments, environment != NULL ? environment : environ, &events,
                                  pool);
    free(environment);
    return code;
}

static int make_arguments(const struct ax_options *options, struct ax_string_list *arguments)
{
    struct ax_options zygote = *options; /* borrows the strings */

    zygote.role = AX_PROCESS_ZYGOTE;
    zygote.control_fd = AX_PROCESS_CONTROL_FD;
    if (ax_string_list_add(arguments, "acrossd") < 0)
        return -1;
    return ax_options_to_arguments(&zygote, AX_OPTION_WORKER, arguments);
}

void ax_pool_reload(struct ax_pool *pool, const struct ax_options *options)
{
    int code;

    if (pool->reload != NULL) /* a reload during a reload: the newest counts */
        ax_zygote_handle_kill(pool->reload);
    pool->reload = NULL;
    ax_string_list_fini(&pool->reload_arguments);
    pool->reload_options = options;
    code = make_arguments(options, &pool->reload_arguments) < 0
               ? -ENOMEM
               : start_zygote(pool, &pool->reload, &pool->reload_arguments);
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot start a zygote: %s", strerror(-code));
        end_reload(pool);
    }
}

void ax_pool_ping(struct ax_pool *pool)
{
    if (pool->zygote != NULL && pool->zygote->is_ready)
        ax_zygote_handle_ping(pool->zygote);
}

/* ---- orphans ---- */

static bool is_ours(void *arg, pid_t pid)
{
    const struct ax_pool *pool = arg;
    const struct ax_worker_handle *worker;

    if ((pool->zygote != NULL && pool->zygote->pid == pid) || (pool->reload != NULL && pool->reload->pid == pid))
        return true;
    worker = ax_pids_find(&pool->keepers, pid);
    return worker != NULL && !worker->was_killed;
}

static void sweep(struct ax_pool *pool)
{
    uv_timer_stop(&pool->orphans_timer);
    pool->orphans_killed_at = uv_now(pool->loop);
    ax_tree_kill_orphans(is_ours, pool);
}

static void on_orphans_timer(uv_timer_t *timer)
{
    sweep(timer->data);
}

/* Now, or when enough time has passed since the last pass. */
static void kill_orphans_soon(struct ax_pool *pool)
{
    uint64_t due = pool->orphans_killed_at + ORPHANS_MS;
    uint64_t now = uv_now(pool->loop);

    if (now >= due)
        sweep(pool);
    else if (!uv_is_active((uv_handle_t *)&pool->orphans_timer))
        uv_timer_start(&pool->orphans_timer, on_orphans_timer, due - now, 0);
}

/* A zygote; a keeper whose zygote has exited; or an orphan, which may have left further ones. */
static void on_sigchld(uv_signal_t *handle, int number)
{
    struct ax_pool *pool = handle->data;
    pid_t pid;
    int status;

    (void)number;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (!ax_zygote_handle_reap(pool->zygote, pid, status))
            ax_zygote_handle_reap(pool->reload, pid, status);
    kill_orphans_soon(pool);
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
    uv_timer_init(loop, &pool->orphans_timer);
    pool->retry_timer.data = pool->silence_timer.data = pool->stop_timer.data = pool->demand_timer.data =
        pool->orphans_timer.data = pool->sigchld.data = pool;
    if (make_arguments(options, &pool->arguments) < 0)
        return -ENOMEM;
    int code = uv_signal_init(loop, &pool->sigchld);

    return code < 0 ? code : uv_signal_start(&pool->sigchld, on_sigchld, SIGCHLD);
}

void ax_pool_start(struct ax_pool *pool)
{
    int code = start_zygote(pool, &pool->zygote, &pool->arguments);

    if (code == 0)
        return;
    ax_log(AX_LOG_ERROR, "cannot start a zygote: %s", strerror(-code));
    pool->events->failed(pool);
}

static void on_kill_overdue(uv_timer_t *timer);

static void kill_worker(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    (void)pool;
    ax_worker_handle_kill(worker);
}

void ax_pool_kill(struct ax_pool *pool)
{
    for_all(pool, kill_worker);
    if (pool->state == AX_POOL_STOPPING)
        uv_timer_start(&pool->stop_timer, on_kill_overdue, KILL_MS, 0);
}

static void give_up_worker(struct ax_pool *pool, struct ax_worker_handle *worker)
{
    (void)pool;
    ax_worker_handle_give_up(worker);
}

static void on_kill_overdue(uv_timer_t *timer)
{
    struct ax_pool *pool = timer->data;

    ax_log(AX_LOG_WARNING, "processes that were killed are still there");
    pool->state = AX_POOL_EMPTY;
    for_all(pool, give_up_worker);
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
    if (pool->state != AX_POOL_STOPPING || pool->zygote != NULL || pool->reload != NULL || pool->count > 0 ||
        ax_tree_kill_orphans(is_ours, pool) > 0)
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
    if (pool->zygote != NULL)
        ax_zygote_handle_kill(pool->zygote);
    if (pool->reload != NULL)
        ax_zygote_handle_kill(pool->reload);
    for (int role = 0; role < AX_POOL_ROLES; role++)
        for (struct ax_worker_handle *worker = pool->lists[role].first; worker != NULL; worker = worker->next) {
            if (worker->given == 0)
                ax_worker_handle_kill(worker);
            else
                ax_worker_handle_stop(worker, grace_ms, reason);
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
    uv_close((uv_handle_t *)&pool->orphans_timer, NULL);
    uv_close((uv_handle_t *)&pool->sigchld, NULL);
}

void ax_pool_free_memory(struct ax_pool *pool)
{
    ax_string_list_fini(&pool->arguments);
    ax_string_list_fini(&pool->reload_arguments);
    ax_pids_fini(&pool->keepers);
}
