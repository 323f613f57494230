/* SPDX-License-Identifier: MIT */
#include "daemon/supervisor.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "daemon/admission/admission.h"
#include "daemon/admission/fd_budget.h"
#include "daemon/admission/goodbye.h"
#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/listen/sockets.h"
#include "daemon/notify.h"
#include "daemon/process/groups.h"
#include "daemon/process/interpreter.h"
#include "daemon/process/pool.h"
#include "daemon/process/process.h"
#include "daemon/reload.h"
#include "daemon/status/reply.h"
#include "daemon/status/reporter.h"

#define STATUS_MS 1000u /* between two status lines for the service manager */

/* After the last process has ended: to finish sending to peers that read slowly. */
#define END_MS 1500u

/* After a second signal the process ends within this time, whatever goes wrong. */
#define LAST_RESORT_MS 10000u

enum state {
    STARTING, /* no zygote has been ready yet */
    SERVING,
    STOPPING,
};

struct supervisor {
    enum state state;
    int status; /* the exit status */
    uint64_t started_at;
    uint64_t calls_done; /* by workers that have exited */
    uv_loop_t loop;
    struct ax_admission admission;
    struct ax_replies replies;
    struct ax_reporter reporter;
    struct ax_reload reload; /* has the options in use */
    struct ax_groups groups;
    struct ax_pool pool;
    uv_timer_t status_timer;   /* runs when the number of connections has changed, until the service manager is told */
    uv_timer_t watchdog_timer; /* for watchdog messages to the service manager */
    uv_timer_t end_timer;      /* runs from the end of the last process on */
    bool is_hurried;           /* there was a second signal */
    uv_signal_t signals[3];
};

static void begin_stop(struct supervisor *supervisor, int status);

/* ---- the service manager ---- */

static void on_status_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;

    ax_notify_status("Serving; connections: %zu", supervisor->admission.clients.count[AX_CLIENT_SERVED]);
}

static void status_changed(struct supervisor *supervisor)
{
    if (supervisor->state == SERVING && ax_notify_is_wanted() &&
        !uv_is_active((uv_handle_t *)&supervisor->status_timer))
        uv_timer_start(&supervisor->status_timer, on_status_timer, STATUS_MS, 0);
}

/* While stopping, there may be no zygote to answer, and the service manager must not kill this process. */
static void on_watchdog_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;

    if (supervisor->state == STOPPING)
        ax_notify_watchdog();
    else
        ax_pool_ping(&supervisor->pool);
}

static void on_pong(struct ax_pool *pool)
{
    (void)pool;
    ax_notify_watchdog();
}

/* ---- events of the admission ---- */

static bool has_room(void *owner)
{
    const struct supervisor *supervisor = owner;

    return ax_pool_has_open(&supervisor->pool);
}

static int on_offer(void *owner, struct ax_client *client, uint32_t handshake_ms)
{
    struct supervisor *supervisor = owner;
    int code;
    struct ax_worker_handle *worker = ax_pool_give(&supervisor->pool, client, handshake_ms, &code);

    if (worker == NULL)
        return code;
    client->worker = worker;
    status_changed(supervisor);
    return 1;
}

static void on_demand(void *owner, size_t waiting)
{
    struct supervisor *supervisor = owner;

    ax_pool_demand(&supervisor->pool, waiting);
}

static void on_status_asked(void *owner, int fd, enum ax_status_format format)
{
    struct supervisor *supervisor = owner;

    ax_reporter_answer(&supervisor->reporter, fd, format);
}

/* A shared worker serves others, too. */
static void on_abandoned(void *owner, struct ax_client *client)
{
    const struct supervisor *supervisor = owner;

    if (supervisor->reload.options->isolation == AX_ISOLATION_PROCESS)
        ax_worker_handle_abandon(client->worker);
}

/* ---- the status ---- */

static void gather(void *owner, struct ax_report_source *source)
{
    const struct supervisor *supervisor = owner;

    *source = (struct ax_report_source){
        .options = supervisor->reload.options,
        .acceptor = &supervisor->admission.acceptor,
        .clients = &supervisor->admission.clients,
        .pool = &supervisor->pool,
        .connection_source_limit = supervisor->admission.source_limit,
        .handshake_limit = supervisor->admission.handshakes.limit,
        .handshake_source_limit = supervisor->admission.handshakes.source_limit,
        .started_at = supervisor->started_at,
        .calls_done = supervisor->calls_done,
        .now = uv_now(&supervisor->loop),
        .is_stopping = supervisor->state == STOPPING,
    };
}

/* ---- events of the pool ---- */

static void on_groups_ready(void *owner)
{
    struct supervisor *supervisor = owner;

    ax_pool_grouped(&supervisor->pool);
}

static void on_started(struct ax_pool *pool)
{
    struct supervisor *supervisor = pool->owner;

    supervisor->state = SERVING;
    ax_admission_open(&supervisor->admission);
    ax_notify_ready("Serving");
}

static void on_failed(struct ax_pool *pool)
{
    begin_stop(pool->owner, 1);
}

static void on_room(struct ax_pool *pool)
{
    struct supervisor *supervisor = pool->owner;

    if (supervisor->state == SERVING)
        ax_admission_dispatch(&supervisor->admission);
}

static void end_served(struct supervisor *supervisor, struct ax_client *client, const char *reason)
{
    ax_worker_handle_release(client->worker, client);
    ax_admission_end(&supervisor->admission, client, reason);
    status_changed(supervisor);
}

static void on_ended(struct ax_pool *pool, struct ax_worker_handle *worker, uint64_t id, const char *reason)
{
    struct supervisor *supervisor = pool->owner;
    struct ax_client *client = ax_admission_find(&supervisor->admission, id);

    if (client != NULL && client->worker == worker)
        end_served(supervisor, client, reason);
    ax_admission_relieved(&supervisor->admission);
}

/*
 * Its worker is dead. Returns whether the connection is lost; a client whose stream is untouched gets another worker.
 */
static bool lose(struct supervisor *supervisor, struct ax_worker_handle *worker, struct ax_client *client,
                 const char *reason)
{
    if (supervisor->state == SERVING && !ax_worker_handle_has_touched(worker, client)) {
        ax_worker_handle_release(worker, client);
        ax_admission_return(&supervisor->admission, client);
        return false;
    }
    if (ax_worker_handle_may_explain(worker, client))
        ax_goodbye_explain(client->fd, reason);
    end_served(supervisor, client, NULL); /* the worker's end is one line of the log, for all its connections */
    return true;
}

/* From the newest on, so that those that wait again do so in the order in which they came. */
static size_t on_lost(struct ax_pool *pool, struct ax_worker_handle *worker, const char *reason)
{
    struct supervisor *supervisor = pool->owner;
    struct ax_client *client = worker->last_client;
    size_t count = 0;

    supervisor->calls_done += worker->stats->calls.calls_done;
    while (client != NULL) {
        struct ax_client *previous = client->previous_of_worker;

        if (lose(supervisor, worker, client, reason))
            count++;
        client = previous;
    }
    if (supervisor->state == SERVING)
        ax_admission_dispatch(&supervisor->admission);
    return count;
}

/* The end of the process closes what is still open. */
static void on_end_overdue(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void close_handles(struct supervisor *supervisor)
{
    uv_timer_start(&supervisor->end_timer, on_end_overdue, END_MS, 0);
    uv_unref((uv_handle_t *)&supervisor->end_timer);
    ax_admission_close(&supervisor->admission);
    ax_reporter_close(&supervisor->reporter);
    ax_reload_close(&supervisor->reload);
    ax_replies_end(&supervisor->replies);
    ax_pool_close(&supervisor->pool);
    ax_groups_close(&supervisor->groups);
    uv_close((uv_handle_t *)&supervisor->status_timer, NULL);
    uv_close((uv_handle_t *)&supervisor->watchdog_timer, NULL);
    for (size_t i = 0; i < sizeof supervisor->signals / sizeof supervisor->signals[0]; i++)
        uv_close((uv_handle_t *)&supervisor->signals[i], NULL);
}

static void on_reloaded(struct ax_pool *pool, bool done)
{
    struct supervisor *supervisor = pool->owner;

    ax_reload_finish(&supervisor->reload, done);
}

static void on_empty(struct ax_pool *pool)
{
    close_handles(pool->owner);
}

/* ---- stopping ---- */

static void begin_stop(struct supervisor *supervisor, int status)
{
    supervisor->state = STOPPING;
    supervisor->status = status;
    ax_notify_stopping();
    ax_reload_stop(&supervisor->reload);
    ax_admission_stop(&supervisor->admission);
    ax_pool_stop(&supervisor->pool, supervisor->reload.options->grace_ms, "The server is stopping");
}

static void hurry(struct supervisor *supervisor)
{
    if (!supervisor->is_hurried)
        ax_process_exit_within(LAST_RESORT_MS, supervisor->status);
    supervisor->is_hurried = true;
    ax_pool_kill(&supervisor->pool);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct supervisor *supervisor = handle->data;

    ax_log(AX_LOG_DEBUG, "got signal %d (%s)", number, strsignal(number));
    if (supervisor->state == STOPPING) {
        if (number != SIGHUP)
            hurry(supervisor);
    } else if (number != SIGHUP) {
        begin_stop(supervisor, 0);
    } else if (supervisor->state == SERVING) {
        ax_reload_begin(&supervisor->reload);
    }
}

/* ---- starting ---- */

/* Whether zygotes will find their interpreter. Returns an exit status. */
static int check_interpreter(const struct ax_options *options)
{
    struct ax_interpreter interpreter;
    char error[AX_ERROR_TEXT_SIZE];
    enum ax_interpreter_result result = ax_interpreter_find(&interpreter, options, error, sizeof error);

    if (result == AX_INTERPRETER_OK) {
        ax_interpreter_fini(&interpreter);
        return 0;
    }
    ax_log(AX_LOG_ERROR, "%s", error);
    return result == AX_INTERPRETER_REFUSED ? 2 : 1;
}

static int watch_signals(struct supervisor *supervisor)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    int code = 0;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && code == 0; i++) {
        code = uv_signal_init(&supervisor->loop, &supervisor->signals[i]);
        supervisor->signals[i].data = supervisor;
        if (code == 0)
            code = uv_signal_start(&supervisor->signals[i], on_signal, numbers[i]);
    }
    ax_process_unblock_signals();
    return code;
}

static void start_timers(struct supervisor *supervisor)
{
    uint64_t interval = ax_notify_watchdog_ms() / 2;

    uv_timer_init(&supervisor->loop, &supervisor->status_timer);
    uv_timer_init(&supervisor->loop, &supervisor->watchdog_timer);
    uv_timer_init(&supervisor->loop, &supervisor->end_timer);
    supervisor->status_timer.data = supervisor->watchdog_timer.data = supervisor;
    if (interval > 0)
        uv_timer_start(&supervisor->watchdog_timer, on_watchdog_timer, interval, interval);
}

/* Logs which limits of a worker no control group enforces. */
static void explain_limits(const struct supervisor *supervisor, const struct ax_options *options)
{
    const struct ax_groups *groups = &supervisor->groups;
    bool is_bounded = groups->exist && groups->base.has_memory;

    if (options->worker_tasks > 0 && !(groups->exist && groups->base.has_pids))
        ax_log(
            AX_LOG_WARNING,
            "--worker-tasks needs a control group (cgroup v2) that is delegated to acrossd, with the controller pids: "
            "there is no such limit");
    if (options->worker_memory > 0 && !is_bounded)
        ax_log(AX_LOG_DEBUG,
               "there is no control group for workers that limits memory: --worker-memory holds for each process of a "
               "worker (RLIMIT_DATA)");
}

static int init_pool(struct supervisor *supervisor, const struct ax_options *options, size_t limit)
{
    static const struct ax_pool_events events = {
        .started = on_started,
        .failed = on_failed,
        .room = on_room,
        .ended = on_ended,
        .lost = on_lost,
        .pong = on_pong,
        .reloaded = on_reloaded,
        .empty = on_empty,
    };
    int code = ax_pool_init(&supervisor->pool, &supervisor->loop, options, limit, &events, supervisor);

    if (code == 0)
        code = ax_groups_init(&supervisor->groups, &supervisor->loop, on_groups_ready, supervisor);
    if (code == 0)
        explain_limits(supervisor, options);
    supervisor->pool.groups = &supervisor->groups;
    return code;
}

/* Initialises all that uses the loop. 0, or a negative errno. */
static int init(struct supervisor *supervisor, const struct ax_options *options, int argc, char *const *argv,
                struct ax_listener *listeners, size_t count)
{
    static const struct ax_admission_events events = {
        .has_room = has_room,
        .offer = on_offer,
        .demand = on_demand,
        .status_asked = on_status_asked,
        .abandoned = on_abandoned,
    };
    bool has_tls = supervisor->admission.identity != NULL;
    struct ax_fd_budget budget = ax_fd_budget_find(options, has_tls, ax_process_raise_file_limit());
    int code = uv_loop_init(&supervisor->loop);

    if (code < 0)
        return code;
    supervisor->started_at = uv_now(&supervisor->loop);
    supervisor->replies.loop = &supervisor->loop;
    code = ax_reload_init(&supervisor->reload, &supervisor->loop, argc, argv, options, &supervisor->admission,
                          &supervisor->pool);
    if (code < 0)
        return code;
    ax_reporter_init(&supervisor->reporter, &supervisor->loop, &supervisor->replies, gather, supervisor);
    code = ax_admission_init(&supervisor->admission, &supervisor->loop, options, &budget, listeners, count, &events,
                             supervisor);
    if (code == 0)
        code = init_pool(supervisor, options, budget.connections);
    start_timers(supervisor);
    return code == 0 ? watch_signals(supervisor) : code;
}

static void fini(struct supervisor *supervisor)
{
    uv_close((uv_handle_t *)&supervisor->end_timer, NULL);
    uv_run(&supervisor->loop, UV_RUN_NOWAIT);
    if (uv_loop_close(&supervisor->loop) < 0) /* some handles are open, and their memory goes with the process */
        ax_log(AX_LOG_DEBUG, "the event loop still had open handles at the end");
    ax_admission_free_memory(&supervisor->admission);
    ax_pool_free_memory(&supervisor->pool);
    ax_reporter_free_memory(&supervisor->reporter);
    ax_reload_free_memory(&supervisor->reload);
    ax_notify_fini();
}

/* Returns an exit status. */
static int load_admission(struct ax_admission *admission, const struct ax_options *options)
{
    char error[AX_ERROR_TEXT_SIZE];

    if (ax_admission_load(admission, options, error, sizeof error) == 0)
        return 0;
    ax_log(AX_LOG_ERROR, "%s", error);
    return 2;
}

int ax_supervisor_run(const struct ax_options *options, int argc, char *const *argv)
{
    struct supervisor supervisor = {.state = STARTING};
    struct ax_listener *listeners;
    size_t count;
    int status = check_interpreter(options);
    int code;

    ax_process_ignore_write_signals();
    if (status == 0)
        status = load_admission(&supervisor.admission, options);
    if (status == 0)
        status = ax_sockets_open(options, &listeners, &count);
    if (status != 0) {
        ax_admission_unload(&supervisor.admission);
        return status;
    }
    ax_notify_init();
    ax_log_start_times();
    code = init(&supervisor, options, argc, argv, listeners, count);
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot start: %s", uv_strerror(code));
        while (count > 0)
            ax_listener_close(&listeners[--count]);
        return 1; /* the process ends, and what was made so far with it */
    }
    ax_pool_start(&supervisor.pool);
    uv_run(&supervisor.loop, UV_RUN_DEFAULT);
    fini(&supervisor);
    return supervisor.status;
}
