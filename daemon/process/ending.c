/* SPDX-License-Identifier: MIT */
#include "daemon/process/ending.h"

#define NOTICE_MS 500u   /* by then a worker has noticed and reported that its client has gone */
#define GOODBYE_MS 2500u /* by then a worker whose calls are cut off has exited (drain.c) */

bool ax_ending_begin(struct ax_ending *ending, uint32_t grace_ms, uint64_t *wait_ms)
{
    if (ending->step != AX_ENDING_UNUSED)
        return false;
    ending->step = AX_ENDING_GRACE;
    *wait_ms = (uint64_t)grace_ms + NOTICE_MS;
    return true;
}

enum ax_ending_action ax_ending_next(struct ax_ending *ending, uint32_t calls_running, uint64_t *wait_ms)
{
    *wait_ms = 0;
    if (ending->step == AX_ENDING_GRACE) {
        ending->step = AX_ENDING_GOODBYE;
        *wait_ms = GOODBYE_MS;
        return AX_ENDING_TELL;
    }
    if (ending->step == AX_ENDING_GOODBYE && calls_running == 0) {
        ending->step = AX_ENDING_ORDER;
        *wait_ms = AX_ENDING_MS - GOODBYE_MS;
        return AX_ENDING_WAIT;
    }
    ending->step = AX_ENDING_OVER;
    return AX_ENDING_KILL;
}
