/* SPDX-License-Identifier: MIT */
/*
 * A worker: the process in which calls run. It holds an interpreter, and serves the connections that its supervisor
 * sends.
 *
 * Its main thread waits for messages on the control socket and never needs the GIL, so that a worker takes
 * connections and stops in time while every call is stuck. It dies when its supervisor does.
 */
#ifndef AX_DAEMON_WORKER_H
#define AX_DAEMON_WORKER_H

#include "daemon/options.h"

/* Serves until it is told to stop. Returns an exit status, or does not return. */
int ax_worker_run(const struct ax_options *options);

/*
 * What every process with an interpreter does first: goes to its folder, finds the interpreter, and starts it. An exit
 * status, after a line on standard error unless it is 0.
 */
int ax_worker_start_interpreter(const struct ax_options *options);

#endif
