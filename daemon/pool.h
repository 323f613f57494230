/* SPDX-License-Identifier: MIT */
/*
 * The pool: the zygote and the workers of a supervisor. It keeps them running, and has workers ready ahead of demand.
 *
 * With --isolation process each worker gets one connection, and some wait for theirs (--spare-workers). With --isolation
 * shared one worker gets them all. A zygote that dies is replaced; what it has forked does not notice. A reload starts a
 * new zygote: when it is ready, new connections get its workers, and the old ones finish.
 *
 * Used in the supervisor's only thread, which hears of events by the functions of struct ax_pool_events.
 */
#ifndef AX_DAEMON_POOL_H
#define AX_DAEMON_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/child.h"
#include "daemon/client.h"
#include "daemon/nursery.h"
#include "daemon/options.h"

struct ax_pool;

struct ax_pool_events {
    /* The first zygote is ready. */
    void (*started)(struct ax_pool *pool);
    /* The first zygote did not start, for a reason that is in the log. The pool has to be stopped. */
    void (*failed)(struct ax_pool *pool);
    /* ax_pool_give() may find a worker now. */
    void (*room)(struct ax_pool *pool);
    /* A connection has ended; reason NULL: in order. */
    void (*ended)(struct ax_pool *pool, struct ax_child *child, uint64_t id, const char *reason);
    /* A worker is dead, and so are connections that it had touched; `reason` is a sentence for the log and for peers.
     * Returns how many these were. */
    size_t (*lost)(struct ax_pool *pool, struct ax_child *child, const char *reason);
    /* The zygote answered ax_pool_ping(). */
    void (*pong)(struct ax_pool *pool);
    /* A reload is done, or has failed and changed nothing. */
    void (*reloaded)(struct ax_pool *pool, bool done);
    /* After ax_pool_stop(): no process is left. */
    void (*empty)(struct ax_pool *pool);
};

enum ax_pool_state {
    AX_POOL_STARTING, /* no zygote has been ready yet */
    AX_POOL_RUNNING,
    AX_POOL_STOPPING,
    AX_POOL_EMPTY,
};

struct ax_pool {
    enum ax_pool_state state;
    uv_loop_t *loop;                  /* borrowed */
    const struct ax_options *options; /* borrowed */
    const struct ax_pool_events *events;
    void *owner;
    size_t limit;               /* connections at a time; bounds the workers, too */
    size_t waiting;             /* connections that wait for a worker */
    struct ax_texts arguments;  /* of the present zygote and its successors */
    struct ax_nursery *nursery; /* the zygote that forks; NULL: there is none at present */
    struct ax_nursery *reload;  /* the one of a reload, until it is ready; or NULL */
    struct ax_texts reload_arguments;
    const struct ax_options *reload_options; /* borrowed */
    uint32_t generation;                     /* of `nursery`; counts reloads */
    struct ax_child *children;               /* all that are not gone; a list */
    unsigned failures;                       /* to get a worker or a zygote, in a row */
    uv_timer_t retry_timer;                  /* after a failure */
    uv_timer_t silence_timer;                /* while workers are being forked */
    uv_timer_t stop_timer;
    uv_signal_t sigchld;
    pid_t *strangers; /* owned: children that the process had before; 0 ends the array */
};

/* 0, or a negative errno. */
int ax_pool_init(struct ax_pool *pool, uv_loop_t *loop, const struct ax_options *options, size_t limit,
                 const struct ax_pool_events *events, void *owner);

/* Starts the zygote. Ends in events->started or ->failed. */
void ax_pool_start(struct ax_pool *pool);

/* So many connections wait for a worker. */
void ax_pool_demand(struct ax_pool *pool, size_t waiting);

/* Hands a client to a worker. NULL: none can take it now; *code is 0, or an errno when it is the client's fault. */
struct ax_child *ax_pool_give(struct ax_pool *pool, struct ax_client *client, uint32_t handshake_ms, int *code);

/* Starts a reload with these options, borrowed for ever if it is done. Ends in events->reloaded. */
void ax_pool_reload(struct ax_pool *pool, const struct ax_options *options);

void ax_pool_ping(struct ax_pool *pool);

/* Running calls get a grace period, then all processes end. Ends in events->empty. */
void ax_pool_stop(struct ax_pool *pool, uint32_t grace_ms, const char *reason);

/* All processes end now. After ax_pool_stop(). */
void ax_pool_kill(struct ax_pool *pool);

/* Closes the handles: the loop has to run until that is done, before _free_memory. After events->empty. */
void ax_pool_close(struct ax_pool *pool);
void ax_pool_free_memory(struct ax_pool *pool);

#endif
