/* SPDX-License-Identifier: MIT */
/*
 * The pool: the zygote and the workers of a supervisor. It keeps them running, and has workers ready ahead of demand.
 *
 * With --isolation process each worker gets one connection, and some wait for theirs: --spare-workers at least, and
 * more after connections had to wait, for as long as they are used. With --isolation shared one worker gets them all. A zygote that dies is replaced; what it has forked does not notice. A reload starts a
 * new zygote: when it is ready, new connections get its workers, and the old ones finish.
 *
 * Used in the supervisor's only thread, which hears of events by the functions of struct ax_pool_events.
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

/* However large the demand was: how many spare workers it can add to --spare-workers. */
#define AX_POOL_SPARE_MAX 32u

struct ax_pool;

struct ax_pool_events {
    /* The first zygote is ready. */
    void (*started)(struct ax_pool *pool);
    /* The first zygote did not start, for a reason that is in the log. The pool has to be stopped. */
    void (*failed)(struct ax_pool *pool);
    /* ax_pool_give() may find a worker now. */
    void (*room)(struct ax_pool *pool);
    /* A connection has ended; reason NULL: in order. */
    void (*ended)(struct ax_pool *pool, struct ax_worker_handle *worker, uint64_t id, const char *reason);
    /* A worker is dead, and so are connections that it had touched; `reason` is a sentence for the log and for peers.
     * Returns how many these were. */
    size_t (*lost)(struct ax_pool *pool, struct ax_worker_handle *worker, const char *reason);
    /* The zygote answered ax_pool_ping(). */
    void (*pong)(struct ax_pool *pool);
    /* A reload is done, or has failed and changed nothing. */
    void (*reloaded)(struct ax_pool *pool, bool done);
    /* After ax_pool_stop(): no process is left, or those that are were killed and do not end. */
    void (*empty)(struct ax_pool *pool);
};

enum ax_pool_state {
    AX_POOL_STARTING, /* no zygote has been ready yet */
    AX_POOL_RUNNING,
    AX_POOL_STOPPING,
    AX_POOL_EMPTY,
};

/* What a worker is to the pool. It is in the list of its role. */
enum ax_pool_role {
    AX_POOL_ORDERED,  /* it is being started by the present zygote */
    AX_POOL_OPEN,     /* it takes new connections */
    AX_POOL_OUTDATED, /* it is being started by an older zygote, and nobody waits for it */
    AX_POOL_OTHER,    /* it has its connection, or ends */
};

#define AX_POOL_ROLES (AX_POOL_OTHER + 1)

/* Those first who came into it first. */
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
    size_t limit;                    /* connections at a time; bounds the workers, too */
    size_t waiting;                  /* connections that wait for a worker */
    struct ax_string_list arguments; /* of the present zygote and its successors */
    struct ax_zygote_handle *zygote; /* the zygote that forks; NULL: there is none at present */
    struct ax_zygote_handle *reload; /* the one of a reload, until it is ready; or NULL */
    struct ax_string_list reload_arguments;
    const struct ax_options *reload_options;  /* borrowed */
    uint32_t generation;                      /* of `zygote`; counts reloads */
    struct ax_pool_list lists[AX_POOL_ROLES]; /* of workers that are not gone */
    size_t count;                             /* in all lists */
    struct ax_pids keepers;                   /* their keepers, as far as they have been forked */
    size_t extra_spares;                      /* <= AX_POOL_SPARE_MAX: beyond --spare-workers, for the demand of late */
    bool was_short;                           /* a connection had to wait since the last look at that demand */
    size_t least_open;                        /* workers that have been spare at all times since then */
    uint64_t steps;                           /* items of lists that were looked at, for tests */
    unsigned failures;                        /* to get a worker or a zygote, in a row */
    uv_timer_t retry_timer;                   /* after a failure */
    uv_timer_t silence_timer;                 /* while workers are being forked */
    uv_timer_t stop_timer;
    uv_timer_t demand_timer;  /* extra_spares > 0 */
    uv_timer_t orphans_timer; /* it is soon time for a sweep */
    uint64_t swept_at;        /* on the loop's clock */
    uint64_t forked_at;       /* the same: when the zygote last gave us a worker; 0: not yet */
    uv_signal_t sigchld;
};

/*
 * The calling process becomes the parent of whatever its workers leave behind, and kills what it becomes the parent of:
 * it must have no other children (init.h). 0, or a negative errno.
 */
int ax_pool_init(struct ax_pool *pool, uv_loop_t *loop, const struct ax_options *options, size_t limit,
                 const struct ax_pool_events *events, void *owner);

/* Starts the zygote. Ends in events->started or ->failed. */
void ax_pool_start(struct ax_pool *pool);

/* Control groups have been made: workers that waited for one can be asked for. */
void ax_pool_grouped(struct ax_pool *pool);

/* So many connections wait for a worker. */
void ax_pool_demand(struct ax_pool *pool, size_t waiting);

/* Whether ax_pool_give() may find a worker. */
bool ax_pool_has_open(const struct ax_pool *pool);

/* Hands a client to a worker. NULL: none can take it now; *code is 0, or an errno when it is the client's fault. */
struct ax_worker_handle *ax_pool_give(struct ax_pool *pool, struct ax_client *client, uint32_t handshake_ms, int *code);

/* Starts a reload with these options, borrowed for ever if it is done. Ends in events->reloaded. */
void ax_pool_reload(struct ax_pool *pool, const struct ax_options *options);

void ax_pool_ping(struct ax_pool *pool);

/* The first worker of all lists, and the one after another; NULL: there is none. */
const struct ax_worker_handle *ax_pool_first(const struct ax_pool *pool);
const struct ax_worker_handle *ax_pool_next(const struct ax_pool *pool, const struct ax_worker_handle *worker);

/* Running calls get a grace period, then all processes end. Ends in events->empty. */
void ax_pool_stop(struct ax_pool *pool, uint32_t grace_ms, const char *reason);

/* All processes end now; those that don't are given up soon. After ax_pool_stop(). */
void ax_pool_kill(struct ax_pool *pool);

/* Closes the handles: the loop has to run until that is done, before _free_memory. After events->empty. */
void ax_pool_close(struct ax_pool *pool);
void ax_pool_free_memory(struct ax_pool *pool);

#endif
