/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's handle of a worker: requests it, gives it connections, tells it to stop, and watches it until it is
 * gone.
 *
 *   STARTING  a zygote was asked to fork it
 *   READY     it takes connections
 *   STOPPING  it was told to stop, or ends because its connection has
 *   DEAD      the process is gone, or its keeper is being killed; its orphans are being killed, too
 *
 * It is gone, and its handle is freed, when its keeper has exited. The end of the control socket proves nothing: user
 * code in the worker can close it, pass it to other processes, or write garbage to it.
 *
 * Forward only. Used in the loop's thread. The pool decides which worker gets a connection, and handles its death
 * (pool.h); it gets events through struct ax_worker_handle_events.
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
    /* It has been forked: its pid and that of its keeper are known. */
    void (*started)(struct ax_worker_handle *worker);
    void (*ready)(struct ax_worker_handle *worker);
    /* A connection of this worker has ended; reason NULL: in order. */
    void (*ended)(struct ax_worker_handle *worker, uint64_t id, const char *reason);
    /* The client of this worker, its only one, has hung up. */
    void (*abandoned)(struct ax_worker_handle *worker);
    /* ax_worker_handle_give() returned -EAGAIN before, and may succeed now. */
    void (*writable)(struct ax_worker_handle *worker);
    /*
     * It is DEAD; `how` is for the log and for peers: "was killed by signal 9 (Killed)". `before` is its previous
     * state. `in_order`: it exited by itself, as it was told to.
     */
    void (*died)(struct ax_worker_handle *worker, enum ax_worker_handle_state before, bool in_order, const char *how);
    /* Nothing is left of it. The handle is freed afterwards. */
    void (*gone)(struct ax_worker_handle *worker);
};

struct ax_worker_handle {
    enum ax_worker_handle_state state;
    pid_t pid;           /* 0 until it has been forked */
    pid_t keeper;        /* the same */
    bool says_ready;     /* takes effect once its pid is known */
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
    uint32_t slots;                /* in the shared stats */
    uint32_t *free_slots;          /* owned; a stack of free_count */
    uint32_t free_count;
    bool wants_to_write; /* events->writable is due */
    bool was_killed;     /* by the supervisor */
    bool has_stop;       /* `stop` has still to be sent */
    struct ax_control stop;
    char why[AX_ERROR_TEXT_SIZE]; /* why it said it is ending, or why it did not start; or "" */
    uv_poll_t control_poll;
    uv_poll_t client_poll; /* detects that a client has hung up; the descriptor is the client's */
    bool watches_client;
    uv_poll_t keeper_poll; /* detects that the keeper has exited */
    bool watches_keeper;
    bool is_deaf;       /* nothing more arrives over the control socket */
    bool was_abandoned; /* its client has hung up */
    struct ax_ending ending;
    uv_timer_t timer;                             /* for `ending` */
    int open_handles;                             /* 0: can be freed */
    const struct ax_worker_handle_events *events; /* borrowed */
    void *owner;
    unsigned role;                     /* for its owner: which list it is in */
    struct ax_worker_handle *next;     /* in that list */
    struct ax_worker_handle *previous; /* the same */
};

/*
 * Requests a worker for up to `slots` connections from a zygote, in this control group (NULL: none). On success the
 * worker has the group, and the handler of `gone` ends it. 0, or a negative errno; -EAGAIN: later.
 */
int ax_worker_handle_ask(struct ax_worker_handle **worker, uv_loop_t *loop, struct ax_zygote_handle *zygote,
                         uint32_t slots, struct ax_group *group, const struct ax_worker_handle_events *events,
                         void *owner);

/*
 * Hands a client over: sends its descriptor, which the record still owns, and what was read from it. 0, or a negative
 * errno; -EAGAIN: the worker is busy, events->writable will be called. `handshake_ms`: see control.h.
 */
int ax_worker_handle_give(struct ax_worker_handle *worker, struct ax_client *client, uint32_t handshake_ms);

/* Watches the client's stream for its end as well, in case the worker cannot. */
void ax_worker_handle_watch_client(struct ax_worker_handle *worker, const struct ax_client *client);

/* The client of this worker, its only one, has hung up, which was detected elsewhere. */
void ax_worker_handle_abandon(struct ax_worker_handle *worker);

/* A client of this worker has ended. To be called before its descriptor is closed. */
void ax_worker_handle_release(struct ax_worker_handle *worker, struct ax_client *client);

/* Whether this worker may have read from or written to a client's stream. */
bool ax_worker_handle_has_touched(const struct ax_worker_handle *worker, const struct ax_client *client);

/* Whether a client's stream ends at a message boundary, so that the peer can be told why the worker ended. */
bool ax_worker_handle_may_explain(const struct ax_worker_handle *worker, const struct ax_client *client);

/* Tells the worker to drain for this long and exit. */
void ax_worker_handle_stop(struct ax_worker_handle *worker, uint32_t grace_ms, const char *reason);

/*
 * Ends it after its calls have had this time, and kills it if it does not exit (ending.h). Only the first call counts.
 */
void ax_worker_handle_end_after(struct ax_worker_handle *worker, uint32_t grace_ms);

/*
 * Treats it as gone although it is not: it was killed and does not exit, or another process holds its control socket.
 */
void ax_worker_handle_give_up(struct ax_worker_handle *worker);

/* Kills it and its keeper. The supervisor has to kill their orphans. */
void ax_worker_handle_kill(struct ax_worker_handle *worker);

#endif
