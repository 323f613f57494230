/* SPDX-License-Identifier: MIT */
/*
 * The pool: the zygote and the workers of a supervisor. It keeps them running, and has workers ready ahead of demand.
 *
 * With --isolation process each worker gets one connection. Spare workers are kept waiting: at least --spare-workers,
 * and more after connections had to wait, for as long as they are used. With --isolation shared one worker gets all
 * connections. A zygote that dies is replaced; its workers are not affected. A reload starts a new zygote: once it is
 * ready, new connections get its workers, and the old ones finish.
 *
 * Used in the supervisor's only thread, which gets events through struct ax_pool_events.
 */
#ifndef AX_DAEMON_PROCESS_POOL_H
#define AX_DAEMON_PROCESS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/admission/client.h"
#include "daemon/config/options.h"
#include "daemon/process/pids.h"
#include "daemon/process/worker_handle.h"
#include "daemon/process/zygote_handle.h"

/* Upper bound of spare workers added to --spare-workers on demand. */
#define AX_POOL_SPARE_MAX 32u

struct ax_pool;

struct ax_pool_events {
    /* The first zygote is ready. */
    void (*started)(struct ax_pool *pool);
    /* The first zygote did not start; the reason has been logged. The pool has to be stopped. */
    void (*failed)(struct ax_pool *pool);
    /* ax_pool_give() may find a worker now. */
    void (*room)(struct ax_pool *pool);
    /* A connection has ended; reason NULL: in order. */
    void (*ended)(struct ax_pool *pool, struct ax_worker_handle *worker, uint64_t id, const char *reason);
    /*
     * A worker is dead, and so are the connections that it had touched; `reason` is for the log and for peers. Returns
     * their number.
     */
    size_t (*lost)(struct ax_pool *pool, struct ax_worker_handle *worker, const char *reason);
    /* The zygote has answered ax_pool_ping(). */
    void (*pong)(struct ax_pool *pool);
    /* A reload is done, or has failed and changed nothing. */
    void (*reloaded)(struct ax_pool *pool, bool done);
    /* After ax_pool_stop(): no process is left, or the remaining ones were killed and do not exit. */
    void (*empty)(struct ax_pool *pool);
};

enum ax_pool_state {
    AX_POOL_STARTING, /* no zygote has been ready yet */
    AX_POOL_RUNNING,
    AX_POOL_STOPPING,
    AX_POOL_EMPTY,
};

/* A worker's role in the pool. It is in the list of its role. */
enum ax_pool_role {
    AX_POOL_ORDERED,  /* being started by the current zygote */
    AX_POOL_OPEN,     /* takes new connections */
    AX_POOL_OUTDATED, /* being started by an older zygote; not needed any more */
    AX_POOL_OTHER,    /* has its connection, or is ending */
};

#define AX_POOL_ROLES (AX_POOL_OTHER + 1)

/* In the order in which they joined it. */
struct ax_pool_list {
    struct ax_worker_handle *first;
    struct ax_worker_handle *last;
    size_t count;
};

struct ax_pool {
    enum ax_pool_state state;
    uv_loop_t *loop;                  /* borrowed */
    const struct ax_options *options; /* borrowed */
    const struct ax_pool_events *events;
    void *owner;
    /* borrowed: control groups of workers; NULL: there are none. Set after ax_pool_init() */
    struct ax_groups *groups;
    size_t limit;                    /* connections at a time; bounds the number of workers, too */
    size_t waiting;                  /* connections that wait for a worker */
    struct ax_string_list arguments; /* of the current zygote and its successors */
    struct ax_zygote_handle *zygote; /* the zygote that forks; NULL: there is none at the moment */
    struct ax_zygote_handle *reload; /* the zygote of a reload until it is ready; or NULL */
    struct ax_string_list reload_arguments;
    const struct ax_options *reload_options;  /* borrowed */
    uint32_t generation;                      /* of `zygote`; counts reloads */
    struct ax_pool_list lists[AX_POOL_ROLES]; /* the workers that are not gone */
    size_t count;                             /* in all lists */
    struct ax_pids keepers;                   /* by process id: the keepers that have been forked */
    size_t extra_spares;      /* <= AX_POOL_SPARE_MAX: in addition to --spare-workers, for recent demand */
    bool was_short;           /* a connection has had to wait since demand was last evaluated */
    size_t least_open;        /* the least number of spare workers since then */
    uint64_t steps;           /* list items visited, for tests */
    unsigned failures;        /* consecutive failures to get a worker or a zygote */
    uv_timer_t retry_timer;   /* runs after a failure */
    uv_timer_t silence_timer; /* runs while workers are being forked */
    uv_timer_t stop_timer;
    uv_timer_t demand_timer;    /* extra_spares > 0 */
    uv_timer_t orphans_timer;   /* runs while killing orphans is due */
    uint64_t orphans_killed_at; /* when orphans were last killed, on the loop's clock */
    uint64_t forked_at;         /* the same: when the zygote last forked a worker; 0: not yet */
    uv_signal_t sigchld;
};

/*
 * Makes the calling process the parent of its workers' orphans, which it kills: it must have no other children
 * (init.h). 0, or a negative errno.
 */
int ax_pool_init(struct ax_pool *pool, uv_loop_t *loop, const struct ax_options *options, size_t limit,
                 const struct ax_pool_events *events, void *owner);

/* Starts the zygote. Ends in events->started or ->failed. */
void ax_pool_start(struct ax_pool *pool);

/* Control groups are available: workers that waited for one can be requested. */
void ax_pool_grouped(struct ax_pool *pool);

/* This many connections wait for a worker. */
void ax_pool_demand(struct ax_pool *pool, size_t waiting);

/* Whether ax_pool_give() may find a worker. */
bool ax_pool_has_open(const struct ax_pool *pool);

/* Hands a client to a worker. NULL: none can take it now; *code is 0, or an errno if the client is to blame. */
struct ax_worker_handle *ax_pool_give(struct ax_pool *pool, struct ax_client *client, uint32_t handshake_ms, int *code);

/* Starts a reload with these options, borrowed for good if it succeeds. Ends in events->reloaded. */
void ax_pool_reload(struct ax_pool *pool, const struct ax_options *options);

void ax_pool_ping(struct ax_pool *pool);

/* Iterates over the workers of all lists; NULL: the end. */
const struct ax_worker_handle *ax_pool_first(const struct ax_pool *pool);
const struct ax_worker_handle *ax_pool_next(const struct ax_pool *pool, const struct ax_worker_handle *worker);

/* Gives running calls a grace period, then ends all processes. Ends in events->empty. */
void ax_pool_stop(struct ax_pool *pool, uint32_t grace_ms, const char *reason);

/* Kills all processes; those that do not exit soon are given up. After ax_pool_stop(). */
void ax_pool_kill(struct ax_pool *pool);

/* Closes the handles: the loop has to run until that is done, before _free_memory. After events->empty. */
void ax_pool_close(struct ax_pool *pool);
void ax_pool_free_memory(struct ax_pool *pool);

#endif
