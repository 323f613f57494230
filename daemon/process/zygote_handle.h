/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's side of a zygote: it is started, asked for workers, and watched until it is gone.
 *
 * Used in the loop's thread. Which zygote is asked for what, and what its death means, is the pool's business (pool.h),
 * which is told of events by the functions of struct ax_zygote_handle_events.
 */
#ifndef AX_DAEMON_PROCESS_ZYGOTE_HANDLE_H
#define AX_DAEMON_PROCESS_ZYGOTE_HANDLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <uv.h>

#include "daemon/config/options.h"

struct ax_zygote_handle;

struct ax_zygote_handle_events {
    /* Its interpreter has started: it can be asked for workers. */
    void (*ready)(struct ax_zygote_handle *zygote);
    /* It answered ax_zygote_handle_ping(). */
    void (*pong)(struct ax_zygote_handle *zygote);
    /* The process is gone; `how` is for the log: "was killed by signal 9 (Killed)". The zygote is freed after it. */
    void (*died)(struct ax_zygote_handle *zygote, const char *how);
};

struct ax_zygote_handle {
    pid_t pid;
    int pidfd;      /* owned */
    int control_fd; /* owned */
    bool is_ready;
    bool has_explained;  /* it said FAILED, and why on standard error */
    bool was_dismissed;  /* it was told to end */
    uint64_t started_at; /* on the loop's clock */
    bool is_reaped;      /* somebody has waited for it, and `status` is how it ended */
    int status;
    uv_poll_t exit_poll;
    uv_poll_t control_poll;
    int open_handles;                             /* 0: may be freed */
    const struct ax_zygote_handle_events *events; /* borrowed */
    void *owner;
};

/* Starts a zygote with this command line and this environment. 0, or a negative errno. */
int ax_zygote_handle_start(struct ax_zygote_handle **zygote, uv_loop_t *loop, const struct ax_string_list *arguments,
                           char *const *environment, const struct ax_zygote_handle_events *events, void *owner);

/*
 * Asks for a worker, which gets copies of these descriptors: its control socket, in which a GROUP may be already, and
 * its board. 0, or a negative errno; -EAGAIN: the zygote has not taken what it was asked before.
 */
int ax_zygote_handle_fork(struct ax_zygote_handle *zygote, int control_fd, int stats_fd, bool has_group);

/* Asks whether it is there. Lost when it is busy: then it has not answered the last one. */
void ax_zygote_handle_ping(struct ax_zygote_handle *zygote);

/* Somebody who waits for all children has waited for this one. Returns whether it is this zygote's. NULL is nobody's. */
bool ax_zygote_handle_reap(struct ax_zygote_handle *zygote, pid_t pid, int status);

/* Ends it at once. Workers that it has forked do not notice. */
void ax_zygote_handle_kill(struct ax_zygote_handle *zygote);

#endif
