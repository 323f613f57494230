/* SPDX-License-Identifier: MIT */
/*
 * Messages between the supervisor and the processes that belong to it, over pairs of unix sockets.
 *
 * The sockets keep the boundaries of messages (SOCK_SEQPACKET), so one message is one system call, and may carry
 * descriptors. Both ends are the same executable: fields have the machine's own layout. The zygote has one socket; each
 * worker has one, which it shares with its keeper. Who may send what:
 *
 *   READY       zygote -> supervisor   the interpreter has started, workers may be forked
 *   FAILED      zygote -> supervisor   it has not; standard error has the details
 *   FORK        supervisor -> zygote   fork a worker; descriptors: its control socket, its board
 *               `value`: 1 if a GROUP is in the worker's socket already
 *   PING, PONG  supervisor <-> zygote  are you there?
 *
 *   FAILED      zygote or keeper -> supervisor   the worker could not be forked; text: why
 *   STARTED     keeper -> supervisor   `value` and `connection` are the process ids of the worker and of its keeper;
 *                                      descriptor: the keeper (a pidfd)
 *   GROUP       supervisor -> worker   the first message: the control group to enter; descriptor: its cgroup.procs
 *   READY       worker -> supervisor   connections are welcome
 *   CONNECTION  supervisor -> worker   serve the descriptor, or the two of a pair of pipes; text: what was read from it already; `value`: milliseconds
 *                                      left for the handshake; `slot`: where on the board it is told of
 *   STOP        supervisor -> worker   end; running calls get `value` milliseconds; text: the reason for peers
 *   ENDED       worker -> supervisor   `connection` has ended; text: why, empty for an orderly end
 *   DYING       worker -> supervisor   it ends itself; text: why
 *   DIED        keeper -> supervisor   the worker is gone; `value` is its status, as waitpid() gives it
 *
 * The end of the stream means that the other process is gone. For a worker's socket, which user code can close, keep open or write
 * anything to, it is the end of its keeper that counts (child.h).
 */
#ifndef AX_DAEMON_PROCESS_CONTROL_H
#define AX_DAEMON_PROCESS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AX_CONTROL_TEXT 512 /* bytes of a text: a superblock, or a sentence */

#define AX_CONTROL_BATCH 64 /* messages: more than a socket's buffer holds */

#define AX_CONTROL_FDS 2 /* descriptors that a message can carry */

enum ax_control_type {
    AX_CONTROL_CONNECTION = 1,
    AX_CONTROL_STOP,
    AX_CONTROL_FORK,
    AX_CONTROL_PING,
    AX_CONTROL_PONG,
    AX_CONTROL_READY,
    AX_CONTROL_FAILED,
    AX_CONTROL_STARTED,
    AX_CONTROL_ENDED,
    AX_CONTROL_DYING,
    AX_CONTROL_DIED,
    AX_CONTROL_GROUP,
};

struct ax_control {
    uint32_t type;                           /* enum ax_control_type */
    uint32_t value;                          /* see above */
    uint64_t connection;                     /* CONNECTION, ENDED: the supervisor's number of it */
    uint32_t slot;                           /* CONNECTION */
    uint32_t size;                           /* of text, <= AX_CONTROL_TEXT */
    unsigned char text[AX_CONTROL_TEXT + 1]; /* what was received ends in a NUL beyond `size` */
};

/* What came with a message; -1 where there is nothing. The caller's to close. */
struct ax_control_fds {
    int fd[AX_CONTROL_FDS];
};

/* A connected pair, close-on-exec, blocking. 0, or a negative errno. */
int ax_control_pair(int fds[2]);

/* Sets the text, cut to AX_CONTROL_TEXT bytes. */
void ax_control_set_text(struct ax_control *message, const void *text, size_t size);

/* Sets the text from a sentence. */
void ax_control_set_reason(struct ax_control *message, const char *text);

/*
 * Sends a message, and duplicates of these descriptors with it (NULL: none; -1 in it ends the list): the caller keeps its
 * own. Never blocks: -EAGAIN when the other side has too much to read already. 0, or a negative errno; -EPIPE when the
 * other side is gone.
 */
int ax_control_send(int control_fd, const struct ax_control *message, const struct ax_control_fds *fds);

/* Sends FAILED with the text of this errno: a worker could not be started. Does not wait, and ignores errors. */
void ax_control_report_failure(int control_fd, int error);

/* Whether what ax_control_send() returned says that it may work later: the other side has much to read, or memory is short. */
bool ax_control_is_full(int code);

/*
 * Receives a message, and what came with it (close-on-exec). Blocks if the socket does. 1: a message; 0: the other side
 * is gone; or a negative errno: -EAGAIN, or -EPROTO for what is no message.
 */
int ax_control_receive(int control_fd, struct ax_control *message, struct ax_control_fds *fds);

void ax_control_close(struct ax_control_fds *fds);

/* Acts on a message. What it leaves in *fds is closed. */
typedef void ax_control_fn(void *arg, const struct ax_control *message, struct ax_control_fds *fds);

/*
 * Takes the messages that are there, from a non-blocking socket; a wake-up later the rest of more than AX_CONTROL_BATCH,
 * so that somebody who sends without end does not hold up others. Returns whether more can come.
 */
bool ax_control_take_all(int control_fd, ax_control_fn *take, void *arg);

#endif
