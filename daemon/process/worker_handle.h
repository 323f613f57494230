/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's side of a worker: it is asked for, given connections, told to stop, and watched until it is gone.
 *
 *   STARTING  a zygote was asked to fork it
 *   READY     it takes connections
 *   STOPPING  it was told to stop, or ends because its connection has
 *   DEAD      the process is gone, or its keeper is being killed; what it left behind is being killed, too
 *
 * It is gone, and forgotten, when its keeper has ended: the end of the control socket shows nothing, since user code in
 * the worker can close its copy of it, hand it to other processes, or write to it what is no message.
 *
 * Forward only. Used in the loop's thread. Which worker a connection goes to, and what a death means, is the pool's
 * business (pool.h), which is told of events by the functions of struct ax_worker_handle_events.
 */
#ifndef AX_DAEMON_PROCESS_WORKER_HANDLE_H
#define AX_DAEMON_PROCESS_WORKER_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <uv.h>

#include "daemon/admission/client.h"
#include "daemon/base/error_format.h"
#include "daemon/process/control.h"
#include "daemon/process/ending.h"
#include "daemon/process/groups.h"
#include "daemon/process/shared_stats.h"
#include "daemon/process/zygote_handle.h"

enum ax_worker_handle_state {
    AX_WORKER_STARTING,
    AX_WORKER_READY,
    AX_WORKER_STOPPING,
    AX_WORKER_DEAD,
};

struct ax_worker_handle_events {
    /* It has been forked: its process id and that of its keeper are known. */
    void (*started)(struct ax_worker_handle *worker);
    void (*ready)(struct ax_worker_handle *worker);
    /* A connection of this worker has ended; reason NULL: in order. */
    void (*ended)(struct ax_worker_handle *worker, uint64_t id, const char *reason);
    /* The client of this worker, which serves one, has hung up. */
    void (*abandoned)(struct ax_worker_handle *worker);
    /* ax_worker_handle_give() said -EAGAIN before, and is worth trying again. */
    void (*writable)(struct ax_worker_handle *worker);
    /*
     * It is DEAD; `how` is for the log and for peers: "was killed by signal 9 (Killed)". `before` is its state until now.
     * `in_order`: it ended by itself, after what it was told.
     */
    void (*died)(struct ax_worker_handle *worker, enum ax_worker_handle_state before, bool in_order, const char *how);
    /* Nothing is left of it. Freed afterwards. */
    void (*gone)(struct ax_worker_handle *worker);
};

struct ax_worker_handle {
    enum ax_worker_handle_state state;
    pid_t pid;           /* 0 until it has been forked */
    pid_t keeper;        /* the same */
    bool says_ready;     /* which counts when it is known who it is */
    int keeper_fd;       /* a pidfd of its keeper, owned; -1 until it has been forked */
    int control_fd;      /* owned, non-blocking */
    uint32_t generation; /* of the zygote that forked it; for the pool */
    uint64_t asked_at;   /* on the loop's clock */
    uint64_t started_at; /* the same: when it had been forked; until then 0 */
    uint64_t given;      /* connections so far */
    uint32_t connections;
    struct ax_client *last_client; /* the newest of its connections; borrowed */
    struct ax_shared_stats *stats; /* owned */
    struct ax_group *group;        /* see ax_worker_handle_ask(); or NULL */
    uint32_t slots;                /* of the stats */
    uint32_t *free_slots;          /* owned; a stack of free_count */
    uint32_t free_count;
    bool wants_to_write; /* events->writable is due */
    bool was_killed;     /* by us */
    bool has_stop;       /* `stop` is still to be sent */
    struct ax_control stop;
    char why[AX_ERROR_TEXT_SIZE]; /* what it said of its end, or why it did not start; or "" */
    uv_poll_t control_poll;
    uv_poll_t client_poll; /* for the end of a client's stream; the descriptor is the client's */
    bool watches_client;
    uv_poll_t keeper_poll; /* for the keeper's end */
    bool watches_keeper;
    bool is_deaf;       /* nothing more comes over the control socket */
    bool was_abandoned; /* its client has hung up */
    struct ax_ending ending;
    uv_timer_t timer;                             /* for `ending` */
    int open_handles;                             /* 0: may be freed */
    const struct ax_worker_handle_events *events; /* borrowed */
    void *owner;
    unsigned role;                     /* for its owner: which of its lists it is in */
    struct ax_worker_handle *next;     /* in that list */
    struct ax_worker_handle *previous; /* the same */
};

/*
 * Asks a zygote for a worker that takes up to `slots` connections, in this control group (NULL: in none), which is
 * the worker's on success: who is told that it is gone ends the group. 0, or a negative errno; -EAGAIN: later.
 */
int ax_worker_handle_ask(struct ax_worker_handle **worker, uv_loop_t *loop, struct ax_zygote_handle *zygote,
                         uint32_t slots, struct ax_group *group, const struct ax_worker_handle_events *events,
                         void *owner);

/*
 * Hands a client over: sends its descriptor, which the record still owns, and what was read from it. 0, or a
 * negative errno; -EAGAIN: the worker is busy, events->writable will be called. `handshake_ms`: see control.h.
 */
int ax_worker_handle_give(struct ax_worker_handle *worker, struct ax_client *client, uint32_t handshake_ms);

/* Looks for the end of this client's stream, too: for a worker that cannot. */
void ax_worker_handle_watch_client(struct ax_worker_handle *worker, const struct ax_client *client);

/* The client of this worker, which serves one, has hung up, as somebody else has seen. */
void ax_worker_handle_abandon(struct ax_worker_handle *worker);

/* A client of this worker has ended: before its descriptor is closed. */
void ax_worker_handle_release(struct ax_worker_handle *worker, struct ax_client *client);

/* Whether this worker may have read from a client's stream, or written to it. */
bool ax_worker_handle_has_touched(const struct ax_worker_handle *worker, const struct ax_client *client);

/* Whether a client's stream is whole, and may be used to explain the end of its worker. */
bool ax_worker_handle_may_explain(const struct ax_worker_handle *worker, const struct ax_client *client);

/* Tells the worker to drain for so long and end. */
void ax_worker_handle_stop(struct ax_worker_handle *worker, uint32_t grace_ms, const char *reason);

/* It is to end when its calls have had this time, and is killed when it does not (ending.h). The first such time counts. */
void ax_worker_handle_end_after(struct ax_worker_handle *worker, uint32_t grace_ms);

/* It was killed, and does not end, or somebody else has its control socket: as if nothing were left of it. */
void ax_worker_handle_give_up(struct ax_worker_handle *worker);

/* Ends it and its keeper at once. What they leave behind becomes the supervisor's to kill. */
void ax_worker_handle_kill(struct ax_worker_handle *worker);

#endif
