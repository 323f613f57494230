/* SPDX-License-Identifier: MIT */
/* The status as text. */
#include "daemon/status/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/text.h"

#define CELL_SIZE 168   /* bytes of the longest cell, a peer's description; longer ones are cut */
#define COLUMNS_MAX 8   /* of a table */
#define NAME_WIDTH "13" /* of the labels above the tables */

/* ---- quantities ---- */

/* 123ms, 12s, 3m 12s, 4h 3m, 3d 4h */
static void format_duration(char *text, size_t size, uint64_t ms)
{
    uint64_t seconds = ms / 1000;
    uint64_t minutes = seconds / 60;
    uint64_t hours = minutes / 60;

    if (seconds == 0)
        snprintf(text, size, "%" PRIu64 "ms", ms);
    else if (minutes == 0)
        snprintf(text, size, "%" PRIu64 "s", seconds);
    else if (hours == 0)
        snprintf(text, size, "%" PRIu64 "m %" PRIu64 "s", minutes, seconds % 60);
    else if (hours < 24)
        snprintf(text, size, "%" PRIu64 "h %" PRIu64 "m", hours, minutes % 60);
    else
        snprintf(text, size, "%" PRIu64 "d %" PRIu64 "h", hours / 24, hours % 24);
}

/* 512 B, 1.5 kB, 12.3 MB: powers of a thousand. */
static void format_bytes(char *text, size_t size, uint64_t bytes)
{
    static const char units[] = "kMGTPE";
    double value = (double)bytes / 1000;
    size_t unit = 0;

    if (bytes < 1000) {
        snprintf(text, size, "%" PRIu64 " B", bytes);
        return;
    }
    for (; value >= 999.95; unit++)
        value /= 1000;
    snprintf(text, size, "%.1f %cB", value, units[unit]);
}

/* ---- tables ---- */

struct column {
    const char *title;
    bool is_text; /* otherwise a number, aligned right */
};

/* Writes one cell. */
typedef void cell_fn(char text[CELL_SIZE], const void *rows, size_t row, size_t column);

struct table {
    const struct column *columns;
    size_t column_count; /* <= COLUMNS_MAX */
    const void *rows;
    size_t row_count; /* all rows; AX_STATUS_ROWS_MAX are shown */
    cell_fn *cell;
    const char *plural; /* the noun for the rows */
};

static size_t shown_rows(const struct table *table)
{
    return table->row_count < AX_STATUS_ROWS_MAX ? table->row_count : AX_STATUS_ROWS_MAX;
}

static void measure(const struct table *table, int widths[COLUMNS_MAX])
{
    char text[CELL_SIZE];

    for (size_t i = 0; i < table->column_count; i++)
        widths[i] = (int)strlen(table->columns[i].title);
    for (size_t row = 0; row < shown_rows(table); row++) {
        for (size_t i = 0; i < table->column_count; i++) {
            table->cell(text, table->rows, row, i);
            if ((int)strlen(text) > widths[i])
                widths[i] = (int)strlen(text);
        }
    }
}

/* Two spaces between columns, none at the end of the line. */
static void write_cell(struct ax_writer *writer, const struct table *table, const int *widths, size_t i,
                       const char *text)
{
    bool is_last = i + 1 == table->column_count;
    int width = is_last && table->columns[i].is_text ? 0 : widths[i];

    ax_writer_print(writer, table->columns[i].is_text ? "%-*s%s" : "%*s%s", width, text, is_last ? "\n" : "  ");
}

static void write_table(struct ax_writer *writer, const struct table *table)
{
    int widths[COLUMNS_MAX];
    char text[CELL_SIZE];

    if (table->row_count == 0)
        return;
    measure(table, widths);
    ax_writer_print(writer, "\n");
    for (size_t i = 0; i < table->column_count; i++)
        write_cell(writer, table, widths, i, table->columns[i].title);
    for (size_t row = 0; row < shown_rows(table); row++) {
        for (size_t i = 0; i < table->column_count; i++) {
            table->cell(text, table->rows, row, i);
            write_cell(writer, table, widths, i, text);
        }
    }
    if (table->row_count > shown_rows(table))
        ax_writer_print(writer, "and %zu more %s\n", table->row_count - shown_rows(table), table->plural);
}

/* ---- the two tables ---- */

static void format_number(char text[CELL_SIZE], uint64_t number)
{
    snprintf(text, CELL_SIZE, "%" PRIu64, number);
}

enum worker_column {
    WORKER_PID,
    WORKER_STATE,
    WORKER_AGE,
    WORKER_MEMORY,
    WORKER_CONNECTIONS,
    WORKER_CALLS,
    WORKER_DONE
};

static void worker_cell(char text[CELL_SIZE], const void *rows, size_t row, size_t column)
{
    const struct ax_status_worker *worker = (const struct ax_status_worker *)rows + row;

    switch ((enum worker_column)column) {
    case WORKER_PID:
        format_number(text, (uint64_t)worker->pid);
        break;
    case WORKER_STATE:
        ax_text_copy(text, CELL_SIZE, worker->state, strlen(worker->state));
        break;
    case WORKER_AGE:
        format_duration(text, CELL_SIZE, worker->age_ms);
        break;
    case WORKER_MEMORY:
        if (worker->memory > 0)
            format_bytes(text, CELL_SIZE, worker->memory);
        else
            snprintf(text, CELL_SIZE, "-");
        break;
    case WORKER_CONNECTIONS:
        format_number(text, worker->connections);
        break;
    case WORKER_CALLS:
        format_number(text, worker->calls_running);
        break;
    case WORKER_DONE:
        format_number(text, worker->calls_done);
        break;
    }
}

enum connection_column { CONNECTION_ID, CONNECTION_STATE, CONNECTION_AGE, CONNECTION_WORKER, CONNECTION_PEER };

static void connection_cell(char text[CELL_SIZE], const void *rows, size_t row, size_t column)
{
    const struct ax_status_connection *connection = (const struct ax_status_connection *)rows + row;

    switch ((enum connection_column)column) {
    case CONNECTION_ID:
        format_number(text, connection->id);
        break;
    case CONNECTION_STATE:
        ax_text_copy(text, CELL_SIZE, connection->state, strlen(connection->state));
        break;
    case CONNECTION_AGE:
        format_duration(text, CELL_SIZE, connection->age_ms);
        break;
    case CONNECTION_WORKER:
        if (connection->worker > 0)
            format_number(text, (uint64_t)connection->worker);
        else
            snprintf(text, CELL_SIZE, "-");
        break;
    case CONNECTION_PEER:
        ax_text_copy(text, CELL_SIZE, connection->peer, strlen(connection->peer));
        break;
    }
}

static void write_tables(struct ax_writer *writer, const struct ax_status *status)
{
    static const struct column worker_columns[] = {
        [WORKER_PID] = {"WORKER", false},
        [WORKER_STATE] = {"STATE", true},
        [WORKER_AGE] = {"AGE", false},
        [WORKER_MEMORY] = {"MEMORY", false},
        [WORKER_CONNECTIONS] = {"CONNECTIONS", false},
        [WORKER_CALLS] = {"CALLS", false},
        [WORKER_DONE] = {"DONE", false},
    };
    static const struct column connection_columns[] = {
        [CONNECTION_ID] = {"CONNECTION", false}, [CONNECTION_STATE] = {"STATE", true},
        [CONNECTION_AGE] = {"AGE", false},       [CONNECTION_WORKER] = {"WORKER", false},
        [CONNECTION_PEER] = {"PEER", true},
    };
    const struct table workers = {
        worker_columns, WORKER_DONE + 1, status->workers, status->worker_count, worker_cell, "workers",
    };
    const struct table connections = {
        connection_columns,           CONNECTION_PEER + 1, status->connection_rows,
        status->connection_row_count, connection_cell,     "connections",
    };

    write_table(writer, &workers);
    write_table(writer, &connections);
}

/* ---- above the tables ---- */

static void write_line(struct ax_writer *writer, const char *text)
{
    ax_writer_add_line(writer, text, strlen(text));
}

static void write_name(struct ax_writer *writer, const char *name)
{
    ax_writer_print(writer, "%-" NAME_WIDTH "s", name);
}

static void write_addresses(struct ax_writer *writer, const struct ax_status *status)
{
    for (size_t i = 0; i < status->address_count; i++) {
        write_name(writer, i == 0 ? "addresses" : "");
        write_line(writer, status->addresses[i]);
        ax_writer_print(writer, "\n");
    }
}

static void write_limit(struct ax_writer *writer, const char *name, uint64_t limit)
{
    if (limit > 0)
        ax_writer_print(writer, "%" PRIu64 " %s", limit, name);
    else
        ax_writer_print(writer, "any number of %s", name);
}

static void write_source_limit(struct ax_writer *writer, uint64_t limit)
{
    if (limit > 0)
        ax_writer_print(writer, " (%" PRIu64 " per source)", limit);
}

static void write_limits(struct ax_writer *writer, const struct ax_status *status)
{
    char memory[32];

    write_name(writer, "limits");
    write_limit(writer, "connections", status->limits.connections);
    write_source_limit(writer, status->limits.connections_per_source);
    ax_writer_print(writer, ", ");
    write_limit(writer, "handshakes", status->limits.handshakes);
    write_source_limit(writer, status->limits.handshakes_per_source);
    ax_writer_print(writer, ", ");
    write_limit(writer, "waiting", status->limits.waiting);
    if (status->limits.worker_memory > 0) {
        format_bytes(memory, sizeof memory, status->limits.worker_memory);
        ax_writer_print(writer, ", %s for each %s", memory,
                        status->limits.memory_by_group ? "worker with all its processes" : "process of a worker");
    }
    if (status->limits.worker_tasks > 0)
        ax_writer_print(writer, ", %" PRIu64 " tasks for each worker", status->limits.worker_tasks);
    if (status->has_groups)
        ax_writer_print(writer, "; workers have control groups");
    ax_writer_print(writer, "\n");
}

static void write_zygote(struct ax_writer *writer, const struct ax_status *status)
{
    char age[32];

    write_name(writer, "zygote");
    format_duration(age, sizeof age, status->zygote_age_ms);
    if (status->zygote > 0)
        ax_writer_print(writer, "process %ld, up %s\n", (long)status->zygote, age);
    else
        ax_writer_print(writer, "none\n");
}

static void write_counts(struct ax_writer *writer, const struct ax_status *status)
{
    write_name(writer, "connections");
    ax_writer_print(writer,
                    "%" PRIu64 " open (%" PRIu64 " waiting, %" PRIu64 " in their handshake), %" PRIu64
                    " since the start, %" PRIu64 " refused\n",
                    status->connections.open, status->connections.waiting, status->connections.handshaking,
                    status->connections.total, status->connections.refused);
    write_limits(writer, status);
    write_name(writer, "calls");
    ax_writer_print(writer, "%" PRIu64 " running, %" PRIu64 " done\n", status->calls_running, status->calls_done);
    write_zygote(writer, status);
    write_name(writer, "log");
    ax_writer_print(writer, "%" PRIu64 " lines lost\n", status->log_lines_lost);
}

void ax_status_write_text(struct ax_writer *writer, const struct ax_status *status)
{
    char uptime[32];

    format_duration(uptime, sizeof uptime, status->uptime_ms);
    ax_writer_print(writer, AX_STATUS_TEXT_START);
    write_line(writer, status->version);
    ax_writer_print(writer, ", Python ");
    write_line(writer, status->python);
    ax_writer_print(writer, ", process %ld, ", (long)status->pid);
    write_line(writer, status->state);
    ax_writer_print(writer, ", up %s\n", uptime);
    write_name(writer, "isolation");
    write_line(writer, status->isolation);
    ax_writer_print(writer, "\n");
    write_addresses(writer, status);
    write_counts(writer, status);
    write_tables(writer, status);
}
