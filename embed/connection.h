/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection: made, started, closed or broken, and finished.
 *
 * One implementation for both ends. Knows no Python: what a request means is up to the ax_connection_ops above it.
 * connection_state.h tells what parts a connection has, and its lock.
 *
 * Threads. The loop reads, and acts on time. Any other thread may call, answer, close or cancel: it queues the bytes
 * and writes them at once, as far as the stream takes them; the loop writes the rest.
 *
 * Forks. In a process that was forked from the connection's (fork.h) all functions are harmless: it has ended there,
 * calls of it fail, and what is given to it is freed or stays.
 *
 * Life. Reference-counted: the creator has one, the engine has one from start to finish, and whoever else keeps a
 * pointer.
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
 * Begins the handshake over these descriptors, of which it takes ownership, also on failure. `received` are bytes that
 * were read from them already. Once. 0 or a negative errno (-EPERM: a regular file can't be waited for), and then the
 * connection is as before. After ax_connection_fail() or _cancel() it closes the descriptors and returns 0.
 */
int ax_connection_start(struct ax_connection *connection, int in_fd, int out_fd, const void *received, size_t size);

/* Says GOODBYE when the handshake is done, else ends at once; with a reason for peers that understand one, or NULL. */
void ax_connection_close(struct ax_connection *connection, const char *reason);

/*
 * Ends now, whatever state it is in: nothing more is read, what waits to be sent is dropped. Never blocks. When both
 * sides have said GOODBYE already, the connection still counts as closed in an orderly way.
 */
void ax_connection_cancel(struct ax_connection *connection);

/*
 * The same, because of something that happened outside: `reason` is for the error text, io_error an errno or 0. Returns
 * whether that is now the reason of the end: not when it had ended already, or when both sides had said GOODBYE.
 */
bool ax_connection_fail(struct ax_connection *connection, int io_error, const char *reason);

/*
 * Something happened outside that is about to end the stream, and whoever carries its bytes has passed on all that came
 * before. The connection reads those first. Then the end of the stream is a failure for this reason, unless both sides
 * have said GOODBYE by then. The first reason stays. AX_ENOMEM: nothing was noted.
 */
int ax_connection_fail_at_end(struct ax_connection *connection, const char *reason);

/* The connection of a member of the engine. */
struct ax_connection *ax_connection_of(struct ax_member *member);

#endif
