/* SPDX-License-Identifier: MIT */
/*
 * The state of a running acrossd: the request of `acrossd status`, and how the answer is formatted.
 *
 * A client connects to any listening address and sends 16 bytes instead of a superblock; the supervisor answers with
 * the text, and closes the connection. Supervisor and command share this file; docs/status.md describes the answer.
 *
 * Pure functions except for ax_status_memory(): they may be called in any thread.
 */
#ifndef AX_DAEMON_STATUS_STATUS_H
#define AX_DAEMON_STATUS_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/admission/status_request.h"
#include "daemon/status/writer.h"

/*
 * Maximum rows of workers and of connections in an answer; beyond it only the number is reported. A row mostly takes
 * 100 bytes, and each worker's row some system calls (ax_status_memory()).
 */
#define AX_STATUS_ROWS_MAX 4096u

/* Bytes of an answer. The longest row has 160 bytes of text, which JSON may escape with six bytes each, and numbers. */
#define AX_STATUS_SIZE_MAX (2u * AX_STATUS_ROWS_MAX * 2048u)

/* The beginning of an answer, by which the command recognises one. */
#define AX_STATUS_TEXT_START "acrossd "
#define AX_STATUS_JSON_START "{\"acrossd\": "

/* Strings are borrowed. They may hold any bytes if they come from a peer or a path. */
struct ax_status_worker {
    pid_t pid;
    const char *state; /* a word: "spare", "serving", "finishing", ... */
    uint64_t age_ms;
    uint64_t memory; /* bytes, of ax_status_memory(); 0: unknown */
    uint64_t connections;
    uint64_t calls_running;
    uint64_t calls_done;
};

struct ax_status_connection {
    uint64_t id;
    const char *peer;
    const char *state; /* a word: "handshake", "waiting", "served" */
    uint64_t age_ms;
    pid_t worker; /* 0: none yet */
};

struct ax_status {
    const char *version;
    const char *python; /* its version */
    pid_t pid;          /* the supervisor's */
    const char *isolation;
    const char *state; /* "starting", "serving", "stopping" */
    uint64_t as_of_ms; /* since 1970: the time of this state */
    uint64_t uptime_ms;
    const char *const *addresses; /* listening addresses */
    size_t address_count;
    struct {
        uint64_t open; /* including those in a handshake or waiting */
        uint64_t waiting;
        uint64_t handshaking;
        uint64_t total;   /* since the start, including open ones */
        uint64_t refused; /* since the start; included in `total` */
    } connections;
    struct { /* 0: none */
        uint64_t connections;
        uint64_t connections_per_source;
        uint64_t handshakes;
        uint64_t handshakes_per_source;
        uint64_t waiting;
        uint64_t worker_memory; /* bytes */
        bool memory_by_group;   /* for a worker with all its processes; otherwise per process */
        uint64_t worker_tasks;
    } limits;
    bool has_groups;        /* each worker has a control group */
    uint64_t calls_running; /* in all workers */
    uint64_t calls_done;    /* since the start, including those of workers that have exited */
    uint64_t log_lines_lost;
    pid_t zygote; /* 0: none at the moment */
    uint64_t zygote_age_ms;
    /* At most AX_STATUS_ROWS_MAX are listed, so no more need to be filled in; the counts include all. */
    const struct ax_status_worker *workers;
    size_t worker_count;
    const struct ax_status_connection *connection_rows;
    size_t connection_row_count;
};

/*
 * Writes the answer, of at most AX_STATUS_SIZE_MAX bytes, into an uninitialised writer. 0 and the text is in
 * writer->text, which the caller takes or frees with ax_writer_fini(); or -1 when there is no memory, and nothing to
 * release.
 */
int ax_status_format(struct ax_writer *writer, const struct ax_status *status, enum ax_status_format format);

/* The two formats, for ax_status_format(): status_text.c and status_json.c. */
void ax_status_write_text(struct ax_writer *writer, const struct ax_status *status);
void ax_status_write_json(struct ax_writer *writer, const struct ax_status *status);

/*
 * The memory of a process in bytes: its proportional set size (PSS), in which a page shared by n processes counts 1/n;
 * or its resident set size if the PSS may not be read, as for a process of another user. 0: there is no such process.
 *
 * The kernel walks the process's page tables for it, at some 3 microseconds for each resident MB: 40 for a bare
 * interpreter, 90 with numpy, more than 1,000 with 500 MB. For a thousand workers that adds up to a tenth of a second.
 * It also blocks while the process changes its address space: never in a loop.
 */
uint64_t ax_status_memory(pid_t pid);

#endif
