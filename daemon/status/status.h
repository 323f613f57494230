/* SPDX-License-Identifier: MIT */
/*
 * How a running acrossd is: what `acrossd status` asks for, and how the answer is written.
 *
 * Who asks connects to any listening address and sends 16 bytes instead of a superblock; the supervisor answers with the
 * text, and closes. Supervisor and command share this file, docs/status.md describes the answer.
 *
 * Functions of their arguments but for ax_status_memory(), so they may be called in any thread.
 */
#ifndef AX_DAEMON_STATUS_STATUS_H
#define AX_DAEMON_STATUS_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/admission/status_request.h"
#include "daemon/status/writer.h"

/* Rows of workers and of connections in an answer; of those beyond it only the number is told. A row takes 100 bytes,
 * mostly, and each worker's row some system calls (ax_status_memory()). */
#define AX_STATUS_ROWS_MAX 4096u

/* Bytes of an answer. The longest row has 160 bytes of text that JSON writes with six bytes each, and numbers. */
#define AX_STATUS_SIZE_MAX (2u * AX_STATUS_ROWS_MAX * 2048u)

/* How an answer starts, by which one knows that it is one. */
#define AX_STATUS_TEXT_START "acrossd "
#define AX_STATUS_JSON_START "{\"acrossd\": "

/* Texts are borrowed, and end with a NUL. They may hold any bytes: those that come from a peer or a path. */
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
    uint64_t as_of_ms; /* since 1970: when this was so */
    uint64_t uptime_ms;
    const char *const *addresses; /* that it listens on */
    size_t address_count;
    struct {
        uint64_t open; /* all of them, handshaking and waiting ones included */
        uint64_t waiting;
        uint64_t handshaking;
        uint64_t total;   /* since the start; open ones included */
        uint64_t refused; /* since the start, and in `total` */
    } connections;
    struct { /* 0: none */
        uint64_t connections;
        uint64_t handshakes;
        uint64_t waiting;
        uint64_t worker_memory; /* bytes */
        bool memory_by_group;   /* for a worker with all its processes; else for each of them */
        uint64_t worker_tasks;
    } limits;
    bool has_groups;        /* each worker has a control group */
    uint64_t calls_running; /* in all workers */
    uint64_t calls_done;    /* since the start, by workers that are gone, too */
    uint64_t log_lines_lost;
    pid_t zygote; /* 0: there is none at the moment */
    uint64_t zygote_age_ms;
    /* At most AX_STATUS_ROWS_MAX are listed, so no more need to be filled in; the counts are of all. */
    const struct ax_status_worker *workers;
    size_t worker_count;
    const struct ax_status_connection *connection_rows;
    size_t connection_row_count;
};

/*
 * Writes the answer, of at most AX_STATUS_SIZE_MAX bytes, into a writer that the caller has not initialised. 0 and the
 * text is in writer->text, which the caller takes or gives to ax_writer_fini(); or -1 when there is no memory, and
 * nothing to release.
 */
int ax_status_format(struct ax_writer *writer, const struct ax_status *status, enum ax_status_format format);

/* The two of them, for ax_status_format(): status_text.c and status_json.c. */
void ax_status_write_text(struct ax_writer *writer, const struct ax_status *status);
void ax_status_write_json(struct ax_writer *writer, const struct ax_status *status);

/*
 * The memory of a process in bytes: its proportional share (Pss), in which a page that n processes share counts 1/n; or
 * what is resident when that may not be read, as of a process of another user. 0: there is no such process.
 *
 * The kernel walks the process's page tables for it, at some 3 microseconds for each resident MB: 40 for a bare
 * interpreter, 90 with numpy, more than 1,000 with 500 MB. For a thousand workers that adds up to a tenth of a second. And
 * it waits while the process changes its address space: never in a loop.
 */
uint64_t ax_status_memory(pid_t pid);

#endif
