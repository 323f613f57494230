/* SPDX-License-Identifier: MIT */
#include "daemon/status/report.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/address.h"
#include "daemon/process/pids.h"

/* ---- memory ---- */

struct ax_report_memory {
    struct ax_pids index; /* table of `figures` */
    size_t count;
    struct {
        pid_t pid;
        uint64_t bytes;
    } figures[AX_STATUS_ROWS_MAX];
};

struct ax_report_memory *ax_report_memory_new(const struct ax_pool *pool)
{
    struct ax_report_memory *memory = calloc(1, sizeof *memory);
    const struct ax_worker_handle *worker = ax_pool_first(pool);

    for (; memory != NULL && worker != NULL && memory->count < AX_STATUS_ROWS_MAX;
         worker = ax_pool_next(pool, worker)) {
        if (worker->pid <= 0)
            continue;
        memory->figures[memory->count].pid = worker->pid;
        if (ax_pids_add(&memory->index, worker->pid, &memory->figures[memory->count].bytes) < 0)
            break;
        memory->count++;
    }
    return memory;
}

void ax_report_memory_read(struct ax_report_memory *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        memory->figures[i].bytes = ax_status_memory(memory->figures[i].pid);
}

void ax_report_memory_free(struct ax_report_memory *memory)
{
    if (memory == NULL)
        return;
    ax_pids_fini(&memory->index);
    free(memory);
}

/* 0: unknown. */
static uint64_t memory_of(const struct ax_report_memory *memory, pid_t pid)
{
    const uint64_t *bytes = memory != NULL && pid > 0 ? ax_pids_find(&memory->index, pid) : NULL;

    return bytes != NULL ? *bytes : 0;
}

/* ---- the report ---- */

struct report {
    struct ax_status status;
    char (*addresses)[AX_ADDRESS_TEXT]; /* owned, like the rest */
    const char **address_list;
    struct ax_status_worker *workers;
    struct ax_status_connection *connections;
};

static void free_report(struct report *report)
{
    free(report->addresses);
    free(report->address_list);
    free(report->workers);
    free(report->connections);
}

static int add_addresses(struct report *report, const struct ax_acceptor *acceptor)
{
    report->addresses = calloc(acceptor->count + 1, sizeof *report->addresses);
    report->address_list = calloc(acceptor->count + 1, sizeof *report->address_list);
    if (report->addresses == NULL || report->address_list == NULL)
        return -1;
    for (size_t i = 0; i < acceptor->count; i++) {
        ax_listener_format(report->addresses[i], &acceptor->listeners[i]);
        report->address_list[i] = report->addresses[i];
    }
    report->status.addresses = report->address_list;
    report->status.address_count = acceptor->count;
    return 0;
}

static const char *state_of(const struct ax_worker_handle *worker)
{
    switch (worker->state) {
    case AX_WORKER_STARTING:
        return "starting";
    case AX_WORKER_READY:
        return worker->given == 0 ? "spare" : "serving";
    case AX_WORKER_STOPPING:
        return worker->connections > 0 ? "stopping" : "finishing";
    case AX_WORKER_DEAD:
        return "dead";
    }
    return "unknown";
}

static int add_workers(struct report *report, const struct ax_report_source *source)
{
    struct ax_status *status = &report->status;
    size_t count = 0;

    report->workers = calloc(AX_STATUS_ROWS_MAX, sizeof *report->workers);
    if (report->workers == NULL)
        return -1;
    for (const struct ax_worker_handle *worker = ax_pool_first(source->pool); worker != NULL;
         worker = ax_pool_next(source->pool, worker)) {
        const struct ax_call_stats *calls = &worker->stats->calls;

        status->calls_running += calls->calls_running;
        if (worker->state != AX_WORKER_DEAD)
            status->calls_done += calls->calls_done;
        if (count++ >= AX_STATUS_ROWS_MAX)
            continue;
        report->workers[count - 1] = (struct ax_status_worker){
            .pid = worker->pid,
            .state = state_of(worker),
            .age_ms = source->now - worker->asked_at,
            .memory = memory_of(source->memory, worker->pid),
            .connections = worker->connections,
            .calls_running = calls->calls_running,
            .calls_done = calls->calls_done,
        };
    }
    status->workers = report->workers;
    status->worker_count = count;
    return 0;
}

static int add_connections(struct report *report, const struct ax_report_source *source)
{
    static const char *const states[] = {"handshake", "waiting", "served"};
    const struct ax_clients *clients = source->clients;
    struct ax_status *status = &report->status;
    size_t count = 0;

    report->connections = calloc(AX_STATUS_ROWS_MAX, sizeof *report->connections);
    if (report->connections == NULL)
        return -1;
    for (int state = AX_CLIENT_ENDED - 1; state >= 0; state--)
        for (const struct ax_client *client = clients->first[state]; client != NULL; client = client->next) {
            if (count++ >= AX_STATUS_ROWS_MAX)
                continue;
            report->connections[count - 1] = (struct ax_status_connection){
                .id = client->id,
                .peer = client->peer,
                .state = states[state],
                .age_ms = source->now - client->since,
                .worker = client->worker != NULL ? client->worker->pid : 0,
            };
        }
    status->connection_rows = report->connections;
    status->connection_row_count = count;
    status->connections.open = ax_clients_open(clients);
    status->connections.waiting = clients->count[AX_CLIENT_WAITING];
    status->connections.handshaking = clients->count[AX_CLIENT_HANDSHAKE];
    status->connections.total = clients->last_id;
    status->connections.refused = clients->refused;
    return 0;
}

static void add_facts(struct report *report, const struct ax_report_source *source)
{
    const struct ax_zygote_handle *zygote = source->pool->zygote;
    const struct ax_groups *groups = source->pool->groups;
    struct ax_status *status = &report->status;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    status->version = AX_VERSION;
    status->python = AX_PYTHON_VERSION;
    status->pid = getpid();
    status->isolation = source->options->isolation == AX_ISOLATION_SHARED ? "shared" : "process";
    status->state = source->is_stopping ? "stopping" : "serving";
    status->as_of_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    status->uptime_ms = source->now - source->started_at;
    status->limits.connections = source->pool->limit;
    status->limits.connections_per_source = source->connection_source_limit;
    status->limits.handshakes = source->handshake_limit;
    status->limits.handshakes_per_source = source->handshake_source_limit;
    status->limits.worker_memory = source->options->worker_memory;
    status->limits.memory_by_group = groups != NULL && groups->exist && groups->base.has_memory;
    if (groups != NULL && groups->exist && groups->base.has_pids)
        status->limits.worker_tasks = source->options->worker_tasks;
    status->has_groups = groups != NULL && groups->exist;
    status->calls_done = source->calls_done;
    status->log_lines_lost = ax_log_lost();
    if (zygote != NULL) {
        status->zygote = zygote->pid;
        status->zygote_age_ms = source->now - zygote->started_at;
    }
}

int ax_report_make(const struct ax_report_source *source, enum ax_status_format format, char **text, size_t *size)
{
    struct report report = {0};
    struct ax_writer writer;
    int result = -1;

    add_facts(&report, source);
    if (add_addresses(&report, source->acceptor) == 0 && add_workers(&report, source) == 0 &&
        add_connections(&report, source) == 0)
        result = ax_status_format(&writer, &report.status, format);
    free_report(&report);
    if (result == 0) {
        *text = (char *)writer.text.data;
        *size = writer.text.size;
    }
    return result;
}
