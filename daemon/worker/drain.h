/* SPDX-License-Identifier: MIT */
/* The orderly shutdown of a process that serves connections. */
#ifndef AX_DAEMON_WORKER_DRAIN_H
#define AX_DAEMON_WORKER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Lets calls finish and their results be sent, for at most `grace_ms`; then closes all connections with this reason.
 * Returns whether everything is finished: then the interpreter may be finalized. Main thread; blocks; needs no GIL.
 */
bool ax_drain(uint32_t grace_ms, const char *reason);

/*
 * Exits the process after ax_drain() returned this result: if all is finished, through the finalization of the
 * interpreter, but within a bounded time whatever user code does there; at once while a call still runs.
 */
_Noreturn void ax_drain_exit(bool quiet, int status);

#endif
