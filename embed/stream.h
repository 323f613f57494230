/* SPDX-License-Identifier: MIT */
/*
 * The byte stream of a connection: one socket, or a pair of pipes. Non-blocking reads and writes, nothing else.
 *
 * Not thread-safe; the connection's lock guards it. The functions are thin wrappers of the system calls, and return a
 * negative errno on failure.
 */
#ifndef AX_EMBED_STREAM_H
#define AX_EMBED_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "protocol/output.h"

/*
 * Kernel buffer size requested for large messages: with the defaults, sender and receiver would wait for each other
 * every 200 KiB, on pipes every 64 KiB. Not for TCP, which sizes its buffers itself. An administrator's limit may be
 * lower.
 */
#define AX_STREAM_ROOM (512u * 1024u)
#define AX_STREAM_LARGE (128u * 1024u) /* bytes in one write from which it is requested */

/* Owns its descriptors. in_fd and out_fd are equal for a socket, -1 when closed. */
struct ax_stream {
    int in_fd;
    int out_fd;
    bool is_socket; /* out_fd takes send flags */
    bool is_roomy;  /* the buffer size of out_fd was raised, or cannot be */
};

/* Takes ownership of the descriptors, also on failure, and makes them non-blocking and close-on-exec. */
int ax_stream_init(struct ax_stream *stream, int in_fd, int out_fd);

/* Bytes read, 0 at the end of the stream, -EAGAIN when nothing is readable. */
ssize_t ax_stream_read(struct ax_stream *stream, struct iovec *to, int count);

/*
 * Bytes written, -EAGAIN when the stream is full. The first large message requests AX_STREAM_ROOM. Raises no SIGPIPE on
 * sockets; for pipes the process ignores it.
 */
ssize_t ax_stream_write(struct ax_stream *stream, const struct ax_slice *slices, size_t count);

/*
 * Ends the stream for the peer, even if other processes have copies of the descriptors. Pipes end when the last copy is
 * closed.
 */
void ax_stream_hang_up(struct ax_stream *stream);

/* Closes the descriptors; harmless when they are closed. */
void ax_stream_close(struct ax_stream *stream);

#endif
