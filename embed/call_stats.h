/* SPDX-License-Identifier: MIT */
/*
 * What a process with an engine tells about itself without being asked: counts, and the state of each stream.
 *
 * The engine writes, anybody reads. It all may lie in memory that is shared with another process, which then can tell
 * what goes on while every thread here is stuck, and after this process is gone. So there are no pointers and no locks.
 */
#ifndef AX_EMBED_CALL_STATS_H
#define AX_EMBED_CALL_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct ax_call_stats {
    _Atomic uint32_t connections;   /* open now */
    _Atomic uint32_t calls_running; /* being run for peers, now */
    _Atomic uint64_t calls_done;    /* answered since the start */
};

/*
 * What may still be said to a peer whose process has gone in the middle of things. A stream is BUSY as long as a
 * message may be on it in part: more bytes would be taken for the rest of it.
 */
enum ax_wire {
    AX_WIRE_BUSY,      /* nothing may be sent; also before the handshake is done */
    AX_WIRE_EXPLAINED, /* a GOODBYE with a reason may be sent: all messages are whole, and the peer understands one */
    AX_WIRE_UNTOUCHED, /* set before the engine gets the stream: as long as it is, nothing was read or written */
    AX_WIRE_CLOSED,    /* nothing more is to be sent: both sides have said goodbye */
};

typedef _Atomic uint32_t ax_wire_state; /* enum ax_wire */

#endif
