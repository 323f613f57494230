/* SPDX-License-Identifier: MIT */
/*
 * Kills the descendants of the calling process.
 *
 * A subreaper becomes the parent of all orphans among its descendants, even after setsid() and double forks. So once
 * all its children are gone, nothing is left below it. A child's pid cannot be reused before its parent has waited for
 * it, so signalling it is safe. Needs /proc; for processes with one thread.
 */
#ifndef AX_DAEMON_PROCESS_TREE_H
#define AX_DAEMON_PROCESS_TREE_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the calling process a subreaper. */
void ax_tree_adopt(void);

/*
 * Kills every child for which `spare` (NULL: none) does not return true, and reaps those that are dead already. Returns
 * how many were killed in this pass, or -1 if the children cannot be listed. Their own children become ours when they
 * have died.
 */
int ax_tree_kill_orphans(bool (*spare)(void *arg, pid_t pid), void *arg);

/* Reaps all children that are dead already. Returns whether `pid` was among them, and if so its status. */
bool ax_tree_reap(pid_t pid, int *how);

/* Kills all descendants, and waits until none is left. */
void ax_tree_end(void);

#endif
