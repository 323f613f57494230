/* SPDX-License-Identifier: MIT */
/* The status as JSON: docs/status.md describes its keys, whose meaning never changes. */
#include "daemon/status/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_VERSION 1 /* incremented when a key is removed or changes its meaning */

/* The length of the text up to the next byte that needs escaping. */
static size_t plain_size(const char *text)
{
    size_t size = 0;

    while ((unsigned char)text[size] >= 0x20 && text[size] != 0x7f && text[size] != '"' && text[size] != '\\')
        size++;
    return size;
}

static void write_string(struct ax_writer *writer, const char *text)
{
    ax_writer_add(writer, "\"", 1);
    while (*text != '\0') {
        size_t size = plain_size(text);

        ax_writer_add_line(writer, text, size);
        text += size;
        if (*text == '"' || *text == '\\')
            ax_writer_print(writer, "\\%c", *text++);
        else if (*text != '\0')
            ax_writer_print(writer, "\\u%04x", (unsigned char)*text++);
    }
    ax_writer_add(writer, "\"", 1);
}

/* A member after others: a comma, the indentation, and its name. */
static void write_name(struct ax_writer *writer, const char *name)
{
    ax_writer_print(writer, ",\n \"%s\": ", name);
}

static void write_text_member(struct ax_writer *writer, const char *name, const char *text)
{
    write_name(writer, name);
    write_string(writer, text);
}

static void write_number_member(struct ax_writer *writer, const char *name, uint64_t number)
{
    write_name(writer, name);
    ax_writer_print(writer, "%" PRIu64, number);
}

/* A number; 0 is written as null. */
static void write_number_or_null(struct ax_writer *writer, uint64_t number)
{
    if (number > 0)
        ax_writer_print(writer, "%" PRIu64, number);
    else
        ax_writer_print(writer, "null");
}

static void write_head(struct ax_writer *writer, const struct ax_status *status)
{
    ax_writer_print(writer, AX_STATUS_JSON_START);
    write_string(writer, status->version);
    write_number_member(writer, "format", FORMAT_VERSION);
    write_text_member(writer, "python", status->python);
    write_number_member(writer, "pid", (uint64_t)status->pid);
    write_text_member(writer, "isolation", status->isolation);
    write_text_member(writer, "state", status->state);
    write_number_member(writer, "as_of_ms", status->as_of_ms);
    write_number_member(writer, "uptime_ms", status->uptime_ms);
    write_name(writer, "addresses");
    ax_writer_print(writer, "[");
    for (size_t i = 0; i < status->address_count; i++) {
        ax_writer_print(writer, i > 0 ? ", " : "");
        write_string(writer, status->addresses[i]);
    }
    ax_writer_print(writer, "]");
}

static void write_counts(struct ax_writer *writer, const struct ax_status *status)
{
    ax_writer_print(writer,
                    ",\n \"connection_counts\": {\"open\": %" PRIu64 ", \"waiting\": %" PRIu64
                    ", \"handshaking\": %" PRIu64 ", \"total\": %" PRIu64 ", \"refused\": %" PRIu64 "}",
                    status->connections.open, status->connections.waiting, status->connections.handshaking,
                    status->connections.total, status->connections.refused);
    ax_writer_print(writer, ",\n \"call_counts\": {\"running\": %" PRIu64 ", \"done\": %" PRIu64 "}",
                    status->calls_running, status->calls_done);
    write_number_member(writer, "log_lines_lost", status->log_lines_lost);
}

static void write_limits(struct ax_writer *writer, const struct ax_status *status)
{
    ax_writer_print(writer, ",\n \"limits\": {\"connections\": ");
    write_number_or_null(writer, status->limits.connections);
    ax_writer_print(writer, ", \"connections_per_source\": ");
    write_number_or_null(writer, status->limits.connections_per_source);
    ax_writer_print(writer, ", \"handshakes\": ");
    write_number_or_null(writer, status->limits.handshakes);
    ax_writer_print(writer, ", \"handshakes_per_source\": ");
    write_number_or_null(writer, status->limits.handshakes_per_source);
    ax_writer_print(writer, ", \"waiting\": ");
    write_number_or_null(writer, status->limits.waiting);
    ax_writer_print(writer, ", \"worker_memory_bytes\": ");
    write_number_or_null(writer, status->limits.worker_memory);
    ax_writer_print(writer, ", \"worker_memory_scope\": %s, \"worker_tasks\": ",
                    status->limits.worker_memory == 0 ? "null"
                    : status->limits.memory_by_group  ? "\"worker\""
                                                      : "\"process\"");
    write_number_or_null(writer, status->limits.worker_tasks);
    ax_writer_print(writer, "},\n \"worker_groups\": %s", status->has_groups ? "true" : "false");
}

static void write_zygote(struct ax_writer *writer, const struct ax_status *status)
{
    write_name(writer, "zygote");
    if (status->zygote > 0)
        ax_writer_print(writer, "{\"pid\": %ld, \"age_ms\": %" PRIu64 "}", (long)status->zygote, status->zygote_age_ms);
    else
        ax_writer_print(writer, "null");
}

static void write_worker(struct ax_writer *writer, const struct ax_status *status, size_t index)
{
    const struct ax_status_worker *worker = &status->workers[index];

    ax_writer_print(writer, "{\"pid\": %ld, \"state\": ", (long)worker->pid);
    write_string(writer, worker->state);
    ax_writer_print(writer, ", \"age_ms\": %" PRIu64 ", \"memory_bytes\": ", worker->age_ms);
    write_number_or_null(writer, worker->memory);
    ax_writer_print(writer, ", \"connections\": %" PRIu64 ", \"calls_running\": %" PRIu64 ", \"calls_done\": %" PRIu64,
                    worker->connections, worker->calls_running, worker->calls_done);
    ax_writer_print(writer, "}");
}

static void write_connection(struct ax_writer *writer, const struct ax_status *status, size_t index)
{
    const struct ax_status_connection *connection = &status->connection_rows[index];

    ax_writer_print(writer, "{\"id\": %" PRIu64 ", \"peer\": ", connection->id);
    write_string(writer, connection->peer);
    ax_writer_print(writer, ", \"state\": ");
    write_string(writer, connection->state);
    ax_writer_print(writer, ", \"age_ms\": %" PRIu64 ", \"worker\": ", connection->age_ms);
    write_number_or_null(writer, (uint64_t)connection->worker);
    ax_writer_print(writer, "}");
}

static size_t at_most(size_t count, size_t most)
{
    return count < most ? count : most;
}

/* The separator before the row of this index, each on a line of its own. */
static const char *before_row(size_t index)
{
    return index == 0 ? "\n  " : ",\n  ";
}

/* Writes the row of this index. */
typedef void write_row_fn(struct ax_writer *writer, const struct ax_status *status, size_t index);

static void write_rows(struct ax_writer *writer, const struct ax_status *status, const char *name, size_t total,
                       write_row_fn *write_row)
{
    size_t count = at_most(total, AX_STATUS_ROWS_MAX);
    char omitted[32];

    write_name(writer, name);
    ax_writer_print(writer, "[");
    for (size_t i = 0; i < count; i++) {
        ax_writer_print(writer, "%s", before_row(i));
        write_row(writer, status, i);
    }
    ax_writer_print(writer, "]");
    snprintf(omitted, sizeof omitted, "%s_omitted", name);
    write_number_member(writer, omitted, total - count);
}

void ax_status_write_json(struct ax_writer *writer, const struct ax_status *status)
{
    write_head(writer, status);
    write_counts(writer, status);
    write_limits(writer, status);
    write_zygote(writer, status);
    write_rows(writer, status, "workers", status->worker_count, write_worker);
    write_rows(writer, status, "connections", status->connection_row_count, write_connection);
    ax_writer_print(writer, "}\n");
}
