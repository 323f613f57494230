/* SPDX-License-Identifier: MIT */
/*
 * acrossd --stdio: this process is a worker, whose one connection is its standard input and output.
 *
 * The connection moves to descriptors of its own before the interpreter starts. Then standard input is /dev/null, and
 * standard output goes where standard error goes: what user code and its children print or read harms nothing.
 */
#ifndef AX_DAEMON_STDIO_H
#define AX_DAEMON_STDIO_H

#include "daemon/options.h"

/* Serves until the connection ends or a signal says stop. Returns the exit status, or does not return. */
int ax_stdio_run(const struct ax_options *options);

#endif
