/* SPDX-License-Identifier: MIT */
/*
 * How many connections and handshakes a supervisor allows: derived from its options and its limit of file descriptors.
 *
 * Called by the supervisor once, when it starts.
 */
#ifndef AX_DAEMON_ADMISSION_FD_BUDGET_H
#define AX_DAEMON_ADMISSION_FD_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/config/options.h"

struct ax_fd_budget {
    size_t connections;           /* at least 1 */
    size_t handshakes;            /* at least 1 */
    size_t connections_of_source; /* the same for a single source; at least 1 */
    size_t handshakes_of_source;
};

/*
 * Divides up the file descriptors that this process may have: `files`. `has_tls`: each connection may need a relay.
 * Logs a warning if they allow fewer connections than the options, or the default, ask for.
 */
struct ax_fd_budget ax_fd_budget_find(const struct ax_options *options, bool has_tls, size_t files);

#endif
