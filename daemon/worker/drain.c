/* SPDX-License-Identifier: MIT */
#include "daemon/worker/drain.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/process/process.h"
#include "embed/host.h"

#define LOOK_MS 10       /* poll interval while calls are running */
#define GOODBYE_MS 1000u /* for sending goodbyes, in addition to the grace period */
#define FINISH_MS 3000u  /* for atexit functions, and threads that user code started */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A call may make calls back to its peer, so connections stay open until it is done. */
static void await_calls(uint64_t deadline)
{
    struct ax_host_counts counts;
    uint64_t now;

    ax_host_count(&counts);
    while (counts.calls_running > 0 && (now = now_ms()) < deadline) {
        uint64_t left = deadline - now;

        if (ax_host_wait_idle(left < LOOK_MS ? (uint32_t)left : LOOK_MS))
            return;
        ax_host_count(&counts);
    }
}

/* Returns whether everything is finished. Does not wait for calls that run on after their connection has ended. */
static bool await_goodbyes(struct ax_host_counts *counts)
{
    uint64_t deadline = now_ms() + GOODBYE_MS;

    while (!ax_host_wait_idle(LOOK_MS)) {
        ax_host_count(counts);
        if (counts->connections == 0 || now_ms() >= deadline)
            return false;
    }
    return true;
}

bool ax_drain(uint32_t grace_ms, const char *reason)
{
    struct ax_host_counts counts = {0};

    await_calls(now_ms() + grace_ms);
    ax_host_close_all(reason);
    if (await_goodbyes(&counts))
        return true;
    if (counts.calls_running > 0)
        ax_log(AX_LOG_WARNING, "calls that still ran after %u.%03u seconds of grace, and were ended: %u",
               grace_ms / 1000, grace_ms % 1000, counts.calls_running);
    return false;
}

void ax_drain_exit(bool quiet, int status)
{
    if (!quiet)
        _exit(status);
    ax_process_exit_within(FINISH_MS, status);
    ax_host_fini();
    exit(status);
}
