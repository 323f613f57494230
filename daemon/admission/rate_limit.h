/* SPDX-License-Identifier: MIT */
/* A rate limit with a burst: so many at once, and then one per interval. The time is an argument. */
#ifndef AX_DAEMON_ADMISSION_RATE_LIMIT_H
#define AX_DAEMON_ADMISSION_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* All zero except for the first two: nothing has been taken yet. */
struct ax_rate_limit {
    uint32_t at_once;
    uint32_t every_ms;    /* interval after the burst */
    uint64_t spent_until; /* ms; the time at which everything taken so far has been replenished */
    uint64_t omitted;     /* how often it was exceeded; the owner may read and reset it */
};

/* Whether one more is allowed at this time, in ms of any monotonic clock; if not, counts it in `omitted`. */
bool ax_rate_limit_take(struct ax_rate_limit *rate_limit, uint64_t now);

#endif
