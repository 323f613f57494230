/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end of a connection, and whether that user may connect.
 *
 * The kernel notes the credentials of a unix socket's peer when it calls connect(): they are those of that process
 * then, whatever becomes of it, and stay the same when it hands the socket to another process or is forked. Who may
 * connect can therefore let anybody else speak in his name. A user of another user namespace who is unknown here has
 * the system's overflow number, mostly 65534, which is also nobody's. A TCP peer has no user.
 *
 * The supervisor's one thread uses all of this. Only ax_peer_rules_init() may wait, for the name service: it is called
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
 * Who may connect: everybody when both lists are empty, but for abstract unix sockets, which no permissions guard: there it
 * is the own user, and root. Owns the lists; all zero is a valid set of rules.
 */
struct ax_peer_rules {
    uid_t *uids;
    size_t uid_count;
    gid_t *gids;
    size_t gid_count;
};

/* Looks the users and groups up, each a name or a number. 0, or -1 with a sentence, and nothing to release. */
int ax_peer_rules_init(struct ax_peer_rules *rules, const struct ax_string_list *users,
                       const struct ax_string_list *groups, char *error, size_t error_size);
void ax_peer_rules_fini(struct ax_peer_rules *rules);

/*
 * Whether the peer of an accepted socket may connect: its user is listed, or one of all its groups is. Root has to be
 * listed as well. 0, or -1 with the reason, for the peer and for the log: `User 1001 may not connect`.
 */
int ax_peer_check(const struct ax_peer_rules *rules, int fd, char *reason, size_t reason_size);

/* Whether not everybody may connect. */
bool ax_peer_rules_are_set(const struct ax_peer_rules *rules);

/* A process of a user, as the kernel noted it. Owns its groups. */
struct ax_peer {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* its further ones */
    size_t group_count;
};

/* Who the peer of an accepted unix socket was. 0 and the result is for ax_peer_fini(), or -1 with a sentence. */
int ax_peer_get(struct ax_peer *peer, int fd, char *error, size_t error_size);
void ax_peer_fini(struct ax_peer *peer);

/*
 * Describes the peer of an accepted socket for the log: `unix:/run/x.sock pid 123 uid 1000`, the path being the one
 * that it connected to, `tcp:127.0.0.1:4242` or `tcp:[::1]:4242`, with that `scheme`. A process of another pid namespace has no pid here.
 * With less room than AX_PEER_TEXT the path goes first.
 */
void ax_peer_describe(int fd, const char *scheme, char *text, size_t size);

#endif
