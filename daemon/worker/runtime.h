/* SPDX-License-Identifier: MIT */
/* Starts the interpreter in a process: the zygote, or the only process of --stdio. */
#ifndef AX_DAEMON_WORKER_RUNTIME_H
#define AX_DAEMON_WORKER_RUNTIME_H

#include "daemon/config/options.h"

/*
 * Switches to the user (--user), arranges to die with the parent at the other end of control_fd, changes to the folder
 * (--chdir), finds the interpreter, and starts it. Once, in a process with one thread. `out_of_memory`: see struct
 * ax_host_config. Returns an exit status; unless it is 0, an error was written to standard error.
 */
int ax_runtime_start(const struct ax_options *options, int control_fd, void (*out_of_memory)(void));

#endif
