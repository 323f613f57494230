/* SPDX-License-Identifier: MIT */
/*
 * acrossd --stdio: serves one connection over standard input and output.
 *
 * This process runs no Python. It forks a worker, like those of a listening acrossd, gives it the connection, and acts
 * as both its supervisor and its keeper: it forwards signals, tells the peer if the worker dies, and kills its orphans.
 * The connection is moved to other descriptors first. Then standard input is /dev/null, and standard output is
 * redirected to standard error, so that what user code and its children print or read does not corrupt the stream.
 */
#ifndef AX_DAEMON_STDIO_H
#define AX_DAEMON_STDIO_H

#include "daemon/config/options.h"

/* Serves until the connection ends or a signal stops it. Returns the exit status, or does not return. */
int ax_stdio_run(const struct ax_options *options);

#endif
