/* SPDX-License-Identifier: MIT */
/* The orderly end of a process that serves connections. */
#ifndef AX_DAEMON_WORKER_DRAIN_H
#define AX_DAEMON_WORKER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Lets calls finish and their results leave, for `grace_ms` at most; then closes all connections, for this reason.
 * Returns whether all is quiet: then the interpreter may be ended. Main thread; blocks; needs no GIL.
 */
bool ax_drain(uint32_t grace_ms, const char *reason);

/*
 * Ends the process, which drained with this result: by way of the interpreter's own end when all is quiet, but within a
 * bounded time whatever user code does there; at once when a call still runs.
 */
_Noreturn void ax_drain_exit(bool quiet, int status);

#endif
