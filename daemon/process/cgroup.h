/* SPDX-License-Identifier: MIT */
/*
 * Control groups (cgroup v2) below the one that is delegated to acrossd: operations on their files.
 *
 * A group that contains processes cannot enable controllers for its children, so acrossd moves into a leaf first. Next
 * to that leaf each worker has a group, whose name contains the supervisor's process id. Every function here but
 * ax_cgroup_limit() may block, on the kernel's one lock for all groups: not in a loop.
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
    bool has_memory;     /* memory.max can be set for workers' groups */
    bool has_pids;       /* ... and pids.max */
};

/*
 * Whether the calling process is in a group that is delegated to it, or in a child of such a group: one where systemd
 * has set the attribute user.delegate or trusted.delegate, or that belongs to this user, if that is not root. Sets
 * base->path, and *is_leaf if the process is in a child.
 */
bool ax_cgroup_find(struct ax_cgroup *base, bool *is_leaf);

/*
 * Moves the calling process, and everything else in the group, into a leaf unless it is in one already, and enables
 * controllers for child groups. 0, or a negative errno: then workers get no groups. To be called before the process has
 * started others.
 */
int ax_cgroup_enter(struct ax_cgroup *base, bool is_leaf);

/* Kills the processes in, and removes, the groups of supervisors that no longer run, and those of `pid`. */
void ax_cgroup_remove_stale(const struct ax_cgroup *base, pid_t pid);

void ax_cgroup_name(char name[AX_CGROUP_NAME], pid_t supervisor, uint64_t number);

/*
 * Creates a group. Returns a descriptor of its cgroup.procs, close-on-exec, with which a process can join it; or a
 * negative errno.
 */
int ax_cgroup_make(const struct ax_cgroup *base, const char *name);

/*
 * Sets the limits of a group: bytes of memory, and number of processes and threads; 0: no limit. As far as the
 * controllers are available. 0, or a negative errno.
 */
int ax_cgroup_limit(const struct ax_cgroup *base, const char *name, uint64_t memory, uint64_t tasks);

/*
 * Kills the processes in the group, and removes it. 0; or a negative errno, -EBUSY while a process in it has not exited
 * yet.
 */
int ax_cgroup_remove(const struct ax_cgroup *base, const char *name);

/* Moves the calling process into a group by such a descriptor. 0, or a negative errno. */
int ax_cgroup_join(int procs_fd);

#endif
