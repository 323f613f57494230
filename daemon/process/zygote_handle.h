/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's handle of a zygote: starts it, requests workers, and watches it until it is gone.
 *
 * Used in the loop's thread. The pool decides what to request, and handles its death (pool.h); it gets events through
 * struct ax_zygote_handle_events.
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
    /* Its interpreter has started: workers can be requested. */
    void (*ready)(struct ax_zygote_handle *zygote);
    /* It has answered ax_zygote_handle_ping(). */
    void (*pong)(struct ax_zygote_handle *zygote);
    /* The process is gone; `how` is for the log: "was killed by signal 9 (Killed)". The handle is freed afterwards. */
    void (*died)(struct ax_zygote_handle *zygote, const char *how);
};

struct ax_zygote_handle {
    pid_t pid;
    int pidfd;      /* owned */
    int control_fd; /* owned */
    bool is_ready;
    bool has_explained;  /* it has sent FAILED, and written why to standard error */
    bool was_dismissed;  /* it was told to end */
    uint64_t started_at; /* on the loop's clock */
    bool is_reaped;      /* it has been waited for, and `status` is valid */
    int status;
    uv_poll_t exit_poll;
    uv_poll_t control_poll;
    int open_handles;                             /* 0: can be freed */
    const struct ax_zygote_handle_events *events; /* borrowed */
    void *owner;
};

/* Starts a zygote with this command line and this environment. 0, or a negative errno. */
int ax_zygote_handle_start(struct ax_zygote_handle **zygote, uv_loop_t *loop, const struct ax_string_list *arguments,
                           char *const *environment, const struct ax_zygote_handle_events *events, void *owner);

/*
 * Requests a worker, which gets duplicates of these descriptors: its control socket, in which a GROUP may be queued
 * already, and its shared stats. 0, or a negative errno; -EAGAIN: the zygote's queue is full.
 */
int ax_zygote_handle_fork(struct ax_zygote_handle *zygote, int control_fd, int stats_fd, bool has_group);

/* Liveness check. Dropped if the queue is full: then the last one has not been answered. */
void ax_zygote_handle_ping(struct ax_zygote_handle *zygote);

/* Called with a child that was reaped. Returns whether it was this zygote's process. NULL is allowed. */
bool ax_zygote_handle_reap(struct ax_zygote_handle *zygote, pid_t pid, int status);

/* Kills it. Workers that it has forked are not affected. */
void ax_zygote_handle_kill(struct ax_zygote_handle *zygote);

#endif
