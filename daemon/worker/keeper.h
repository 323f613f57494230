/* SPDX-License-Identifier: MIT */
/*
 * A keeper: the process between the zygote and one worker, which sees to it that nothing of the worker outlives it.
 *
 * Whatever user code starts in the worker, in new sessions and doubly forked, ends up below the keeper, which is a
 * subreaper. When the worker has died, the keeper tells the supervisor how, and kills the rest. When the supervisor has
 * died, it kills them all. It runs none of the user's code, and sleeps otherwise.
 */
#ifndef AX_DAEMON_WORKER_KEEPER_H
#define AX_DAEMON_WORKER_KEEPER_H

#include <stdbool.h>

#include "daemon/config/options.h"

/*
 * Turns the calling process, just forked by the zygote, into a keeper: forks the worker, and keeps it. `control_fd` is
 * shared with the worker, `board_fd` is for it, and so is the GROUP that is in the socket if there is one.
 */
_Noreturn void ax_keeper_run(const struct ax_options *options, int control_fd, int stats_fd, bool has_group);

#endif
