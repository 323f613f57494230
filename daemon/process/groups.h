/* SPDX-License-Identifier: MIT */
/*
 * The control groups of a supervisor's workers: a background thread creates some ahead of demand, and removes those of
 * workers that have exited (cgroup.h).
 *
 * Used in the loop's thread. If acrossd has no delegated group (ax_groups_exist() is false), or no more can be created,
 * workers have none.
 */
#ifndef AX_DAEMON_PROCESS_GROUPS_H
#define AX_DAEMON_PROCESS_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/base/background.h"
#include "daemon/process/cgroup.h"

#define AX_GROUPS_STOCK 4u /* created ahead: each takes a descriptor and some kernel memory */

struct ax_group {
    uint64_t number;
    int procs_fd; /* owned; -1: closed */
    struct ax_group *next;
};

struct ax_groups {
    struct ax_cgroup base;
    bool exist;
    uint64_t last_number;
    struct ax_group *stock; /* owned; unused groups */
    unsigned stocked;
    struct ax_group *doomed; /* owned; to be removed. As many as workers have exited since the thread last ran */
    struct ax_background background;
    uv_timer_t timer;           /* retries groups that were not empty yet */
    void (*ready)(void *owner); /* a group can be taken, or none will ever be available */
    void *owner;
};

/*
 * To be called before the process has started others, and before the loop runs: may block. Finds and enters acrossd's
 * group, if it has one, and removes leftover groups of other supervisors. 0, or a negative errno.
 */
int ax_groups_init(struct ax_groups *groups, uv_loop_t *loop, void (*ready)(void *owner), void *owner);

/* Closes the descriptor of its cgroup.procs. */
void ax_group_close(struct ax_group *group);

/* A group with these limits for a worker, the caller's until ax_groups_end(); NULL: later, see `ready`. */
struct ax_group *ax_groups_take(struct ax_groups *groups, uint64_t memory, uint64_t tasks);

/* Kills the processes in it, and removes it. NULL is allowed. */
void ax_groups_end(struct ax_groups *groups, struct ax_group *group);

/* Closes the handles, for which the loop has to run, and removes at once what can be removed: no workers are left. */
void ax_groups_close(struct ax_groups *groups);

#endif
