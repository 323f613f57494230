/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: the process of a listening acrossd that holds its sockets and its workers, and no Python.
 *
 * It connects the admission, which accepts connections and prepares them, with the pool, which keeps workers running:
 * hands clients to workers, answers requests for the status, notifies the service manager, handles signals, and stops
 * everything in order. One thread, one loop.
 */
#ifndef AX_DAEMON_SUPERVISOR_H
#define AX_DAEMON_SUPERVISOR_H

#include "daemon/config/options.h"

/*
 * Serves until it is told to stop. Returns the process's exit status: 0 after an orderly stop, 1 for a failure and 2
 * for invalid settings, both after a line in the log. The command line is read again on a reload.
 */
int ax_supervisor_run(const struct ax_options *options, int argc, char *const *argv);

#endif
