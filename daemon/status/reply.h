/* SPDX-License-Identifier: MIT */
/*
 * Sends a text to a peer as fast as it reads, and closes the connection. Used in the loop's thread.
 */
#ifndef AX_DAEMON_STATUS_REPLY_H
#define AX_DAEMON_STATUS_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

/* Replies in progress. They do not keep the loop alive for longer than AX_REPLY_MS. */
struct ax_replies {
    uv_loop_t *loop; /* borrowed */
    size_t count;    /* <= AX_REPLIES_MAX */
    struct ax_reply *first;
};

#define AX_REPLIES_MAX 16u /* each may hold megabytes; beyond that the oldest is dropped */
#define AX_REPLY_MS 10000u /* time limit for a peer that does not read */

/*
 * Takes ownership of the descriptor and the text, which came from malloc(). What the socket buffer takes at once does
 * not count as a reply in progress, so that peers that do not read cannot displace those that do.
 */
void ax_reply_send(struct ax_replies *replies, int fd, char *text, size_t size);

/* Drops all. */
void ax_replies_end(struct ax_replies *replies);

#endif
