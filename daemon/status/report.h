/* SPDX-License-Identifier: MIT */
/* Collects the supervisor's state that status.h formats. Asks no worker, so no worker can block it. */
#ifndef AX_DAEMON_STATUS_REPORT_H
#define AX_DAEMON_STATUS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/admission/client.h"
#include "daemon/config/options.h"
#include "daemon/listen/acceptor.h"
#include "daemon/process/pool.h"
#include "daemon/status/status.h"

/*
 * The memory use of workers, by process. It is read separately, since that may block on each of the processes, and
 * needs nothing else: so it can be done in another thread.
 */
struct ax_report_memory;

/* The processes to read, at most AX_STATUS_ROWS_MAX of them. NULL when there is no memory. */
struct ax_report_memory *ax_report_memory_new(const struct ax_pool *pool);
void ax_report_memory_read(struct ax_report_memory *memory);
void ax_report_memory_free(struct ax_report_memory *memory);

/* What the report is made from; borrowed. */
struct ax_report_source {
    const struct ax_options *options;
    const struct ax_acceptor *acceptor;
    const struct ax_clients *clients;
    const struct ax_pool *pool;
    const struct ax_report_memory *memory; /* NULL: unknown */
    size_t connection_source_limit;
    size_t handshake_limit;
    size_t handshake_source_limit;
    uint64_t started_at; /* on the loop's clock, like `now` */
    uint64_t now;
    uint64_t calls_done; /* by workers that have exited */
    bool is_stopping;
};

/* Makes the text, which comes from malloc() and is the caller's. 0, or -1 when there is no memory. */
int ax_report_make(const struct ax_report_source *source, enum ax_status_format format, char **text, size_t *size);

#endif
