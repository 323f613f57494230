/* SPDX-License-Identifier: MIT */
/*
 * Keeps what is not acrossd's apart from what is.
 *
 * acrossd kills what its workers leave behind, which becomes its child when the parents have ended. But that may be true of
 * others as well: process 1 of a container becomes the parent of all orphans there, those of `docker exec`, too, and a shell
 * that replaces itself by acrossd (exec) hands it its children. Nobody could tell them apart. So in such a place, acrossd
 * serves in a child process. Its parent has the duties of a process 1 and no others: it waits for whatever ends, hands
 * signals on, and ends as its child does.
 *
 * A service manager is told that the child is the main process of the service, unless the parent is process 1. It is
 * no child of the manager, which therefore does not learn how it ends (docs/systemd.md).
 */
#ifndef AX_DAEMON_INIT_H
#define AX_DAEMON_INIT_H

/*
 * Returns in the process that is to serve: the calling one, if every child that it will ever have is its own, else a child
 * of it. For a process of one thread, before it has opened anything. 0, or a negative errno.
 */
int ax_init_stay_apart(void);

#endif
