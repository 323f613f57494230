/* SPDX-License-Identifier: MIT */
/*
 * How often something may be done: so many times at once, and beyond that once in a while. Time is an argument, so that
 * it knows no clock.
 */
#ifndef AX_DAEMON_ADMISSION_RATE_LIMIT_H
#define AX_DAEMON_ADMISSION_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* All zero but for the first two: nothing was done yet. */
struct ax_rate_limit {
    uint32_t at_once;
    uint32_t every_ms;    /* ... and once in this time */
    uint64_t spent_until; /* ms; what was done is paid for by then */
    uint64_t omitted;     /* how often it was not allowed; for the owner to read and reset */
};

/* Whether it may be done now, in milliseconds on any clock that goes forward; else counts it in `omitted`. */
bool ax_rate_limit_take(struct ax_rate_limit *rate_limit, uint64_t now);

#endif
