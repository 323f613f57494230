/* SPDX-License-Identifier: MIT */
/*
 * A worker: the process in which calls run. It has an interpreter, usually already started when it was forked, and
 * serves the connections that its supervisor sends: one, or with --isolation shared all of them.
 *
 * Its main thread waits for messages on the control socket and never needs the GIL, so that a worker takes connections
 * and stops in time even while every call is stuck. Its keeper kills the processes that it leaves behind.
 */
#ifndef AX_DAEMON_WORKER_WORKER_H
#define AX_DAEMON_WORKER_WORKER_H

#include "daemon/config/options.h"

/*
 * Serves, in a process with one thread whose interpreter has started. `stats_fd` is its shared stats (shared_stats.h).
 */
_Noreturn void ax_worker_run(const struct ax_options *options, int control_fd, int stats_fd);

/* A call has run out of memory: reports it to the supervisor, and exits. Any thread of a worker. */
void ax_worker_out_of_memory(void);

#endif
