/* SPDX-License-Identifier: MIT */
/* Timed waits on a condition variable by the monotonic clock. */
#ifndef AX_EMBED_DEADLINE_H
#define AX_EMBED_DEADLINE_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Initialises a condition variable whose timed waits take an ax_deadline_after(). */
static inline void ax_deadline_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* The time `ms` milliseconds from now. */
static inline struct timespec ax_deadline_after(uint32_t ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

#endif
