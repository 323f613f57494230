/* SPDX-License-Identifier: MIT */
/*
 * --run-as-peer: a worker becomes the user at the other end of its unix socket.
 *
 * The zygote and the keepers are root's and stay so; they run nobody's code. A worker is root's until its connection
 * arrives, and has run nobody's code, either. Then it becomes the peer, once and for good, before a byte of the connection
 * is looked at. docs/access.md tells what the user gets, and what of acrossd's own things he can reach.
 */
#ifndef AX_DAEMON_PROCESS_LOGIN_H
#define AX_DAEMON_PROCESS_LOGIN_H

#include <stddef.h>

#include "daemon/config/options.h"

/*
 * Those variables of an environment that are for every user, in an array that ends in NULL: the caller's, but not its
 * items. NULL when there is no memory. For the zygote, since the kernel shows every process what it was started with.
 */
char **ax_login_make_environment(char *const *environment);

/*
 * Leaves behind what a change of the user would not take away: the keys of the session, and inheritable capabilities.
 * For a keeper, before it forks its worker: both belong to threads, and are inherited.
 */
void ax_login_prepare(void);

/*
 * Becomes the peer of this accepted unix socket, with its user, its groups and no others, with the environment, the
 * file mode mask and the limit of open files of a login of that user, and in its home, or in / if that cannot be
 * entered; with --chdir the folder stays. For the main thread of a worker, which has its interpreter, is its keeper's
 * child, and has not served anybody.
 *
 * 0, or -1 with a sentence: then the process may be anything in between, and has to end without serving.
 */
int ax_login_as_peer(const struct ax_options *options, int fd, char *error, size_t error_size);

#endif
