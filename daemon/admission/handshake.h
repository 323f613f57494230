/* SPDX-License-Identifier: MIT */
/*
 * The part of a handshake that needs no Python: TLS, where the listener uses it; proof of the shared secret, where it
 * is required; and reading the superblock. Peers that no worker could serve are refused.
 *
 * All handshakes of a process share one time limit, one limit of their number, and one timer. A peer that is silent, or
 * sends a byte a minute, costs a descriptor and some hundred bytes until it times out; over TLS, in addition, what it
 * has sent of its first record (first_record.h). A new handshake is always
 * accepted; when there are too many, of one source or in total, another one is evicted. A client that opens many
 * connections therefore displaces idle handshakes, not those that make progress:
 *
 * - Half of the limit is divided evenly among the listening sockets (lanes) and reserved for them: a lane within its
 *   reservation loses no handshake to other lanes. The rest is shared.
 * - Over the total limit: the lane that exceeds its reservation most loses one. Of the oldest few at its lowest stage,
 *   the one whose source has the most handshakes is evicted.
 * - Over the limit of a source: the oldest one at the lowest stage is evicted.
 * - A stage with at most an eighth of the handshakes in question loses none to higher stages: new connections get time
 *   to send something, even if all others have sent half a message.
 * - A candidate that has sent data meanwhile is processed first, and stays if that advances it.
 *
 * Used in the loop's thread. The callbacks may be called before ax_handshakes_add() returns, and must not add
 * handshakes.
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

/*
 * A peer may be served, or requests the status (status_request.h): `fd` is the callee's now, and `received` was read
 * from it.
 */
typedef void ax_handshake_done_fn(struct ax_handshakes *set, void *arg, int fd, const unsigned char *received,
                                  size_t size);

/*
 * A peer was refused for this reason; NULL if it closed the connection without sending anything. Its descriptor is
 * closed.
 */
typedef void ax_handshake_failed_fn(struct ax_handshakes *set, void *arg, const char *reason);

/*
 * Creates the server's side of TLS on a socket from which these first bytes were read, possibly none. They are copied.
 * NULL: out of memory.
 */
typedef struct ax_tls *ax_handshake_tls_fn(struct ax_handshakes *set, void *arg, int fd, const void *first,
                                           size_t first_size);

/*
 * A peer's TLS handshake is done. Takes ownership of the socket and the TLS object, also on failure. Returns the
 * descriptor to read the superblock from instead, owned by the handshake from then on; or a negative errno.
 */
typedef int ax_handshake_secured_fn(struct ax_handshakes *set, void *arg, int fd, struct ax_tls *tls);

/* The handshakes of one listening socket by stage, oldest first. */
struct ax_handshake_lane {
    size_t count;
    size_t counts[AX_HANDSHAKE_STAGES];
    struct ax_handshake *first[AX_HANDSHAKE_STAGES];
    struct ax_handshake *last[AX_HANDSHAKE_STAGES];
};

struct ax_handshakes {
    uv_loop_t *loop;                 /* borrowed */
    uint32_t timeout_ms;             /* 0: none */
    size_t limit;                    /* in total: >= 1 */
    size_t source_limit;             /* per source: >= 1 */
    struct ax_handshake_lane *lanes; /* owned */
    size_t lane_count;
    size_t lane_share;              /* places reserved for each lane */
    const struct ax_secret *secret; /* borrowed; set and replaced by the owner; NULL: no proof can succeed */
    size_t count;                   /* <= limit, and the length of the list */
    struct ax_handshake *first;     /* the oldest, which times out first */
    struct ax_handshake *last;
    uv_timer_t timer;              /* runs for `first`; never keeps the loop alive */
    ax_handshake_tls_fn *make_tls; /* set by the owner if there is TLS, like the next one */
    ax_handshake_secured_fn *secured;
    ax_handshake_done_fn *done;
    ax_handshake_failed_fn *failed;
    void *data; /* the owner's */
};

/* Upper limits, each at least 1. */
struct ax_handshake_limits {
    size_t all;
    size_t of_source;
    size_t lanes; /* listening sockets */
};

/* timeout_ms 0: none. 0, or a negative errno. */
int ax_handshakes_init(struct ax_handshakes *handshakes, uv_loop_t *loop, uint32_t timeout_ms,
                       struct ax_handshake_limits limits, ax_handshake_done_fn *done, ax_handshake_failed_fn *failed);

/* Changes the timeout, also of handshakes that have begun: none has more time left than a new one. */
void ax_handshakes_set_timeout(struct ax_handshakes *handshakes, uint32_t timeout_ms);

/*
 * Takes ownership of an accepted, non-blocking socket. Ends in exactly one of `done` and `failed` with `arg`; may call
 * set->make_tls and set->secured before. `needs_tls`: the peer has to speak TLS; the TLS object is created when the
 * first record is complete, since it takes much memory. `needs_proof`: the peer has to prove first that it knows the
 * secret. `source` is borrowed until the end.
 */
void ax_handshakes_add(struct ax_handshakes *handshakes, struct ax_origin *source, int fd, bool needs_tls,
                       bool needs_proof, void *arg);

/* Fails all of them with this reason. */
void ax_handshakes_fail_all(struct ax_handshakes *handshakes, const char *reason);

/* Frees the memory and closes the timer: the loop has to run until that is done. No handshakes may be left. */
void ax_handshakes_fini(struct ax_handshakes *handshakes);

/*
 * Whether a worker can serve a peer whose superblock begins with these `size` bytes. 0, or -1 with the reason. Bytes
 * that have not arrived yet are no reason to refuse.
 */
int ax_handshake_check(const unsigned char *received, size_t size, char *reason, size_t reason_size);

#endif
