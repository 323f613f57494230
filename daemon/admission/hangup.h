/* SPDX-License-Identifier: MIT */
/*
 * Notices peers that hang up while their connections wait for something else than their bytes.
 *
 * A peer has hung up if its socket can neither be read from nor written to any more, or if it has ended its side and all
 * that it said has been read. One that has ended its side after it has said more is still to be answered, on a unix socket:
 * over TCP that is what a peer looks like that has closed its socket. Used in the loop's thread, for sockets that nobody
 * reads meanwhile.
 */
#ifndef AX_DAEMON_ADMISSION_HANGUP_H
#define AX_DAEMON_ADMISSION_HANGUP_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#define AX_HANGUPS_BATCH 64 /* events per wake-up, so that other work gets its turn */

/* The peer of the connection with this number has hung up. */
typedef void ax_hangup_fn(void *owner, uint64_t id);

struct ax_hangups {
    int fd; /* owned: an epoll of its own, so that others may poll the same sockets */
    uv_poll_t poll;
    ax_hangup_fn *hung_up;
    void *owner;
};

/* 0, or a negative errno, and nothing to close. Does not keep the loop alive. */
int ax_hangups_init(struct ax_hangups *hangups, uv_loop_t *loop, ax_hangup_fn *hung_up, void *owner);

/*
 * Watches a socket until it is removed, or closed by all who have it. `hung_up` is called at most once for it, and never
 * from in here. A socket that cannot be watched, for lack of memory, is not: ax_hangup_has() still tells.
 */
void ax_hangups_add(struct ax_hangups *hangups, int fd, uint64_t id);
void ax_hangups_remove(struct ax_hangups *hangups, int fd);

/* The loop has to run until the handle is closed. */
void ax_hangups_close(struct ax_hangups *hangups);

/* Whether the peer of this socket has hung up already. */
bool ax_hangup_has(int fd);

#endif
