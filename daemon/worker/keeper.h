/* SPDX-License-Identifier: MIT */
/*
 * A keeper: the process between the zygote and one worker, which ensures that nothing of the worker outlives it.
 *
 * All descendants of the worker, even after setsid() and double forks, end up below the keeper, which is a subreaper.
 * When the worker dies, the keeper reports its status to the supervisor, and kills the rest. When the supervisor dies,
 * it kills all of them. It runs no user code, and sleeps otherwise.
 */
#ifndef AX_DAEMON_WORKER_KEEPER_H
#define AX_DAEMON_WORKER_KEEPER_H

#include <stdbool.h>

#include "daemon/config/options.h"

/*
 * Turns the calling process, just forked by the zygote, into a keeper: forks the worker and waits for it. `control_fd`
 * is shared with the worker; `stats_fd` is for the worker, as is the GROUP that may be queued in the socket.
 */
_Noreturn void ax_keeper_run(const struct ax_options *options, int control_fd, int stats_fd, bool has_group);

#endif
