/* SPDX-License-Identifier: MIT */
/*
 * The control groups of a supervisor's workers: some are made ahead of demand, and those of workers that are gone
 * removed, by a thread beside the loop (cgroup.h).
 *
 * Used in the loop's thread. Where acrossd has no group of its own (ax_groups_exist() is false), or no more can be
 * made, workers have none.
 */
#ifndef AX_DAEMON_PROCESS_GROUPS_H
#define AX_DAEMON_PROCESS_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/base/background.h"
#include "daemon/process/cgroup.h"

#define AX_GROUPS_STOCK 4u /* made ahead: each is a descriptor, and some memory of the kernel's */

struct ax_group {
    uint64_t number;
    int procs_fd; /* owned; -1: closed */
    struct ax_group *next;
};

struct ax_groups {
    struct ax_cgroup base;
    bool exist;
    uint64_t last_number;
    struct ax_group *stock; /* owned; empty ones */
    unsigned stocked;
    struct ax_group *doomed; /* owned; to be removed. As many as workers have ended since the thread looked */
    struct ax_background background;
    uv_timer_t timer;           /* for what was not empty yet */
    void (*ready)(void *owner); /* there is something to take, or there will never be */
    void *owner;
};

/*
 * Before the process has started others, and before the loop runs: may wait. Finds and enters the group that acrossd
 * has, if it has one, and removes what is left of others. 0, or a negative errno.
 */
int ax_groups_init(struct ax_groups *groups, uv_loop_t *loop, void (*ready)(void *owner), void *owner);

/* The descriptor of its cgroup.procs is needed no more. */
void ax_group_close(struct ax_group *group);

/* One for a worker, the caller's until ax_groups_end(), with these limits; NULL: later, see `ready`. */
struct ax_group *ax_groups_take(struct ax_groups *groups, uint64_t memory, uint64_t tasks);

/* What is in it is killed, and it is removed. Harmless with NULL. */
void ax_groups_end(struct ax_groups *groups, struct ax_group *group);

/* Closes the handles, for which the loop has to run, and removes what can be removed at once: no worker is left. */
void ax_groups_close(struct ax_groups *groups);

#endif
