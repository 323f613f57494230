/* SPDX-License-Identifier: MIT */
/*
 * The record of each client's connection, and the one function that moves it from state to state.
 *
 *   HANDSHAKE  its superblock is being read          (the descriptor belongs to the handshake)
 *   WAITING    for a worker that can take it         (the record owns the descriptor)
 *   SERVED     by a worker                           (the record keeps its copy of the descriptor)
 *   ENDED      the connection is closed, and the record freed
 *
 * Every state can change to ENDED. The only way back is from SERVED to WAITING, when a worker has died before it
 * touched the stream. The table belongs to admission.h. What concerns the worker of a SERVED client is set and used by
 * process/ alone; it is kept here so that handing a client over allocates nothing. Used in the loop's thread.
 */
#ifndef AX_DAEMON_ADMISSION_CLIENT_H
#define AX_DAEMON_ADMISSION_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/admission/origin.h"
#include "daemon/admission/peer.h"
#include "daemon/admission/rate_limit.h"
#include "protocol/superblock.h"

enum ax_client_state {
    AX_CLIENT_HANDSHAKE,
    AX_CLIENT_WAITING,
    AX_CLIENT_SERVED,
    AX_CLIENT_ENDED,
};

#define AX_CLIENT_STATES (AX_CLIENT_ENDED + 1)

struct ax_worker_handle;

struct ax_client {
    uint64_t id; /* counts from 1, never used again */
    enum ax_client_state state;
    char peer[AX_PEER_TEXT];
    bool has_certificate;      /* it came over TLS, and `fd` is its relay's */
    bool is_admitted;          /* ... with a name that may connect */
    int fd;                    /* WAITING and SERVED: owned; else -1 */
    bool is_watched;           /* WAITING: hangup.h watches `fd` */
    struct ax_origin *source;  /* a reference; NULL: not set yet */
    struct ax_origin *process; /* the same, of its process if that is known, else of its source */
    uint64_t since;            /* on the loop's clock: when it was accepted */
    uint64_t deadline;         /* the same: when its handshake has to be done; UINT64_MAX: at any time */
    unsigned char received[AX_SUPERBLOCK_SIZE]; /* from WAITING on: what was read from it */
    size_t received_size;
    struct ax_worker_handle *worker; /* SERVED: borrowed; else NULL */
    uint32_t slot;                   /* SERVED: on the stats of its worker */
    /* SERVED: in the list of its worker's clients, the newest last. */
    struct ax_client *next_of_worker;
    struct ax_client *previous_of_worker;
    /* In the list of its state, the oldest entry first. */
    struct ax_client *next;
    struct ax_client *previous;
    struct ax_client *next_in_bucket;
};

/* All of them, found by state and by id. Counts agree with the lists. */
struct ax_clients {
    struct ax_client *first[AX_CLIENT_STATES];
    struct ax_client *last[AX_CLIENT_STATES];
    size_t count[AX_CLIENT_STATES]; /* of ENDED: since the start */
    uint64_t refused;               /* those that ended before they were served, with a reason */
    struct ax_rate_limit refusals;  /* limits their lines in the log */
    struct ax_rate_limit breaks;    /* the same for those that broke while they were served */
    struct ax_client **buckets;     /* by id modulo their number, a power of two */
    size_t bucket_count;
    uint64_t last_id;
    struct ax_origins sources;
    uint64_t turns; /* how many times a client was handed to a worker */
};

/* 0, or -1 when there is no memory. */
int ax_clients_init(struct ax_clients *all);

/* Ends what is left. */
void ax_clients_fini(struct ax_clients *all);

/* A new record, in HANDSHAKE. The table owns it; NULL when there is no memory. */
struct ax_client *ax_client_new(struct ax_clients *all, const char *peer, uint64_t now);

/* Sets the sources that it counts for. Once, in HANDSHAKE. 0, or -1 when there is no memory. */
int ax_client_come_from(struct ax_clients *all, struct ax_client *client, const struct ax_origin_key *source,
                        const struct ax_origin_key *process);

/*
 * The client in WAITING to serve next; NULL: there is none. Alternates between the one that has waited longest, and one
 * of the source, and there of the process, that was served least recently: so neither a source or process with many
 * connections nor ever new sources can starve others. Takes time linear in the number of clients in WAITING.
 */
struct ax_client *ax_clients_choose(const struct ax_clients *all);

/*
 * Moves a client to a later state; `reason` is for the log and may be NULL. A refused or broken connection has a
 * reason; other moves are logged at debug level. The lines for refused and for broken connections are rate-limited:
 * otherwise anybody who reaches a socket could fill a disk. ENDED closes the descriptor and frees the record.
 */
void ax_client_move(struct ax_clients *all, struct ax_client *client, enum ax_client_state state, const char *reason);

/* From SERVED back to WAITING, ahead of all others there: its worker has not touched the stream. */
void ax_client_return(struct ax_clients *all, struct ax_client *client);

/* NULL: there is none (any more). */
struct ax_client *ax_clients_find(const struct ax_clients *all, uint64_t id);

/* Those that have not ended. */
size_t ax_clients_open(const struct ax_clients *all);

#endif
