/* SPDX-License-Identifier: MIT */
#include "daemon/base/account.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/base/error_format.h"

/*
 * Bytes of an entry. A group's entry lists its members: the largest buffer holds more than a hundred thousand of them.
 */
#define FIRST_ENTRY_SIZE 1024u
#define ENTRY_SIZE_MAX (4096u * FIRST_ENTRY_SIZE)

/* The largest number means "no change" or "error" in system calls. */
#define NUMBER_MAX (UINT32_MAX - 1)
#define NUMBER_TEXT 24 /* bytes of a number, with the final NUL */

static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t), "the range of a number");

/* ---- entries ---- */

static bool is_number(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
}

/* -1: out of range. */
static int read_number(uint32_t *number, const char *text)
{
    uint64_t value = 0;

    for (; *text != '\0'; text++) {
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > NUMBER_MAX)
            return -1;
    }
    *number = (uint32_t)value;
    return 0;
}

/* An entry, with the strings that it points to. */
struct entry {
    union {
        struct passwd user;
        struct group group;
    } of;
    char *strings; /* owned */
};

/* Fills in the entry for this text. 0 and *found tells whether there is one, or a positive errno. */
typedef int look_up_fn(struct entry *entry, size_t strings_size, const char *text, bool *found);

static int look_up_user(struct entry *entry, size_t strings_size, const char *text, bool *found)
{
    struct passwd *result = NULL;
    int code = getpwnam_r(text, &entry->of.user, entry->strings, strings_size, &result);

    *found = result != NULL;
    return code;
}

static int look_up_user_number(struct entry *entry, size_t strings_size, const char *text, bool *found)
{
    struct passwd *result = NULL;
    uint32_t uid;
    int code;

    *found = false;
    if (read_number(&uid, text) < 0)
        return 0;
    code = getpwuid_r(uid, &entry->of.user, entry->strings, strings_size, &result);
    *found = result != NULL;
    return code;
}

static int look_up_group(struct entry *entry, size_t strings_size, const char *text, bool *found)
{
    struct group *result = NULL;
    int code = getgrnam_r(text, &entry->of.group, entry->strings, strings_size, &result);

    *found = result != NULL;
    return code;
}

/* The codes that mean "no such entry": not all implementations return 0 then (getpwnam(3)). */
static bool means_unknown(int code)
{
    return code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM;
}

/*
 * Retries with larger buffers. 0 and the caller frees entry->strings, or -1 with an error message, which calls it
 * `kind`. *is_unknown: the name service has answered that there is no such entry.
 */
static int look_up(struct entry *entry, look_up_fn *ask, const char *kind, const char *text, bool *is_unknown,
                   char *error, size_t size)
{
    size_t capacity = FIRST_ENTRY_SIZE;
    bool found = false;
    int code = ERANGE;

    *is_unknown = false;
    entry->strings = NULL;
    for (; (code == ERANGE && capacity <= ENTRY_SIZE_MAX) || code == EINTR;
         capacity = code == ERANGE ? capacity * 4 : capacity) {
        free(entry->strings);
        entry->strings = malloc(capacity);
        if (entry->strings == NULL)
            return ax_error_format(error, size, "out of memory");
        code = ask(entry, capacity, text, &found);
    }
    if (found)
        return 0;
    free(entry->strings);
    entry->strings = NULL;
    *is_unknown = means_unknown(code);
    if (*is_unknown)
        return ax_error_format(error, size, "this system has no %s \"%s\"", kind, text);
    return ax_error_format(error, size, "cannot look up the %s \"%s\": %s", kind, text, strerror(code));
}

/* ---- finding ---- */

static int find_number(uint32_t *number, const char *kind, const char *text, char *error, size_t size)
{
    if (read_number(number, text) < 0)
        return ax_error_format(error, size, "%s is no number of a %s: the largest one is %u", text, kind, NUMBER_MAX);
    return 0;
}

int ax_account_find_user(const char *text, uid_t *uid, char *error, size_t error_size)
{
    struct entry entry;
    bool ignored;

    if (is_number(text))
        return find_number(uid, "user", text, error, error_size);
    if (look_up(&entry, look_up_user, "user", text, &ignored, error, error_size) < 0)
        return -1;
    *uid = entry.of.user.pw_uid;
    free(entry.strings);
    return 0;
}

int ax_account_find_group(const char *text, gid_t *gid, char *error, size_t error_size)
{
    struct entry entry;
    bool ignored;

    if (is_number(text))
        return find_number(gid, "group", text, error, error_size);
    if (look_up(&entry, look_up_group, "group", text, &ignored, error, error_size) < 0)
        return -1;
    *gid = entry.of.group.gr_gid;
    free(entry.strings);
    return 0;
}

/* ---- switching ---- */

static bool is_user(uid_t uid)
{
    uid_t real, effective, saved;

    return getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid && saved == uid;
}

static bool is_group(gid_t gid)
{
    gid_t real, effective, saved;

    return getresgid(&real, &effective, &saved) == 0 && real == gid && effective == gid && saved == gid;
}

/* Groups before the user: afterwards the process lacks the privilege. The supplementary groups are set already. */
static int change(uid_t uid, gid_t gid, const char *name, char *error, size_t size)
{
    if (setresgid(gid, gid, gid) < 0)
        return ax_error_format(error, size, "cannot become group %lu of user %s: %s", (unsigned long)gid, name,
                               strerror(errno));
    if (setresuid(uid, uid, uid) < 0)
        return ax_error_format(error, size, "cannot become user %s: %s", name, strerror(errno));
    /* With leftover capabilities the process could switch back, and so could the code that it is going to run. */
    if (!is_group(gid) || !is_user(uid) || (uid != 0 && setresuid((uid_t)-1, 0, (uid_t)-1) == 0))
        return ax_error_format(error, size, "cannot become user %s for good: root's rights remain", name);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return 0;
}

static const char *shell_of(const struct passwd *user)
{
    return user->pw_shell != NULL && user->pw_shell[0] != '\0' ? user->pw_shell : "/bin/sh";
}

static int tell_environment(const struct passwd *user, char *error, size_t size)
{
    if (setenv("HOME", user->pw_dir, 1) < 0 || setenv("USER", user->pw_name, 1) < 0 ||
        setenv("LOGNAME", user->pw_name, 1) < 0 || setenv("SHELL", shell_of(user), 1) < 0)
        return ax_error_format(error, size, "out of memory");
    return 0;
}

static int check(const struct passwd *user, char *error, size_t size)
{
    if (is_user(user->pw_uid) || geteuid() == 0)
        return 0;
    return ax_error_format(error, size, "only root may become user %s, and acrossd runs as user %lu", user->pw_name,
                           (unsigned long)geteuid());
}

static int become(const struct passwd *user, char *error, size_t size)
{
    if (is_user(user->pw_uid))
        return 0;
    if (check(user, error, size) < 0)
        return -1;
    if (initgroups(user->pw_name, user->pw_gid) < 0)
        return ax_error_format(error, size, "cannot get the groups of user %s: %s", user->pw_name, strerror(errno));
    if (change(user->pw_uid, user->pw_gid, user->pw_name, error, size) < 0)
        return -1;
    return tell_environment(user, error, size);
}

/* Calls a function with the entry of a user, given by name or number. */
static int with_entry(const char *user, int (*act)(const struct passwd *, char *, size_t), char *error, size_t size)
{
    struct entry entry;
    bool ignored;
    int result;

    if (look_up(&entry, is_number(user) ? look_up_user_number : look_up_user, "user", user, &ignored, error, size) < 0)
        return -1;
    result = act(&entry.of.user, error, size);
    free(entry.strings);
    return result;
}

int ax_account_check(const char *user, char *error, size_t error_size)
{
    return with_entry(user, check, error, error_size);
}

int ax_account_become(const char *user, char *error, size_t error_size)
{
    return with_entry(user, become, error, error_size);
}

int ax_account_become_exactly(uid_t uid, gid_t gid, const gid_t *groups, size_t count, char *error, size_t error_size)
{
    char number[NUMBER_TEXT];

    snprintf(number, sizeof number, "%lu", (unsigned long)uid);
    if (setgroups(count, groups) < 0)
        return ax_error_format(error, error_size, "cannot have the groups of user %s: %s", number, strerror(errno));
    return change(uid, gid, number, error, error_size);
}

/* ---- describing ---- */

static int describe(struct ax_account *account, const char *name, const char *home, const char *shell, char *error,
                    size_t size)
{
    *account = (struct ax_account){strdup(name), strdup(home), strdup(shell)};
    if (account->name != NULL && account->home != NULL && account->shell != NULL)
        return 0;
    ax_account_fini(account);
    return ax_error_format(error, size, "out of memory");
}

int ax_account_describe(struct ax_account *account, uid_t uid, char *error, size_t error_size)
{
    char number[NUMBER_TEXT];
    struct entry entry;
    bool is_unknown;
    int result;

    snprintf(number, sizeof number, "%lu", (unsigned long)uid);
    if (look_up(&entry, look_up_user_number, "user", number, &is_unknown, error, error_size) < 0)
        return is_unknown ? describe(account, number, "/", "/bin/sh", error, error_size) : -1;
    result =
        describe(account, entry.of.user.pw_name, entry.of.user.pw_dir, shell_of(&entry.of.user), error, error_size);
    free(entry.strings);
    return result;
}

void ax_account_fini(struct ax_account *account)
{
    free(account->name);
    free(account->home);
    free(account->shell);
    *account = (struct ax_account){0};
}
