/* SPDX-License-Identifier: MIT */
#include "daemon/admission/fd_budget.h"

#include "daemon/base/log.h"

/* Default for --max-connections: a worker process takes a megabyte, a connection of a shared worker kilobytes. */
#define CONNECTIONS_PROCESS 1024u
#define CONNECTIONS_SHARED 16384u

/*
 * Descriptors: per connection (its socket, its worker's control socket, its keeper), per relay with TLS, and for the
 * supervisor itself.
 */
#define FILES_PROCESS 3u
#define FILES_SHARED 1u
#define FILES_RELAY 2u
#define FILES_OWN 32u

/* One handshake in this many is reserved for other sources than the largest one. */
#define KEPT_BACK 8u

/* `wanted` 0: returns `most`. */
static size_t at_most(size_t wanted, size_t most)
{
    return wanted > 0 && wanted < most ? wanted : most;
}

static void set_limits_of_source(struct ax_fd_budget *budget, const struct ax_options *options)
{
    size_t most = budget->handshakes - budget->handshakes / KEPT_BACK;

    budget->connections_of_source = at_most(options->max_connections_per_source, budget->connections);
    budget->handshakes_of_source =
        options->max_handshakes_per_source > 0 ? at_most(options->max_handshakes_per_source, budget->handshakes) : most;
}

struct ax_fd_budget ax_fd_budget_find(const struct ax_options *options, bool has_tls, size_t files)
{
    bool is_shared = options->isolation == AX_ISOLATION_SHARED;
    size_t each = (is_shared ? FILES_SHARED : FILES_PROCESS) + (has_tls ? FILES_RELAY : 0);
    size_t most = is_shared ? CONNECTIONS_SHARED : CONNECTIONS_PROCESS;
    size_t handshakes = options->max_handshakes < files / 4 ? options->max_handshakes : files / 4;
    size_t left = files > handshakes + FILES_OWN ? files - handshakes - FILES_OWN : 0;
    struct ax_fd_budget budget = {.handshakes = handshakes};

    if (options->max_connections > 0)
        most = options->max_connections;
    budget.connections = left > each ? left / each : 1;
    if (budget.connections >= most)
        budget.connections = most;
    else
        ax_log(AX_LOG_WARNING, "connections are limited to %zu, since this process may have only %zu open files",
               budget.connections, files);
    set_limits_of_source(&budget, options);
    return budget;
}
