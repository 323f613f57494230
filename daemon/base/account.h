/* SPDX-License-Identifier: MIT */
/*
 * The users and groups of this system: from text to numbers, and becoming one of them.
 *
 * Nearly all of it asks the name service, which may wait for a network: never in the loop. The finders may be called in any
 * thread; ax_account_become() by a process of one thread, since it changes the environment.
 */
#ifndef AX_DAEMON_BASE_ACCOUNT_H
#define AX_DAEMON_BASE_ACCOUNT_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The number behind a name. Text that is all digits is taken as the number itself, which need not belong to anybody. 0,
 * or -1 with a sentence.
 */
int ax_account_find_user(const char *text, uid_t *uid, char *error, size_t error_size);
int ax_account_find_group(const char *text, gid_t *gid, char *error, size_t error_size);

/* Whether ax_account_become() would be tried for this user. 0, or -1 with the sentence that it would give. */
int ax_account_check(const char *user, char *error, size_t error_size);

/*
 * Becomes this user, a name or a number that belongs to one, for good: with its group and all its further groups, and
 * with HOME, USER, LOGNAME and SHELL in the environment. A process that is this user already stays as it is, its groups
 * and its environment, too; any other change is root's alone. The process stays one that its user may trace and that
 * may dump core. The kernel forgets PR_SET_PDEATHSIG: what needs it sets it afterwards.
 *
 * 0, or -1 with a sentence: then the process may be anything in between, and has to end.
 */
int ax_account_become(const char *user, char *error, size_t error_size);

/*
 * Becomes the user and the group with these numbers, with these further groups and no others, and changes nothing else:
 * as above, but that it always changes the groups, asks nobody, may be called with threads, and leaves the environment
 * alone.
 */
int ax_account_become_exactly(uid_t uid, gid_t gid, const gid_t *groups, size_t count, char *error, size_t error_size);

/* What a login of a user begins with. Owned. */
struct ax_account {
    char *name;
    char *home;
    char *shell;
};

/*
 * Describes the user with this number; who has no entry is called by that number, and has / as home. 0 and the result is
 * for ax_account_fini(), or -1 with a sentence: the name service does not answer, or there is no memory.
 */
int ax_account_describe(struct ax_account *account, uid_t uid, char *error, size_t error_size);
void ax_account_fini(struct ax_account *account);

#endif
