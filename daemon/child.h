/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's side of a worker process: it is started, given connections, told to stop, and watched until it is
 * gone.
 *
 * Used in the loop's thread. Which worker a connection goes to, and what a death means, is the supervisor's business
 * (supervisor.c), which is told of events by the functions of struct ax_child_events.
 */
#ifndef AX_DAEMON_CHILD_H
#define AX_DAEMON_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <uv.h>

#include "daemon/client.h"
#include "daemon/control.h"
#include "daemon/options.h"

enum ax_child_state {
    AX_CHILD_STARTING, /* its interpreter is being started */
    AX_CHILD_READY,    /* it takes connections */
    AX_CHILD_STOPPING, /* it was told to stop */
};

struct ax_child_events {
    void (*ready)(struct ax_child *child);
    /* A connection of this child has ended; reason NULL: in order. */
    void (*ended)(struct ax_child *child, uint64_t id, const char *reason);
    /* ax_child_give() said -EAGAIN before, and is worth trying again. */
    void (*writable)(struct ax_child *child);
    /*
     * The process is gone; `how` is for the log: "was killed by signal 9 (Killed)". `in_order`: it exited with
     * status 0. The child is freed after it.
     */
    void (*died)(struct ax_child *child, bool in_order, const char *how);
};

struct ax_child {
    pid_t pid;
    int pidfd;      /* owned */
    int control_fd; /* owned, non-blocking */
    enum ax_child_state state;
    uint64_t ready_at;   /* on the loop's clock; valid from READY on */
    uint64_t given;      /* connections so far */
    bool wants_to_write; /* events->writable is due */
    bool has_explained;  /* it said FAILED, and why on standard error */
    bool has_stop;       /* `stop` is still to be sent */
    struct ax_control stop;
    uv_poll_t exit_poll;
    uv_poll_t control_poll;
    int open_handles;                     /* 0: may be freed */
    const struct ax_child_events *events; /* borrowed */
    void *owner;
    struct ax_child *next; /* in its owner's list */
};

/* Starts a worker with this command line. 0, or a negative errno. */
int ax_child_start(struct ax_child **child, uv_loop_t *loop, const struct ax_texts *arguments,
                   const struct ax_child_events *events, void *owner);

/*
 * Hands a client over: sends its descriptor, which the record still owns, and what was read from it. 0, or a
 * negative errno; -EAGAIN: the worker is busy, events->writable will be called.
 */
int ax_child_give(struct ax_child *child, const struct ax_client *client);

/* Tells the worker to drain for so long and end. */
void ax_child_stop(struct ax_child *child, uint32_t grace_ms, const char *reason);

/* Ends it at once. */
void ax_child_kill(struct ax_child *child);

#endif
