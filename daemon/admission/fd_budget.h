/* SPDX-License-Identifier: MIT */
/*
 * How many connections and handshakes a supervisor has room for: what its options say, and its descriptors allow.
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
    size_t connections_of_source; /* the same of one source; at least 1 */
    size_t handshakes_of_source;
};

/*
 * Divides up the open files that the process may have: `files` of them. `has_tls`: each connection may need a relay. Logs
 * a warning when that allows fewer connections than the options, or the default, ask for.
 */
struct ax_fd_budget ax_fd_budget_find(const struct ax_options *options, bool has_tls, size_t files);

#endif
