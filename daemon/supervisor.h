/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: the process of a listening acrossd that holds its sockets and its workers, and no Python.
 *
 * It joins the admission, which accepts connections and prepares them, and the pool, which keeps workers running: hands
 * clients over, reports the status and to the service manager, obeys signals, and stops everything in order. One
 * thread, one loop.
 */
#ifndef AX_DAEMON_SUPERVISOR_H
#define AX_DAEMON_SUPERVISOR_H

#include "daemon/config/options.h"

/*
 * Serves until it is told to stop. Returns the process's exit status: 0 after an orderly stop, 1 for a failure and 2
 * for settings that are not possible, each after a line on standard error that says so.
 * The command line is read again when it is told to reload.
 */
int ax_supervisor_run(const struct ax_options *options, int argc, char *const *argv);

#endif
