/* SPDX-License-Identifier: MIT */
/*
 * Messages between the supervisor and its processes, over pairs of unix sockets.
 *
 * The sockets preserve message boundaries (SOCK_SEQPACKET), so one message is one system call, and may carry
 * descriptors. Both ends run the same executable: fields are in native layout. The zygote has one socket; each worker
 * has one, which it shares with its keeper. The messages:
 *
 *   READY       zygote -> supervisor            the interpreter has started, workers may be forked
 *   FAILED      zygote -> supervisor            it has not; standard error has the details
 *   FORK        supervisor -> zygote            fork a worker; descriptors: its control socket, its shared stats;
 *                                               `value`: 1 if a GROUP is queued in the worker's socket already
 *   PING, PONG  supervisor <-> zygote           liveness check
 *
 *   FAILED      zygote or keeper -> supervisor  the worker could not be forked; text: why
 *   STARTED     keeper -> supervisor            `value` and `connection` are the process ids of the worker and of
 *                                               its keeper; descriptor: a pidfd of the keeper
 *   GROUP       supervisor -> worker            the first message: the control group to enter; descriptor: its
 *                                               cgroup.procs
 *   READY       worker -> supervisor            it takes connections
 *   CONNECTION  supervisor -> worker            serve the descriptor, or the two of a pair of pipes; text: what was
 *                                               read from it already; `value`: milliseconds left for the handshake;
 *                                               `slot`: its entry in the shared stats
 *   STOP        supervisor -> worker            end; running calls get `value` milliseconds; text: the reason for
 *                                               peers
 *   ENDED       worker -> supervisor            `connection` has ended; text: why, empty for an orderly end
 *   DYING       worker -> supervisor            it is about to exit; text: why
 *   DIED        keeper -> supervisor            the worker has exited; `value` is its status as from waitpid()
 *
 * End of stream means that the other process has exited. User code can close a worker's socket, keep it open or write
 * anything to it, so for a worker the exit of its keeper counts (worker_handle.h).
 */
#ifndef AX_DAEMON_PROCESS_CONTROL_H
#define AX_DAEMON_PROCESS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AX_CONTROL_TEXT 512 /* bytes of a text: a superblock, or a message for people */

#define AX_CONTROL_BATCH 64 /* messages per wake-up: more than fit into a socket's buffer */

#define AX_CONTROL_FDS 2 /* descriptors per message */

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
    uint64_t connection;                     /* CONNECTION, ENDED: the supervisor's id of it */
    uint32_t slot;                           /* CONNECTION */
    uint32_t size;                           /* of text, <= AX_CONTROL_TEXT */
    unsigned char text[AX_CONTROL_TEXT + 1]; /* a received text is followed by a NUL */
};

/* The descriptors that came with a message; -1 where there is none. The caller closes them. */
struct ax_control_fds {
    int fd[AX_CONTROL_FDS];
};

/* A connected pair, close-on-exec, blocking. 0, or a negative errno. */
int ax_control_pair(int fds[2]);

/* Sets the text, truncated to AX_CONTROL_TEXT bytes. */
void ax_control_set_text(struct ax_control *message, const void *text, size_t size);

/* Sets the text from a C string, also truncated. */
void ax_control_set_reason(struct ax_control *message, const char *text);

/*
 * Sends a message with duplicates of these descriptors (NULL: none; -1 ends the list): the caller keeps its own. Never
 * blocks: -EAGAIN if the receive queue is full. 0, or a negative errno; -EPIPE if the other side is gone.
 */
int ax_control_send(int control_fd, const struct ax_control *message, const struct ax_control_fds *fds);

/* Sends FAILED with the text of this errno: a worker could not be started. Never blocks; ignores errors. */
void ax_control_report_failure(int control_fd, int error);

/* Whether the result of ax_control_send() is temporary: the queue is full, or memory is short. */
bool ax_control_is_full(int code);

/*
 * Receives a message and its descriptors (close-on-exec). Blocks if the socket does. 1: a message; 0: the other side is
 * gone; or a negative errno: -EAGAIN, or -EPROTO for a malformed message.
 */
int ax_control_receive(int control_fd, struct ax_control *message, struct ax_control_fds *fds);

void ax_control_close(struct ax_control_fds *fds);

/* Handles a message. Descriptors that it leaves in *fds are closed. */
typedef void ax_control_fn(void *arg, const struct ax_control *message, struct ax_control_fds *fds);

/*
 * Handles the available messages of a non-blocking socket, at most AX_CONTROL_BATCH per wake-up, so that a flooding
 * sender cannot starve others. Returns whether more can arrive.
 */
bool ax_control_take_all(int control_fd, ax_control_fn *take, void *arg);

#endif
