/* SPDX-License-Identifier: MIT */
/*
 * The lifecycle of a connection: creation, start, close or failure, finish.
 *
 * One implementation for both ends. Independent of Python: the ax_connection_ops above it define what requests do.
 * connection_state.h describes the parts of a connection, and its lock.
 *
 * Threads. The loop reads, and handles timeouts. Any other thread may call, answer, close or cancel: it queues the
 * bytes and writes them at once, as far as the stream takes them; the loop writes the rest.
 *
 * Forks. In a process that was forked from the connection's (fork.h) all functions are safe: the connection has ended
 * there, calls fail, and arguments that are passed with ownership are freed or leaked.
 *
 * Lifetime. Reference-counted: the creator has a reference, the engine has one from start to finish, and so has whoever
 * else keeps a pointer.
 */
#ifndef AX_EMBED_CONNECTION_H
#define AX_EMBED_CONNECTION_H

#include "embed/connection_state.h"

/*
 * A new connection in STARTING, with one reference; NULL when memory is short, or (errno EINVAL) config is out of
 * range.
 */
struct ax_connection *ax_connection_new(struct ax_engine *engine, const struct ax_connection_ops *ops,
                                        const struct ax_session_config *config, void *above);

/*
 * Begins the handshake over these descriptors, and takes ownership of them, also on failure. `received` are bytes that
 * were already read from them. Once. 0 or a negative errno (-EPERM: regular files cannot be polled), which leaves the
 * connection as it was. After ax_connection_fail() or _cancel() it closes the descriptors and returns 0.
 */
int ax_connection_start(struct ax_connection *connection, int in_fd, int out_fd, const void *received, size_t size);

/* Sends GOODBYE if the handshake is complete, else ends at once. `reason`, for peers that support one, may be NULL. */
void ax_connection_close(struct ax_connection *connection, const char *reason);

/*
 * Ends the connection at once, in any state: nothing more is read, and unsent output is dropped. Never blocks. When
 * both sides have already sent GOODBYE, the connection still counts as closed in an orderly way.
 */
void ax_connection_cancel(struct ax_connection *connection);

/*
 * The same, due to an external event: `reason` is for the error message, io_error an errno or 0. Returns whether this
 * is now the reason of the end: not when the connection had already ended, or both sides had sent GOODBYE.
 */
bool ax_connection_fail(struct ax_connection *connection, int io_error, const char *reason);

/*
 * Announces that the stream is about to end for this external reason; all bytes before its end have been passed on. The
 * connection reads those first. The end of the stream is then a failure with this reason, unless both sides have sent
 * GOODBYE by then. The first reason is kept. AX_ENOMEM: nothing was changed.
 */
int ax_connection_fail_at_end(struct ax_connection *connection, const char *reason);

/* The connection of a member of the engine. */
struct ax_connection *ax_connection_of(struct ax_member *member);

#endif
