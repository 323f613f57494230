/* SPDX-License-Identifier: MIT */
/*
 * --run-as-peer: a worker switches to the user at the other end of its unix socket.
 *
 * The zygote and the keepers stay root; they run no user code. A worker is root until its connection arrives, and has
 * run no user code until then. Then it switches to the peer's user for good, before it looks at a byte of the
 * connection. docs/access.md says what the user gets, and what of acrossd they can reach.
 */
#ifndef AX_DAEMON_PROCESS_LOGIN_H
#define AX_DAEMON_PROCESS_LOGIN_H

#include <stddef.h>

#include "daemon/config/options.h"

/*
 * The variables of an environment that are not personal, in an array that ends in NULL: the array is the caller's, the
 * strings are not. NULL when there is no memory. For the zygote, since the kernel shows the environment that a process
 * was started with.
 */
char **ax_login_make_environment(char *const *environment);

/*
 * Drops what a change of user does not: the session keyring, and inheritable capabilities. Called by a keeper before it
 * forks its worker: both belong to threads, and are inherited.
 */
void ax_login_prepare(void);

/*
 * Switches to the peer of this accepted unix socket: its user and exactly its groups, with the environment, umask and
 * limit of open files of a login session, in its home, or in / if that cannot be entered; with --chdir the folder
 * stays. Called in a worker's main thread, after its interpreter has started and before it has served anyone.
 *
 * 0, or -1 with an error message: then the change may be incomplete, and the process has to exit without serving.
 */
int ax_login_as_peer(const struct ax_options *options, int fd, char *error, size_t error_size);

#endif
