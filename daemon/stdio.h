/* SPDX-License-Identifier: MIT */
/*
 * acrossd --stdio: serves one connection over standard input and output.
 *
 * This process runs no Python. It forks a worker, like those of a listening acrossd, gives it the connection, and is its
 * supervisor and its keeper in one: it passes signals on, tells the peer when the worker dies, and kills what it leaves.
 * The connection moves to descriptors of its own first. Then standard input is /dev/null, and standard output goes where
 * standard error goes: what user code and its children print or read harms nothing.
 */
#ifndef AX_DAEMON_STDIO_H
#define AX_DAEMON_STDIO_H

#include "daemon/config/options.h"

/* Serves until the connection ends or a signal says stop. Returns the exit status, or does not return. */
int ax_stdio_run(const struct ax_options *options);

#endif
