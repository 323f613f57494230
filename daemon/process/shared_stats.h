/* SPDX-License-Identifier: MIT */
/*
 * The board: memory that a worker shares with the supervisor, on which it tells what it does.
 *
 * So the supervisor knows how many calls run in a worker that is stuck, and whether a connection's stream is whole when
 * its worker has died. The supervisor makes it before it asks for the worker, and its descriptor travels with the
 * request; each side maps it. User code in a worker can write to it, too: what stands there is only ever shown, or
 * compared.
 */
#ifndef AX_DAEMON_PROCESS_SHARED_STATS_H
#define AX_DAEMON_PROCESS_SHARED_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "embed/tally.h"

struct ax_shared_stats {
    struct ax_call_stats calls;
    uint32_t slots;        /* set by the supervisor */
    ax_wire_state wires[]; /* one for each connection */
};

/* A new board. Returns it, mapped; *fd is a descriptor for the worker. NULL, with errno. */
struct ax_shared_stats *ax_shared_stats_new(uint32_t slots, int *fd);

/* The board behind a descriptor, mapped, or NULL with errno. The descriptor stays the caller's. */
struct ax_shared_stats *ax_shared_stats_map(int fd);

void ax_shared_stats_free(struct ax_shared_stats *stats, uint32_t slots);

#endif
