/* SPDX-License-Identifier: MIT */
/*
 * Users and groups of this system: looking them up, and switching to one of them.
 *
 * Nearly all of it queries the name service, which may block on a network: never in the loop. The finders may be called
 * in any thread; ax_account_become() only in a process with one thread, since it changes the environment.
 */
#ifndef AX_DAEMON_BASE_ACCOUNT_H
#define AX_DAEMON_BASE_ACCOUNT_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The number of a user or group name. Text that is all digits is the number itself, which need not exist. 0, or -1 with
 * an error message.
 */
int ax_account_find_user(const char *text, uid_t *uid, char *error, size_t error_size);
int ax_account_find_group(const char *text, gid_t *gid, char *error, size_t error_size);

/* Whether ax_account_become() would be attempted for this user. 0, or -1 with the error message that it would give. */
int ax_account_check(const char *user, char *error, size_t error_size);

/*
 * Switches to this user, a name or a number of an existing one, for good: with its primary and supplementary groups,
 * and with HOME, USER, LOGNAME and SHELL in the environment. A process that is this user already keeps its groups and
 * its environment; any other change requires root. The process stays dumpable, and its user may trace it. The kernel
 * resets PR_SET_PDEATHSIG: set it again afterwards if needed.
 *
 * 0, or -1 with an error message: then the change may be incomplete, and the process has to exit.
 */
int ax_account_become(const char *user, char *error, size_t error_size);

/*
 * Switches to these user and group ids, with exactly these supplementary groups, and changes nothing else: as above,
 * but it always sets the groups, does not query the name service, may be called with several threads, and leaves the
 * environment alone.
 */
int ax_account_become_exactly(uid_t uid, gid_t gid, const gid_t *groups, size_t count, char *error, size_t error_size);

/* What a login session of a user starts with. Owned. */
struct ax_account {
    char *name;
    char *home;
    char *shell;
};

/*
 * Describes the user with this number; a user without an entry is named by the number, with / as home. 0 and the caller
 * calls ax_account_fini(), or -1 with an error message: the name service does not answer, or there is no memory.
 */
int ax_account_describe(struct ax_account *account, uid_t uid, char *error, size_t error_size);
void ax_account_fini(struct ax_account *account);

#endif
