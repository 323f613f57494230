/* SPDX-License-Identifier: MIT */
#include "daemon/admission/rate_limit.h"

bool ax_rate_limit_take(struct ax_rate_limit *rate_limit, uint64_t now)
{
    if (rate_limit->spent_until < now)
        rate_limit->spent_until = now;
    if (rate_limit->spent_until - now > (uint64_t)(rate_limit->at_once - 1) * rate_limit->every_ms) {
        rate_limit->omitted++;
        return false;
    }
    rate_limit->spent_until += rate_limit->every_ms;
    return true;
}
