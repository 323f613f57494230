/* SPDX-License-Identifier: MIT */
/*
 * Accepts connections on listening sockets, as long as the process has capacity for them.
 *
 * When descriptors or memory run out, or when its owner says so, it stops polling its sockets: peers then wait in the
 * kernel's backlog, and nothing spins. It resumes when told to, and by itself shortly after a shortage. Used in the
 * loop's thread.
 */
#ifndef AX_DAEMON_LISTEN_ACCEPTOR_H
#define AX_DAEMON_LISTEN_ACCEPTOR_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "daemon/listen/listener.h"

#define AX_ACCEPTOR_BATCH 64     /* connections per socket and wake-up, so that other handlers get their turn */
#define AX_ACCEPTOR_RETRY_MS 100 /* after a shortage: not noticeable for people, but little load */

/* A new connection on this listener: `fd` is the callee's, close-on-exec and non-blocking. */
typedef void ax_acceptor_fn(void *arg, const struct ax_listener *listener, int fd);

struct ax_acceptor {
    uv_loop_t *loop;               /* borrowed */
    struct ax_listener *listeners; /* owned array, set before it starts */
    uv_poll_t *polls;              /* owned array, one per listener */
    size_t count;
    uv_timer_t retry;
    bool paused;     /* no socket is polled */
    bool is_short;   /* ... because of a lack of descriptors or memory; implies paused */
    bool complained; /* the current shortage has been logged */
    ax_acceptor_fn *accepted;
    void *arg;
};

/*
 * Takes ownership of the listeners (an array from malloc), also on failure, but does not poll them yet. 0, or a
 * negative errno, after which the loop holds some of its handles and has to be discarded.
 */
int ax_acceptor_init(struct ax_acceptor *acceptor, uv_loop_t *loop, struct ax_listener *listeners, size_t count,
                     ax_acceptor_fn *accepted, void *arg);

/* Starts or stops polling the sockets. Both are idempotent. */
void ax_acceptor_resume(struct ax_acceptor *acceptor);
void ax_acceptor_pause(struct ax_acceptor *acceptor);

/* A descriptor has become free: tries again after a shortage. */
void ax_acceptor_relieved(struct ax_acceptor *acceptor);

/* Closes all sockets and handles; the loop has to run until that is done, before _free_memory. */
void ax_acceptor_close(struct ax_acceptor *acceptor);
void ax_acceptor_free_memory(struct ax_acceptor *acceptor);

#endif
