/* SPDX-License-Identifier: MIT */
/*
 * Relays: each carries the bytes of one TLS peer to a socket pair and back, so that whoever serves the peer has an
 * ordinary socket, and TLS stays here.
 *
 * A side that does not take what it is sent makes the other one wait: a relay reads nothing more in that direction
 * until what it has is gone. It holds at most AX_RELAY_CHUNK bytes in each, besides what the kernel's buffers hold. The
 * end of a stream is passed on behind its last byte, in each direction by itself. When the socket pair's other end is
 * closed, the rest of what it said is still sent, as long as the peer takes it.
 *
 * Used in the loop's thread.
 */
#ifndef AX_DAEMON_ADMISSION_RELAY_H
#define AX_DAEMON_ADMISSION_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/admission/tls.h"

/* Bytes moved in a direction at a time: four records. Others get their turn afterwards. */
#define AX_RELAY_CHUNK (4 * (size_t)AX_TLS_RECORD_MAX)

/* What the socket pair's other end said last is not held back for longer by a peer that takes none of it. */
#define AX_RELAY_LINGER_MS 10000u

/* The same when the process is about to end. */
#define AX_RELAY_HURRY_MS 1000u

struct ax_relay;
struct ax_relays;

/* The peer of a relay with this `id` has hung up, and that cannot be passed on yet, for bytes that nobody takes. */
typedef void ax_relay_gone_fn(struct ax_relays *relays, uint64_t id);

/* A relay has ended, and its descriptors are free. */
typedef void ax_relay_ended_fn(struct ax_relays *relays);

/* All relays of a process. */
struct ax_relays {
    uv_loop_t *loop; /* borrowed */
    ax_relay_gone_fn *gone;
    ax_relay_ended_fn *ended;
    void *owner;
    struct ax_relay *first;
    size_t count; /* the length of the list */
    bool hurries;
    unsigned char *chunk; /* owned: AX_RELAY_CHUNK bytes on their way */
};

/* 0, or -ENOMEM. */
int ax_relays_init(struct ax_relays *relays, uv_loop_t *loop, ax_relay_gone_fn *gone, ax_relay_ended_fn *ended,
                   void *owner);

/*
 * Starts a relay for a peer whose TLS handshake is done, and takes its socket and its TLS over, also on failure. Returns
 * the other end of the socket pair, close-on-exec and non-blocking, which is the caller's; or a negative errno.
 */
int ax_relay_start(struct ax_relays *relays, int fd, struct ax_tls *tls, uint64_t id);

/* The process is about to end: relays without progress for AX_RELAY_HURRY_MS end. */
void ax_relays_hurry(struct ax_relays *relays);

/* After the loop has run to its end. */
void ax_relays_free_memory(struct ax_relays *relays);

#endif
