/* SPDX-License-Identifier: MIT */
/*
 * Separates acrossd from children that are not its own.
 *
 * acrossd kills its workers' orphans, which become its children. But other processes may become its children as well:
 * process 1 of a container becomes the parent of all orphans there, including those of `docker exec`, and a shell that
 * execs acrossd leaves it its children. They cannot be told apart. So in these cases acrossd serves in a child process,
 * and the parent acts as a minimal init: it reaps children, forwards signals, and exits with the child's status.
 *
 * A service manager is told that the child is the service's main process, unless the parent is process 1. The child is
 * not the manager's own child, so the manager does not get its exit status (docs/systemd.md).
 */
#ifndef AX_DAEMON_INIT_H
#define AX_DAEMON_INIT_H

/*
 * Returns in the process that is to serve: the calling one if all children that it will ever have are its own, or else
 * a child of it. For a process with one thread, before it has opened anything. 0, or a negative errno.
 */
int ax_init_stay_apart(void);

#endif
