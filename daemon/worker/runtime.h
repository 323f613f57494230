/* SPDX-License-Identifier: MIT */
/* The start of a process with an interpreter: a zygote, or the one process of --stdio. */
#ifndef AX_DAEMON_WORKER_RUNTIME_H
#define AX_DAEMON_WORKER_RUNTIME_H

#include "daemon/config/options.h"

/*
 * Becomes the user (--user), arranges to die with the parent at the other end of control_fd, goes to the folder
 * (--chdir), finds the interpreter, and starts it. Once in a process of one thread. `out_of_memory`: see struct
 * ax_host_config. An exit status, after a line on standard error unless it is 0.
 */
int ax_runtime_start(const struct ax_options *options, int control_fd, void (*out_of_memory)(void));

#endif
