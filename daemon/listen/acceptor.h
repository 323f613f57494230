/* SPDX-License-Identifier: MIT */
/*
 * Accepts connections on listening sockets, as long as the process has room for them.
 *
 * When descriptors or memory run out, or its owner says so, it stops to look at its sockets: peers then wait in the
 * kernel's queue, and nothing spins. It looks again when told to, and by itself a moment after a shortage.
 * Used in the loop's thread.
 */
#ifndef AX_DAEMON_LISTEN_ACCEPTOR_H
#define AX_DAEMON_LISTEN_ACCEPTOR_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "daemon/listen/listener.h"

#define AX_ACCEPTOR_BATCH 64     /* connections of one socket per wake-up, so that other work gets its turn */
#define AX_ACCEPTOR_RETRY_MS 100 /* after a shortage: short for people, long for a processor */

/* A new connection of this listener: `fd` is the callee's, close-on-exec and non-blocking. */
typedef void ax_acceptor_fn(void *arg, const struct ax_listener *listener, int fd);

struct ax_acceptor {
    uv_loop_t *loop;               /* borrowed */
    struct ax_listener *listeners; /* owned array, set by the owner of the acceptor before it starts */
    uv_poll_t *polls;              /* owned array, one for each listener */
    size_t count;
    uv_timer_t retry;
    bool paused;     /* no socket is looked at */
    bool is_short;   /* ... for lack of descriptors or memory; implies paused */
    bool complained; /* about the present shortage */
    ax_acceptor_fn *accepted;
    void *arg;
};

/*
 * Takes the listeners (an array from malloc) over, also on failure, but does not look at them yet. 0, or a negative
 * errno, after which the loop holds some of its handles and is of no use any more.
 */
int ax_acceptor_init(struct ax_acceptor *acceptor, uv_loop_t *loop, struct ax_listener *listeners, size_t count,
                     ax_acceptor_fn *accepted, void *arg);

/* Looks at the sockets from now on, or not. Both are harmless when nothing changes. */
void ax_acceptor_resume(struct ax_acceptor *acceptor);
void ax_acceptor_pause(struct ax_acceptor *acceptor);

/* A descriptor has become free: a good moment to look again after a shortage. */
void ax_acceptor_relieved(struct ax_acceptor *acceptor);

/* Closes all sockets and handles; the loop has to run until that is done, before _free_memory. */
void ax_acceptor_close(struct ax_acceptor *acceptor);
void ax_acceptor_free_memory(struct ax_acceptor *acceptor);

#endif
