/* SPDX-License-Identifier: MIT */
#include "embed/fork.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "embed/waiter.h"

unsigned ax_fork_generation;

static int private_fds[AX_FORK_PRIVATE]; /* changed only while there is one thread */
static int private_count;

static void close_private(void)
{
    while (private_count > 0)
        close(private_fds[--private_count]);
}

void ax_fork_keep_private(int fd)
{
    assert(private_count < AX_FORK_PRIVATE);
    private_fds[private_count++] = fd;
}

static void in_child(void)
{
    ax_fork_generation++;
    close_private();
    ax_waiter_after_fork();
}

static void watch(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

void ax_fork_watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch);
}

/*
 * When the last thread of a process returns, the C library calls exit(). That would also run handlers that libraries of
 * the parent have registered, and might wait there for threads that do not exist. Only the C library's streams are
 * flushed, as the child has them: data in the buffers of Python's own streams is lost, unless they are unbuffered, as
 * in acrossd.
 */
_Noreturn void ax_fork_end(void)
{
    fflush(NULL);
    _exit(0);
}
