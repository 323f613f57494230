/* SPDX-License-Identifier: MIT */
/*
 * Messages between the supervisor and the processes that it started, over a pair of unix sockets.
 *
 * The sockets keep the boundaries of messages (SOCK_SEQPACKET), so one message is one system call, and may carry a
 * descriptor. Both ends are the same executable: fields have the machine's own layout. Who may send what:
 *
 *   CONNECTION  supervisor -> worker   serve the descriptor; text: what was read from it already
 *   STOP        supervisor -> worker   end; running calls get `value` milliseconds; text: the reason for peers
 *   READY       worker -> supervisor   connections are welcome
 *   FAILED      worker -> supervisor   the interpreter did not start; standard error has the details
 *   ENDED       worker -> supervisor   `connection` has ended; text: why, empty for an orderly end
 *
 * The end of the stream means that the other process is gone.
 */
#ifndef AX_DAEMON_CONTROL_H
#define AX_DAEMON_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#define AX_CONTROL_TEXT 512 /* bytes of a text: a superblock, or a sentence */

enum ax_control_type {
    AX_CONTROL_CONNECTION = 1,
    AX_CONTROL_STOP,
    AX_CONTROL_READY,
    AX_CONTROL_FAILED,
    AX_CONTROL_ENDED,
};

struct ax_control {
    uint32_t type;                           /* enum ax_control_type */
    uint32_t value;                          /* STOP */
    uint64_t connection;                     /* CONNECTION, ENDED: the supervisor's number of it */
    uint32_t size;                           /* of text, <= AX_CONTROL_TEXT */
    unsigned char text[AX_CONTROL_TEXT + 1]; /* what was received ends in a NUL beyond `size` */
};

/* A connected pair, close-on-exec, blocking. 0, or a negative errno. */
int ax_control_pair(int fds[2]);

/* Sets the text, cut to AX_CONTROL_TEXT bytes. */
void ax_control_set_text(struct ax_control *message, const void *text, size_t size);

/*
 * Sends a message, and a duplicate of fd with it unless fd is -1: the caller keeps its own. Never blocks: -EAGAIN
 * when the other side has too much to read already. 0, or a negative errno; -EPIPE when the other side is gone.
 */
int ax_control_send(int control_fd, const struct ax_control *message, int fd);

/*
 * Receives a message. *fd is what came with it (close-on-exec, now the caller's), or -1. Blocks if the socket does.
 * 1: a message; 0: the other side is gone; or a negative errno: -EAGAIN, or -EPROTO for what is no message.
 */
int ax_control_receive(int control_fd, struct ax_control *message, int *fd);

#endif
