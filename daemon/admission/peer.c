/* SPDX-License-Identifier: MIT */
#include "daemon/admission/peer.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/config/options.h"
#include "daemon/base/address.h"
#include "daemon/base/account.h"

#ifndef SO_PEERGROUPS /* Linux 4.13; the C library's headers may be older */
#define SO_PEERGROUPS 59
#endif

#define FIRST_GROUPS 64 /* on the stack: more than most users have */

/* ---- rules ---- */

static int find_users(struct ax_peer_rules *rules, const struct ax_string_list *users, char *error, size_t size)
{
    if (users->count == 0)
        return 0;
    rules->uids = calloc(users->count, sizeof rules->uids[0]);
    if (rules->uids == NULL)
        return ax_error_format(error, size, "out of memory");
    for (; rules->uid_count < users->count; rules->uid_count++)
        if (ax_account_find_user(users->items[rules->uid_count], &rules->uids[rules->uid_count], error, size) < 0)
            return -1;
    return 0;
}

static int find_groups(struct ax_peer_rules *rules, const struct ax_string_list *groups, char *error, size_t size)
{
    if (groups->count == 0)
        return 0;
    rules->gids = calloc(groups->count, sizeof rules->gids[0]);
    if (rules->gids == NULL)
        return ax_error_format(error, size, "out of memory");
    for (; rules->gid_count < groups->count; rules->gid_count++)
        if (ax_account_find_group(groups->items[rules->gid_count], &rules->gids[rules->gid_count], error, size) < 0)
            return -1;
    return 0;
}

int ax_peer_rules_init(struct ax_peer_rules *rules, const struct ax_string_list *users,
                       const struct ax_string_list *groups, char *error, size_t error_size)
{
    *rules = (struct ax_peer_rules){0};
    if (find_users(rules, users, error, error_size) == 0 && find_groups(rules, groups, error, error_size) == 0)
        return 0;
    ax_peer_rules_fini(rules);
    return -1;
}

void ax_peer_rules_fini(struct ax_peer_rules *rules)
{
    free(rules->uids);
    free(rules->gids);
    *rules = (struct ax_peer_rules){0};
}

bool ax_peer_rules_are_set(const struct ax_peer_rules *rules)
{
    return rules->uid_count > 0 || rules->gid_count > 0;
}

/* ---- checking ---- */

static bool is_user_listed(const struct ax_peer_rules *rules, uid_t uid)
{
    for (size_t i = 0; i < rules->uid_count; i++)
        if (rules->uids[i] == uid)
            return true;
    return false;
}

static bool is_any_group_listed(const struct ax_peer_rules *rules, const gid_t *groups, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < rules->gid_count; j++)
            if (groups[i] == rules->gids[j])
                return true;
    return false;
}

/* The peer's supplementary groups: in `few` if they fit, or else in memory that the caller frees. */
static int get_groups(int fd, gid_t few[FIRST_GROUPS], gid_t **groups, size_t *count)
{
    socklen_t size = FIRST_GROUPS * sizeof few[0];
    int code;

    *groups = few;
    code = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, few, &size);
    if (code < 0 && errno == ERANGE) {
        *groups = malloc(size); /* the kernel has set it to the size that is needed */
        if (*groups == NULL)
            return -1;
        code = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, *groups, &size);
    }
    *count = code < 0 ? 0 : size / sizeof few[0];
    return code;
}

/* If the groups cannot be determined, access is denied. */
static bool is_member(const struct ax_peer_rules *rules, int fd, gid_t first)
{
    gid_t few[FIRST_GROUPS];
    gid_t *groups;
    size_t count;
    bool is;

    if (rules->gid_count == 0)
        return false;
    if (is_any_group_listed(rules, &first, 1))
        return true;
    is = get_groups(fd, few, &groups, &count) == 0 && is_any_group_listed(rules, groups, count);
    if (groups != few)
        free(groups);
    return is;
}

static bool is_unix(int fd)
{
    int domain;
    socklen_t size = sizeof domain;

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

/* Whether an accepted socket came over an abstract name; true if that cannot be determined. */
static bool is_abstract(int fd)
{
    struct ax_sockaddr own = {.size = sizeof own.of};

    if (getsockname(fd, &own.of.any, &own.size) < 0)
        return true;
    return own.of.any.sa_family == AF_UNIX && own.size > offsetof(struct sockaddr_un, sun_path) &&
           own.of.un.sun_path[0] == '\0';
}

int ax_peer_check(const struct ax_peer_rules *rules, int fd, char *reason, size_t reason_size)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (!ax_peer_rules_are_set(rules) && !is_abstract(fd))
        return 0;
    if (!is_unix(fd))
        return ax_error_format(reason, reason_size, "Only certain users may connect, and a TCP connection has no user");
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid == (uid_t)-1)
        return ax_error_format(reason, reason_size, "Only certain users may connect, and the peer's user is unknown");
    if (!ax_peer_rules_are_set(rules) ? peer.uid == geteuid() || peer.uid == 0
                                      : is_user_listed(rules, peer.uid) || is_member(rules, fd, peer.gid))
        return 0;
    return ax_error_format(reason, reason_size, "User %lu may not connect", (unsigned long)peer.uid);
}

/* ---- credentials ---- */

int ax_peer_get(struct ax_peer *peer, int fd, char *error, size_t error_size)
{
    gid_t few[FIRST_GROUPS];
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    gid_t *groups;

    *peer = (struct ax_peer){0};
    if (!is_unix(fd) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0 ||
        credentials.uid == (uid_t)-1 || credentials.gid == (gid_t)-1)
        return ax_error_format(error, error_size, "The peer's user is unknown");
    if (get_groups(fd, few, &groups, &peer->group_count) < 0) {
        ax_error_format(error, error_size, "The peer's groups are unknown: %s", strerror(errno));
        if (groups != few)
            free(groups);
        return -1;
    }
    peer->uid = credentials.uid;
    peer->gid = credentials.gid;
    peer->groups = groups;
    if (groups == few) {
        peer->groups = malloc((peer->group_count + 1) * sizeof few[0]);
        if (peer->groups == NULL)
            return ax_error_format(error, error_size, "out of memory");
        memcpy(peer->groups, few, peer->group_count * sizeof few[0]);
    }
    return 0;
}

void ax_peer_fini(struct ax_peer *peer)
{
    free(peer->groups);
    *peer = (struct ax_peer){0};
}

/* ---- describing ---- */

/* The path that an accepted socket is bound to, with its colon, or "" when it has no name. */
static void get_path(int fd, char *text, size_t size)
{
    struct ax_sockaddr own = {.size = sizeof own.of};
    size_t length;

    text[0] = '\0';
    if (getsockname(fd, &own.of.any, &own.size) < 0 || own.of.any.sa_family != AF_UNIX)
        return;
    length = own.size - offsetof(struct sockaddr_un, sun_path);
    if (length == 0 || own.size < offsetof(struct sockaddr_un, sun_path))
        return;
    if (own.of.un.sun_path[0] == '\0') /* abstract; its name may hold any byte */
        snprintf(text, size, ":@%.*s", (int)(length - 1), own.of.un.sun_path + 1);
    else
        snprintf(text, size, ":%.*s", (int)length, own.of.un.sun_path);
}

static void describe_unix(int fd, char *text, size_t size)
{
    char path[AX_HOST_SIZE];
    char process[32] = "";
    char who[80] = " of an unknown user";
    struct ucred peer;
    socklen_t length = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
        if (peer.pid > 0)
            snprintf(process, sizeof process, " pid %ld", (long)peer.pid);
        snprintf(who, sizeof who, "%s uid %lu", process, (unsigned long)peer.uid);
    }
    get_path(fd, path, sizeof path);
    if (strlen("unix") + strlen(path) + strlen(who) >= size)
        path[0] = '\0';
    snprintf(text, size, "unix%s%s", path, who);
}

void ax_peer_describe(int fd, const char *scheme, char *text, size_t size)
{
    struct ax_sockaddr peer = {.size = sizeof peer.of};
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (is_unix(fd))
        describe_unix(fd, text, size);
    else if (getpeername(fd, &peer.of.any, &peer.size) < 0)
        snprintf(text, size, "a peer that is gone");
    else if (getnameinfo(&peer.of.any, peer.size, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, size, "an unknown address");
    else
        snprintf(text, size, strchr(host, ':') != NULL ? "%s:[%s]:%s" : "%s:%s:%s", scheme, host, port);
}
