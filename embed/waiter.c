/* SPDX-License-Identifier: MIT */
#include "embed/waiter.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

void ax_waiter_init(struct ax_waiter *waiter)
{
    sem_init(&waiter->posted, 0, 0);
    waiter->next = NULL;
}

void ax_waiter_post(struct ax_waiter *waiter)
{
    sem_post(&waiter->posted);
}

/* Whether this is the main thread: queried from the kernel once, not in each wait. */
static _Thread_local enum { UNKNOWN, MAIN, OTHER } thread_kind;

static bool in_main_thread(void)
{
    if (thread_kind == UNKNOWN)
        thread_kind = gettid() == getpid() ? MAIN : OTHER;
    return thread_kind == MAIN;
}

void ax_waiter_after_fork(void)
{
    thread_kind = UNKNOWN;
}

/* On the realtime clock, which all C libraries support: if it is set back, a slice is longer. */
static struct timespec slice_end(void)
{
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += AX_WAITER_SLICE_MS * 1000000L;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

int ax_waiter_wait(struct ax_waiter *waiter)
{
    /* A valid semaphore has no other errors than EINTR and ETIMEDOUT. */
    if (!in_main_thread())
        return sem_wait(&waiter->posted) == 0 ? 0 : -EINTR;
    struct timespec end = slice_end();
    return sem_timedwait(&waiter->posted, &end) == 0 ? 0 : -EINTR;
}

bool ax_waiter_try(struct ax_waiter *waiter)
{
    return sem_trywait(&waiter->posted) == 0;
}

int ax_waiter_slice(void)
{
    return in_main_thread() ? AX_WAITER_SLICE_MS : -1;
}

void ax_waiter_fini(struct ax_waiter *waiter)
{
    sem_destroy(&waiter->posted);
}
