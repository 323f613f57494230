/* SPDX-License-Identifier: MIT */
/*
 * What fork() means for the engine: the rules for locks, streams, counts, scopes and threads, and how to tell a child.
 *
 * A child has one thread, the one that forked, and a copy of everything else as it was in that moment. So in the child:
 *   locks        of the parent's engine may be held by threads that do not exist. Nobody takes one of them again: every
 *                function that would asks ax_fork_is_past() first. The two locks that the child needs, those of the
 *                list of connections and of the engine's start, are held by the thread that forks, and are new in the
 *                child (engine.c).
 *   streams      are closed, so that a peer hears of its parent's end. What is asked of an inherited connection fails
 *                with a DisconnectError, and what is released is only freed.
 *   descriptors  that are internal are closed: the epoll descriptor of the loop, and those that
 *                ax_fork_keep_private() has named, such as the control socket of a worker. What is left are eventfds,
 *                with which a child can wake threads of its parent for nothing. All are close-on-exec.
 *   counts       stay the parent's: the child has no tally, and tells nobody of the state of a stream.
 *   scopes       stay: the child knows the connection whose call it was forked in, which is dead to it.
 *   the engine   is forgotten. A child that opens a connection starts a new one.
 *   threads      of an executor end when user code returns to them, and the process with them, as a child that is
 *                forked in a thread of plain Python does: with status 0, without atexit functions. A request that is
 *                served in the thread of a waiting caller ends in the same way. It is not answered: the parent does
 *                that.
 */
#ifndef AX_EMBED_FORK_H
#define AX_EMBED_FORK_H

#include <stdbool.h>

/* How many forks led to this process, since ax_fork_watch() was called. Changes in a child that has one thread only. */
extern unsigned ax_fork_generation;

#define AX_FORK_PRIVATE 4 /* descriptors: a worker has two */

/*
 * A descriptor that is open as long as the process lives, for its children to close. While the process has one thread.
 */
void ax_fork_keep_private(int fd);

/* Has forks heeded from now on. Repeated calls do nothing. Any thread. */
void ax_fork_watch(void);

/* Whether something that was made in this generation belongs to a process that this one was forked from. */
static inline bool ax_fork_is_past(unsigned generation)
{
    return generation != ax_fork_generation;
}

/* Ends a child in which user code has returned to a thread of the engine. */
_Noreturn void ax_fork_end(void);

#endif
