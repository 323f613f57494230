/* SPDX-License-Identifier: MIT */
/*
 * The start of handshakes, before any Python: that of TLS, where the peer came over it; peers prove that they know the
 * secret, where that is asked of them; and their superblocks are read. Those that no worker could serve are refused.
 *
 * All handshakes of a process share one time limit, one bound on their number, and one timer. Peers that say nothing,
 * or a byte a minute, cost a descriptor and some hundred bytes each until their time is up. When there are too many, of
 * one source or of all, one has to go to make room for the next, which is always taken: whoever makes many connections
 * displaces those that have done least, not those that speak.
 *
 * - Half of the places are divided among the listening sockets (lanes). They are a lane's own: a lane that holds no more
 *   than its own loses none to others. The rest is for whoever needs it.
 * - Of all: one of the lane that has most beyond its own. There, of those at the lowest stage, the oldest few are looked
 *   at, and one goes whose source has most handshakes.
 * - Of a source: the oldest one at the lowest stage.
 * - A stage that has no more than an eighth of those in question loses none to higher ones: who has just come gets the time
 *   to speak, even if all others have sent half a message.
 * - One that has spoken meanwhile gets its turn first, and stays if that brought it on.
 *
 * Used in the loop's thread. The callbacks may be called before ax_handshakes_add() returns, and may add no handshake.
 */
#ifndef AX_DAEMON_ADMISSION_HANDSHAKE_H
#define AX_DAEMON_ADMISSION_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/admission/origin.h"
#include "daemon/admission/secret.h"
#include "daemon/admission/tls.h"
#include "protocol/superblock.h"

struct ax_handshakes;

/* A peer may be served, or asks for the status (status_request.h): `fd` is the callee's now, and `received` was read from it. */
typedef void ax_handshake_done_fn(struct ax_handshakes *set, void *arg, int fd, const unsigned char *received,
                                  size_t size);

/* A peer may not, for this reason; NULL when it just left without a word. Its descriptor is closed. */
typedef void ax_handshake_failed_fn(struct ax_handshakes *set, void *arg, const char *reason);

/* The server's side of TLS on a socket, whose peer has said something. NULL: out of memory. */
typedef struct ax_tls *ax_handshake_tls_fn(struct ax_handshakes *set, void *arg, int fd);

/*
 * The TLS handshake of a peer is done. Takes its socket and its TLS over, also on failure. Returns what its superblock is to
 * be read from instead, which then is the handshake's; or a negative errno.
 */
typedef int ax_handshake_secured_fn(struct ax_handshakes *set, void *arg, int fd, struct ax_tls *tls);

/* The handshakes of a listening socket, by stage, the oldest first. */
struct ax_handshake_lane {
    size_t count;
    size_t counts[AX_HANDSHAKE_STAGES];
    struct ax_handshake *first[AX_HANDSHAKE_STAGES];
    struct ax_handshake *last[AX_HANDSHAKE_STAGES];
};

struct ax_handshakes {
    uv_loop_t *loop;                 /* borrowed */
    uint32_t timeout_ms;             /* 0: none */
    size_t limit;                    /* of all: >= 1 */
    size_t source_limit;             /* of each source: >= 1 */
    struct ax_handshake_lane *lanes; /* owned */
    size_t lane_count;
    size_t lane_share;              /* places that are each lane's own */
    const struct ax_secret *secret; /* borrowed, and the owner's to set and replace; NULL: nobody can prove anything */
    size_t count;                   /* <= limit, and the length of the list */
    struct ax_handshake *first;     /* the oldest, whose time is up first */
    struct ax_handshake *last;
    uv_timer_t timer;              /* runs for `first`; never keeps the loop alive */
    ax_handshake_tls_fn *make_tls; /* the owner's to set, where there is TLS; as the next one */
    ax_handshake_secured_fn *secured;
    ax_handshake_done_fn *done;
    ax_handshake_failed_fn *failed;
    void *data; /* the owner's */
};

/* What there may be at a time: at least 1 each. */
struct ax_handshake_limits {
    size_t all;
    size_t of_source;
    size_t lanes; /* listening sockets */
};

/* timeout_ms 0: none. 0, or a negative errno. */
int ax_handshakes_init(struct ax_handshakes *handshakes, uv_loop_t *loop, uint32_t timeout_ms,
                       struct ax_handshake_limits limits, ax_handshake_done_fn *done, ax_handshake_failed_fn *failed);

/* Another limit, from now on. Who has begun has no more time than who begins now. */
void ax_handshakes_set_timeout(struct ax_handshakes *handshakes, uint32_t timeout_ms);

/*
 * Takes over an accepted, non-blocking socket. Ends in exactly one callback with `arg`, besides set->make_tls and
 * set->secured. `needs_tls`: TLS is spoken there; it is made when something comes, for it takes much memory. `needs_proof`: the peer is to prove first that it knows the secret. `source` is borrowed
 * until then.
 */
void ax_handshakes_add(struct ax_handshakes *handshakes, struct ax_origin *source, int fd, bool needs_tls,
                       bool needs_proof, void *arg);

/* Ends all of them for this reason. */
void ax_handshakes_fail_all(struct ax_handshakes *handshakes, const char *reason);

/* Frees what it has, and closes the timer: the loop has to run until that is done. There must be no handshakes left. */
void ax_handshakes_fini(struct ax_handshakes *handshakes);

/*
 * Whether a worker can serve a peer that starts like this: `size` bytes of a superblock, up to all. 0, or -1 with the
 * reason. What is not known yet is not refused.
 */
int ax_handshake_check(const unsigned char *received, size_t size, char *reason, size_t reason_size);

#endif
