/* SPDX-License-Identifier: MIT */
/* What a supervisor tells of itself: gathers what status.h formats. Asks no worker, so none can keep it waiting. */
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
 * What workers take in memory, by process. It is read apart from the rest, since that may have to wait for each of them,
 * and knows nothing else: so that may be done in another thread.
 */
struct ax_report_memory;

/* Which processes there are, at most AX_STATUS_ROWS_MAX of them. NULL when there is no memory. */
struct ax_report_memory *ax_report_memory_new(const struct ax_pool *pool);
void ax_report_memory_read(struct ax_report_memory *memory);
void ax_report_memory_free(struct ax_report_memory *memory);

/* Where it is gathered from; borrowed. */
struct ax_report_source {
    const struct ax_options *options;
    const struct ax_acceptor *acceptor;
    const struct ax_clients *clients;
    const struct ax_pool *pool;
    const struct ax_report_memory *memory; /* NULL: nothing is known of it */
    size_t handshake_limit;
    uint64_t started_at; /* on the loop's clock, as `now` */
    uint64_t now;
    uint64_t calls_done; /* by workers that are gone */
    bool is_stopping;
};

/* The text, which came from malloc() and is the caller's. 0, or -1 when there is no memory. */
int ax_report_make(const struct ax_report_source *source, enum ax_status_format format, char **text, size_t *size);

#endif
