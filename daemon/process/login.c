/* SPDX-License-Identifier: MIT */
#include "daemon/process/login.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/admission/peer.h"
#include "daemon/base/error_format.h"
#include "daemon/base/account.h"
#include "embed/host.h"

/* As in a login session, whatever acrossd was started with: it may have raised its own limit. */
#define PEER_UMASK 022
#define PEER_FILES 1024       /* soft limit: select() cannot handle more */
#define PEER_FILES_MAX 524288 /* hard limit */

/* ---- the environment ---- */

/* Prefixes of variables that are kept: of the system, the interpreter, the loader, logging, and sanitizers. */
static const char *const kept[] = {
    "PATH=", "LANG=", "LANGUAGE=", "LC_", "TZ=", "PYTHON", "LD_", "JOURNAL_STREAM=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=",
};

static bool is_kept(const char *variable)
{
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (strncmp(variable, kept[i], strlen(kept[i])) == 0)
            return true;
    return false;
}

char **ax_login_make_environment(char *const *environment)
{
    size_t count = 0;
    char **result;

    while (environment[count] != NULL)
        count++;
    result = calloc(count + 1, sizeof *result);
    if (result == NULL)
        return NULL;
    for (count = 0; *environment != NULL; environment++)
        if (is_kept(*environment))
            result[count++] = *environment;
    return result;
}

/* ---- capabilities ---- */

/* As the kernel declares them: version 3 has two sets of 32 bits. */
struct capabilities {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct sets[2];
};

static int get_capabilities(struct capabilities *capabilities)
{
    *capabilities = (struct capabilities){.header = {.version = _LINUX_CAPABILITY_VERSION_3}};
    return (int)syscall(SYS_capget, &capabilities->header, capabilities->sets);
}

void ax_login_prepare(void)
{
    struct capabilities capabilities;

    /* fails on kernels without keyrings, where there is nothing to drop */
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    if (get_capabilities(&capabilities) < 0)
        return; /* ax_login_as_peer() checks */
    capabilities.sets[0].inheritable = capabilities.sets[1].inheritable = 0;
    syscall(SYS_capset, &capabilities.header, capabilities.sets);
}

/* Remaining capabilities of root would become effective again in executed programs. */
static bool has_any_capability(void)
{
    struct capabilities capabilities;

    if (get_capabilities(&capabilities) < 0)
        return true;
    for (int i = 0; i < 2; i++)
        if ((capabilities.sets[i].effective | capabilities.sets[i].permitted | capabilities.sets[i].inheritable) != 0)
            return true;
    return false;
}

/* ---- switching to the peer ---- */

static int become(const struct ax_peer *peer, char *error, size_t size)
{
    pid_t keeper = getppid();

    if (ax_account_become_exactly(peer->uid, peer->gid, peer->groups, peer->group_count, error, size) < 0)
        return -1;
    if (peer->uid != 0 && has_any_capability())
        return ax_error_format(error, size, "cannot become user %lu for good: capabilities remain",
                               (unsigned long)peer->uid);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the kernel has reset it */
    if (getppid() != keeper)
        _exit(1); /* the parent ended before that call */
    return 0;
}

static rlim_t lesser(rlim_t left, rlim_t right)
{
    return left < right ? left : right;
}

/* Users can raise none of them above the hard limits. */
static void set_limits(void)
{
    struct rlimit limit;

    umask(PEER_UMASK);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_max = lesser(limit.rlim_max, PEER_FILES_MAX);
    limit.rlim_cur = lesser(limit.rlim_max, PEER_FILES);
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void settle(const struct ax_options *options, const struct ax_account *account)
{
    const char *const variables[] = {"HOME",        account->home, "USER",         account->name, "LOGNAME",
                                     account->name, "SHELL",       account->shell, NULL};

    set_limits();
    ax_host_set_variables(variables);
    if (options->chdir == NULL && chdir(account->home) < 0 && chdir("/") < 0)
        return; /* stays where acrossd was started */
}

int ax_login_as_peer(const struct ax_options *options, int fd, char *error, size_t error_size)
{
    struct ax_account account;
    struct ax_peer peer;
    int result;

    if (ax_peer_get(&peer, fd, error, error_size) < 0)
        return -1;
    result = ax_account_describe(&account, peer.uid, error, error_size);
    if (result == 0) {
        result = become(&peer, error, error_size);
        if (result == 0)
            settle(options, &account);
        ax_account_fini(&account);
    }
    ax_peer_fini(&peer);
    return result;
}
