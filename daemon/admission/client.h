/* SPDX-License-Identifier: MIT */
/*
 * What the supervisor knows of each client's connection, and the one function that moves it from state to state.
 *
 *   HANDSHAKE  its superblock is being read          (the descriptor belongs to the handshake)
 *   WAITING    for a worker that can take it         (the descriptor is the record's)
 *   SERVED     a worker has it                       (the record keeps its copy of the descriptor)
 *   ENDED      it is gone, and the record with it
 *
 * Each of them may go to ENDED. Otherwise forward only, but for one way back: from SERVED to WAITING, when a worker has
 * died before it had begun. The supervisor's one thread uses all of this.
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
    bool has_certificate;      /* it came over TLS, and `fd` leads to its relay */
    bool is_admitted;          /* ... with a name that may come in */
    int fd;                    /* WAITING and SERVED: owned; else -1 */
    bool is_watched;           /* WAITING: it is noticed when its peer hangs up */
    struct ax_origin *source;  /* a reference; NULL: none was set */
    struct ax_origin *process; /* the same, of its process where that is known, or else of the same source */
    uint64_t since;            /* on the loop's clock: when it was accepted */
    uint64_t deadline;         /* the same: when its handshake has to be done; UINT64_MAX: at any time */
    unsigned char received[AX_SUPERBLOCK_SIZE]; /* from WAITING on: what was read from it */
    size_t received_size;
    struct ax_worker_handle *worker; /* SERVED: borrowed; else NULL */
    uint32_t slot;                   /* SERVED: on the stats of its worker */
    /* SERVED: in the list of its worker's clients, the newest last. */
    struct ax_client *next_of_worker;
    struct ax_client *previous_of_worker;
    /* In the list of its state, those first who came into it first. */
    struct ax_client *next;
    struct ax_client *previous;
    struct ax_client *next_in_bucket;
};

/* All of them, found by state and by id. Counts agree with the lists. */
struct ax_clients {
    struct ax_client *first[AX_CLIENT_STATES];
    struct ax_client *last[AX_CLIENT_STATES];
    size_t count[AX_CLIENT_STATES]; /* of ENDED: since the start */
    uint64_t refused;               /* those that ended before they were served, for a reason */
    struct ax_rate_limit refusals;  /* how many of these have a line in the log */
    struct ax_rate_limit breaks;    /* the same for those that broke while they were served */
    struct ax_client **buckets;     /* by id modulo their number, a power of two */
    size_t bucket_count;
    uint64_t last_id;
    struct ax_origins sources;
    uint64_t turns; /* how often one was chosen to be served */
};

/* 0, or -1 when there is no memory. */
int ax_clients_init(struct ax_clients *all);

/* Ends what is left. */
void ax_clients_fini(struct ax_clients *all);

/* A new record, in HANDSHAKE. The table owns it; NULL when there is no memory. */
struct ax_client *ax_client_new(struct ax_clients *all, const char *peer, uint64_t now);

/* Counts it for these sources from now on. 0, or -1 when there is no memory. In HANDSHAKE, once. */
int ax_client_come_from(struct ax_clients *all, struct ax_client *client, const struct ax_origin_key *source,
                        const struct ax_origin_key *process);

/*
 * Who of those in WAITING is to be served next; NULL: there is none. By turns the one that has waited longest, and one of
 * the source, and of that of the process, whose turn was longest ago: so a source that has many connections, or a process
 * of a user, does not keep others waiting, nor can those who are always new. Takes a time that grows with how many wait.
 */
struct ax_client *ax_clients_choose(const struct ax_clients *all);

/*
 * Moves a client to a later state; `reason` is for the log and may be NULL. A refused or broken connection has a
 * reason; a connection that comes and goes in order is logged at debug level. Of many that are refused not each has its
 * line, nor of those that break: whoever reaches a socket could fill a disk. In ENDED its descriptor is closed and the record is freed.
 */
void ax_client_move(struct ax_clients *all, struct ax_client *client, enum ax_client_state state, const char *reason);

/* A SERVED client whose stream its worker has not touched waits for another one, before all who wait already. */
void ax_client_return(struct ax_clients *all, struct ax_client *client);

/* NULL: there is none (any more). */
struct ax_client *ax_clients_find(const struct ax_clients *all, uint64_t id);

/* Those that have not ended. */
size_t ax_clients_open(const struct ax_clients *all);

#endif
