/* SPDX-License-Identifier: MIT */
#include "daemon/admission/rate_limit.h"

bool ax_quota_take(struct ax_quota *quota, uint64_t now)
{
    if (quota->spent_until < now)
        quota->spent_until = now;
    if (quota->spent_until - now > (uint64_t)(quota->at_once - 1) * quota->every_ms) {
        quota->omitted++;
        return false;
    }
    quota->spent_until += quota->every_ms;
    return true;
}
