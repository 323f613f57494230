/* SPDX-License-Identifier: MIT */
/* All sockets that a supervisor listens on: those of --listen, and those from the service manager. */
#ifndef AX_DAEMON_LISTEN_SOCKETS_H
#define AX_DAEMON_LISTEN_SOCKETS_H

#include <stddef.h>

#include "daemon/config/options.h"
#include "daemon/listen/listener.h"

/*
 * Opens them, into an array from malloc() that the caller owns. Returns an exit status; unless it is 0, an error was
 * logged and nothing stays open. Before any thread or process is started.
 */
int ax_sockets_open(const struct ax_options *options, struct ax_listener **listeners, size_t *count);

#endif
