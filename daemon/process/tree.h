/* SPDX-License-Identifier: MIT */
/*
 * The processes below the calling one, and their end.
 *
 * A process that is a subreaper becomes the parent of whatever its descendants leave behind, new sessions and double
 * forks included. So once all its children are gone, nothing is left below it. A child's number is its own until its
 * parent has waited for it, which makes it safe to send signals to. Needs /proc, and is for processes with one thread.
 */
#ifndef AX_DAEMON_PROCESS_TREE_H
#define AX_DAEMON_PROCESS_TREE_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the calling process a subreaper. */
void ax_tree_adopt(void);

/*
 * Kills every child for which `spare` (NULL: none) does not say true, and waits for those that are dead already. Returns how
 * many were killed just now, or -1 when they cannot be listed. What they have started becomes a child when they have died.
 */
int ax_tree_kill_orphans(bool (*spare)(void *arg, pid_t pid), void *arg);

/* Waits for all children that are dead already. Returns whether `pid` was among them, and then how it ended. */
bool ax_tree_reap(pid_t pid, int *how);

/* Kills all children and what they leave behind, and waits until none is left. */
void ax_tree_end(void);

#endif
