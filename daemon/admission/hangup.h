/* SPDX-License-Identifier: MIT */
/*
 * Detects that a peer has hung up while its connection is not being read from.
 *
 * A peer has hung up if its socket can be neither read nor written any more, or if it has shut down its side and
 * everything it sent has been read. A peer that shut down its side after sending more still expects an answer on a unix
 * socket; over TCP a closed socket looks the same. Used in the loop's thread, for sockets that are not being read from
 * meanwhile.
 */
#ifndef AX_DAEMON_ADMISSION_HANGUP_H
#define AX_DAEMON_ADMISSION_HANGUP_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#define AX_HANGUPS_BATCH 64 /* events per wake-up, so that other handlers get their turn */

/* The peer of the connection with this id has hung up. */
typedef void ax_hangup_fn(void *owner, uint64_t id);

struct ax_hangups {
    int fd; /* owned: a separate epoll instance, so that the same sockets can be polled elsewhere */
    uv_poll_t poll;
    ax_hangup_fn *hung_up;
    void *owner;
};

/* 0, or a negative errno with nothing to close. Does not keep the loop alive. */
int ax_hangups_init(struct ax_hangups *hangups, uv_loop_t *loop, ax_hangup_fn *hung_up, void *owner);

/*
 * Watches a socket until it is removed, or all its descriptors are closed. `hung_up` is called at most once for it, and
 * never from within this function. A socket that cannot be watched for lack of memory is skipped: ax_hangup_has() still
 * works for it.
 */
void ax_hangups_add(struct ax_hangups *hangups, int fd, uint64_t id);
void ax_hangups_remove(struct ax_hangups *hangups, int fd);

/* The loop has to run until the handle is closed. */
void ax_hangups_close(struct ax_hangups *hangups);

/* Whether the peer of this socket has hung up. */
bool ax_hangup_has(int fd);

#endif
