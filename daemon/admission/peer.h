/* SPDX-License-Identifier: MIT */
/*
 * The user at the other end of a connection, and whether that user may connect.
 *
 * The kernel records the credentials of a unix socket's peer when it calls connect(). They are those of the process at
 * that time, and stay the same if it passes the socket to another process or forks. A user who may connect can
 * therefore let others use the connection. Users of another user namespace without a mapping here appear as the
 * system's overflow id, usually 65534, which is also nobody's. A TCP peer has no user.
 *
 * Used by the supervisor in its only thread. Only ax_peer_rules_init() may block, on the name service: it is called
 * before the loop runs.
 */
#ifndef AX_DAEMON_ADMISSION_PEER_H
#define AX_DAEMON_ADMISSION_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ax_string_list;

#define AX_PEER_TEXT                                                                                                   \
    160 /* bytes of a description, with the final NUL: the longest path of a socket, and three numbers */

/*
 * Who may connect: everyone if both lists are empty; for abstract unix sockets, which have no file permissions, only
 * this process's user and root. Owns the lists; all zero is a valid set of rules.
 */
struct ax_peer_rules {
    uid_t *uids;
    size_t uid_count;
    gid_t *gids;
    size_t gid_count;
};

/* Looks up the users and groups, each a name or a number. 0, or -1 with an error message and nothing to release. */
int ax_peer_rules_init(struct ax_peer_rules *rules, const struct ax_string_list *users,
                       const struct ax_string_list *groups, char *error, size_t error_size);
void ax_peer_rules_fini(struct ax_peer_rules *rules);

/*
 * Whether the peer of an accepted socket may connect: its user or one of its groups is listed. Root has to be listed,
 * too. 0, or -1 with the reason, for the peer and for the log: `User 1001 may not connect`.
 */
int ax_peer_check(const struct ax_peer_rules *rules, int fd, char *reason, size_t reason_size);

/* Whether access is restricted. */
bool ax_peer_rules_are_set(const struct ax_peer_rules *rules);

/* The credentials of a process, as the kernel recorded them. Owns its groups. */
struct ax_peer {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* supplementary groups */
    size_t group_count;
};

/*
 * The credentials of the peer of an accepted unix socket. 0 and the caller calls ax_peer_fini(), or -1 with an error
 * message.
 */
int ax_peer_get(struct ax_peer *peer, int fd, char *error, size_t error_size);
void ax_peer_fini(struct ax_peer *peer);

/*
 * Describes the peer of an accepted socket for the log: `unix:/run/x.sock pid 123 uid 1000`, with the path that it
 * connected to, `tcp:127.0.0.1:4242` or `tcp:[::1]:4242`, with that `scheme`. A process of another PID namespace has no
 * pid here. If `size` is below AX_PEER_TEXT, the path is cut first.
 */
void ax_peer_describe(int fd, const char *scheme, char *text, size_t size);

#endif
