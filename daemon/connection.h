/* SPDX-License-Identifier: MIT */
/*
 * What the supervisor knows of each connection, and the one function that moves a connection from state to state.
 *
 *   HANDSHAKE  its superblock is being read          (the descriptor belongs to the handshake)
 *   WAITING    for a worker that can take it         (the descriptor is the connection's)
 *   SERVED     a worker has it                       (the worker has the descriptor; the supervisor has none)
 *   ENDED      it is gone, and the record with it
 *
 * Forward only; each of them may go to ENDED. The supervisor's one thread uses all of this.
 */
#ifndef AX_DAEMON_CONNECTION_H
#define AX_DAEMON_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/superblock.h"

#define AX_PEER_SIZE 80 /* bytes of a peer's description: an IPv6 address with scope and port */

enum ax_connection_state {
    AX_CONNECTION_HANDSHAKE,
    AX_CONNECTION_WAITING,
    AX_CONNECTION_SERVED,
    AX_CONNECTION_ENDED,
};

#define AX_CONNECTION_STATES (AX_CONNECTION_ENDED + 1)

struct ax_child;

struct ax_connection {
    uint64_t id; /* counts from 1, never used again */
    enum ax_connection_state state;
    char peer[AX_PEER_SIZE];
    int fd;                                     /* WAITING: owned; else -1 */
    unsigned char received[AX_SUPERBLOCK_SIZE]; /* from WAITING on: what was read from it */
    size_t received_size;
    struct ax_child *child; /* SERVED: borrowed; else NULL */
    /* In the list of its state, oldest first. */
    struct ax_connection *next;
    struct ax_connection *previous;
    struct ax_connection *next_in_bucket;
};

/* All connections, found by state and by id. Counts agree with the lists. */
struct ax_connections {
    struct ax_connection *first[AX_CONNECTION_STATES];
    struct ax_connection *last[AX_CONNECTION_STATES];
    size_t count[AX_CONNECTION_STATES]; /* of ENDED: since the start */
    struct ax_connection **buckets;     /* by id modulo their number, a power of two */
    size_t bucket_count;
    uint64_t last_id;
};

/* 0, or -1 when there is no memory. */
int ax_connections_init(struct ax_connections *connections);

/* Ends what is left. */
void ax_connections_fini(struct ax_connections *connections);

/* A new record, in HANDSHAKE. The table owns it; NULL when there is no memory. */
struct ax_connection *ax_connection_new(struct ax_connections *connections, const char *peer);

/*
 * Moves a connection to a later state; `reason` is for the log and may be NULL. A refused or broken connection has a
 * reason; a connection that comes and goes in order is logged at debug level. In ENDED its descriptor is closed and the
 * record is freed.
 */
void ax_connection_move(struct ax_connections *connections, struct ax_connection *connection,
                        enum ax_connection_state state, const char *reason);

/* NULL: there is none (any more). */
struct ax_connection *ax_connections_find(const struct ax_connections *connections, uint64_t id);

/* The connections that have not ended. */
size_t ax_connections_open(const struct ax_connections *connections);

#endif
