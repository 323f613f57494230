/* SPDX-License-Identifier: MIT */
/*
 * What fork() means for the engine: the rules for locks, streams, counts, scopes and threads, and how to recognize a
 * child.
 *
 * A child has one thread, the one that forked, and a copy of everything else as it was at that moment. So in the child:
 *   locks        of the parent's engine may be held by threads that do not exist. They are never taken again: every
 *                function that would checks ax_fork_is_past() first. The two locks that the child needs, those of the
 *                list of connections and of the engine's start, are held by the thread that forks, and are new in the
 *                child (engine.c).
 *   streams      are closed, so that a peer is told of its parent's end. Calls over an inherited connection fail with a
 *                DisconnectError, and releases only free memory.
 *   descriptors  that are internal are closed: the epoll descriptor of the loop, and those passed to
 *                ax_fork_keep_private(), such as the control socket of a worker. What is left are eventfds, with which
 *                a child can at most wake threads of its parent. All are close-on-exec.
 *   counts       remain the parent's: the child has no call stats, and publishes no state of a stream.
 *   scopes       remain: the child knows the connection whose call it was forked in, which has ended for it.
 *   the engine   is discarded. A child that opens a connection starts a new one.
 *   threads      of an executor end when user code returns to them, and the process with them, as a child that is
 *                forked in a thread of plain Python does: with status 0, without atexit functions. A request that is
 *                served in the thread of a waiting caller ends in the same way. It is not answered: the parent does
 *                that.
 */
#ifndef AX_EMBED_FORK_H
#define AX_EMBED_FORK_H

#include <stdbool.h>

/*
 * Number of forks that led to this process since ax_fork_watch() was called. Changes only in a child, while it has one
 * thread.
 */
extern unsigned ax_fork_generation;

#define AX_FORK_PRIVATE 4 /* descriptors: a worker has two */

/*
 * Registers a descriptor that is open for the life of the process, for children to close. Only while the process has
 * one thread.
 */
void ax_fork_keep_private(int fd);

/* Installs the fork handlers. Repeated calls have no effect. Any thread. */
void ax_fork_watch(void);

/* Whether something of this generation belongs to a process that this one was forked from. */
static inline bool ax_fork_is_past(unsigned generation)
{
    return generation != ax_fork_generation;
}

/* Ends a child in which user code has returned to a thread of the engine. */
_Noreturn void ax_fork_end(void);

#endif
