/* SPDX-License-Identifier: MIT */
/*
 * Statistics of an engine: counts, and the state of each stream.
 *
 * Written by the engine, readable by anyone. They may lie in memory shared with another process, which can then report
 * on a process whose threads are all blocked, or that has died. So there are no pointers and no locks.
 */
#ifndef AX_EMBED_CALL_STATS_H
#define AX_EMBED_CALL_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct ax_call_stats {
    _Atomic uint32_t connections;   /* currently open */
    _Atomic uint32_t calls_running; /* calls of peers that are running */
    _Atomic uint64_t calls_done;    /* calls answered since the start */
};

/*
 * What another process may still send on a stream whose process has died. BUSY: a message may have been written in
 * part, and more bytes would be taken for the rest of it.
 */
enum ax_wire {
    AX_WIRE_BUSY,      /* nothing may be sent; also before the handshake is complete */
    AX_WIRE_EXPLAINED, /* a GOODBYE with a reason may be sent: all messages are complete, and the peer supports it */
    AX_WIRE_UNTOUCHED, /* set before the engine gets the stream: nothing has been read or written yet */
    AX_WIRE_CLOSED,    /* nothing is left to send: both sides have sent GOODBYE */
};

typedef _Atomic uint32_t ax_wire_state; /* enum ax_wire */

#endif
