/* SPDX-License-Identifier: MIT */
/*
 * Control groups (cgroup v2) below one that has been delegated to acrossd: the files of it, and nothing else.
 *
 * A group with processes of its own cannot hand its controllers on, so acrossd moves into a leaf first. Beside the
 * leaf each worker has a group, whose name has the supervisor's process id in it. Every function here may wait for
 * the kernel, which has one lock for all groups: not in a loop, but for ax_cgroup_limit().
 */
#ifndef AX_DAEMON_PROCESS_CGROUP_H
#define AX_DAEMON_PROCESS_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AX_CGROUP_NAME 64 /* of the name of a worker's group, with the final NUL */

struct ax_cgroup {
    char path[PATH_MAX]; /* of the delegated group */
    bool has_memory;     /* groups of workers can have memory.max */
    bool has_pids;       /* ... and pids.max */
};

/*
 * Whether the calling process is in a group that is delegated to it, or in a child of such a group: whose attribute
 * user.delegate or trusted.delegate systemd has set, or which belongs to this user, if that is not root. Sets
 * base->path, and *is_leaf if it is the child that the process is in.
 */
bool ax_cgroup_find(struct ax_cgroup *base, bool *is_leaf);

/*
 * Moves the calling process, and what else is in the group, into a leaf unless it is in one, and has controllers
 * handed on. 0, or a negative errno: then there are no groups for workers. Before the process has started others.
 */
int ax_cgroup_enter(struct ax_cgroup *base, bool is_leaf);

/* Ends and removes what supervisors that are gone have left behind, and what `pid` has. */
void ax_cgroup_sweep(const struct ax_cgroup *base, pid_t pid);

void ax_cgroup_name(char name[AX_CGROUP_NAME], pid_t supervisor, uint64_t number);

/*
 * Makes a group. A descriptor of its cgroup.procs, close-on-exec, by which a process can enter it; or a negative
 * errno.
 */
int ax_cgroup_make(const struct ax_cgroup *base, const char *name);

/*
 * What the group may have: bytes of memory, and processes and threads; 0: no limit. As far as there are controllers. 0, or
 * a negative errno.
 */
int ax_cgroup_limit(const struct ax_cgroup *base, const char *name, uint64_t memory, uint64_t tasks);

/*
 * Kills what is in the group, and removes it. 0; or a negative errno, -EBUSY when something in it has not ended yet.
 */
int ax_cgroup_remove(const struct ax_cgroup *base, const char *name);

/* The calling process enters a group by such a descriptor. 0, or a negative errno. */
int ax_cgroup_join(int procs_fd);

#endif
