/* SPDX-License-Identifier: MIT */
/*
 * Shared stats: memory in which a worker publishes its state for the supervisor.
 *
 * It tells the supervisor how many calls run in a worker that is stuck, and, after a worker has died, whether a
 * connection's stream ends at a message boundary. The supervisor creates it before it requests the worker, and sends
 * its descriptor with the request; each side maps it. User code in a worker can write to it, too: its contents are only
 * displayed or compared.
 */
#ifndef AX_DAEMON_PROCESS_SHARED_STATS_H
#define AX_DAEMON_PROCESS_SHARED_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "embed/call_stats.h"

struct ax_shared_stats {
    struct ax_call_stats calls;
    uint32_t slots;        /* set by the supervisor */
    ax_wire_state wires[]; /* one per connection */
};

/* Creates and maps the shared stats; *fd is a descriptor for the worker. NULL, with errno. */
struct ax_shared_stats *ax_shared_stats_new(uint32_t slots, int *fd);

/* Maps the shared stats behind a descriptor; NULL with errno. The descriptor stays the caller's. */
struct ax_shared_stats *ax_shared_stats_map(int fd);

void ax_shared_stats_free(struct ax_shared_stats *stats, uint32_t slots);

#endif
