/* SPDX-License-Identifier: MIT */
/*
 * Relays: each copies the bytes of one TLS peer to a socket pair and back, so that the worker which serves the peer
 * gets an ordinary socket, and TLS stays in this process.
 *
 * Backpressure: a relay reads nothing more in a direction until what it has read has been written. It holds at most
 * AX_RELAY_CHUNK bytes for each direction, besides the kernel's buffers. The end of a stream is passed on after its
 * last byte, separately for each direction. When the other end of the socket pair is closed, its remaining output is
 * still sent, as long as the peer reads it.
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

/* Bytes moved in a direction per turn: four records. */
#define AX_RELAY_CHUNK (4 * (size_t)AX_TLS_RECORD_MAX)

/* How long remaining output is kept, without progress, for a peer that does not read it. */
#define AX_RELAY_LINGER_MS 10000u

/* The same during shutdown. */
#define AX_RELAY_HURRY_MS 1000u

struct ax_relay;
struct ax_relays;

/*
 * The peer of the relay with this `id` has hung up, but its last bytes have not been taken yet, so the end cannot be
 * passed on.
 */
typedef void ax_relay_gone_fn(struct ax_relays *relays, uint64_t id);

/* A relay has ended, and its descriptors are closed. */
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
    unsigned char *chunk; /* owned: AX_RELAY_CHUNK bytes in transit */
};

/* 0, or -ENOMEM. */
int ax_relays_init(struct ax_relays *relays, uv_loop_t *loop, ax_relay_gone_fn *gone, ax_relay_ended_fn *ended,
                   void *owner);

/*
 * Starts a relay for a peer whose TLS handshake is done, and takes ownership of its socket and TLS object, also on
 * failure. Returns the other end of the socket pair, close-on-exec and non-blocking, which is the caller's; or a
 * negative errno.
 */
int ax_relay_start(struct ax_relays *relays, int fd, struct ax_tls *tls, uint64_t id);

/* The process is about to end: relays without progress for AX_RELAY_HURRY_MS are closed. */
void ax_relays_hurry(struct ax_relays *relays);

/* After the loop has run to its end. */
void ax_relays_free_memory(struct ax_relays *relays);

#endif
