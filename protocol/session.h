/* SPDX-License-Identifier: MIT */
/*
 * One end of a connection, as the wire sees it: handshake, messages, limits, liveness and closing.
 *
 * Sans-I/O: received bytes and the present time go in; events, bytes to send and the next deadline come out. The
 * session knows no file descriptor, clock, thread or Python. It is not thread-safe: its owner calls it under one lock.
 * Times are milliseconds on any clock that never goes back, the same one for all calls.
 *
 * A session goes through these states, forward only:
 *
 *   SUPERBLOCK  waits for the peer's superblock (an acceptor has sent nothing; an opener has sent its own)
 *   GREETING    superblocks are exchanged, waits for the peer's GREETING
 *   READY       calls and results flow
 *   CLOSING     we said GOODBYE and wait for the peer's; results that come are dropped
 *   CLOSED      both said GOODBYE: send what is still queued, then close the stream
 *   FAILED      broken, for the reason that ax_session_reason() tells: send what is still queued if you can, then close
 *
 * A session that is CLOSED still FAILS when its owner says so, or when what is queued cannot be sent in time.
 *
 * Receiving, for its owner:
 *
 *   space = ax_session_space(s, &memory)      where a large body wants its bytes; 0: nowhere in particular
 *   ... read into {memory, space} first, then into a scratch buffer of your own, with one readv() ...
 *   ax_session_filled(s, n, now, &event)      n bytes are at `memory`; at most one event
 *   while (size) used = ax_session_feed(s, data, size, now, &event) ...   the rest; at most one event a call
 *
 * Between peers that announce AX_FEATURE_FLOW there are two *lanes*. A message whose buffers are large goes into the
 * second one, which is a stream of frames like the first, but cut into CHUNK messages between which others pass: a
 * small call does not wait for a large one. What must not overtake (DEL_OBJS, GOODBYE) goes the same way while there is
 * something in it. And there is a *window*: large requests that the peer has not begun to read; a call beyond it is
 * held back.
 *
 * Sources: the superblock, frames and messages are those of across 0.1 and 0.2; docs/protocol.md describes them.
 */
#ifndef AX_PROTOCOL_SESSION_H
#define AX_PROTOCOL_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/buffer.h"
#include "protocol/error.h"
#include "protocol/frame.h"
#include "protocol/idmap.h"
#include "protocol/message.h"
#include "protocol/output.h"
#include "protocol/superblock.h"

#define AX_NEVER UINT64_MAX /* a deadline that does not come */

#define AX_TIMEOUT_MIN_MS 1u
#define AX_TIMEOUT_MAX_MS 86400000u                /* one day */
#define AX_REASON_SIZE (AX_GOODBYE_REASON_MAX + 1) /* bytes of the longest reason, with its final NUL */

/* Bodies are received into memory that grows in steps: at first this much at the most, then by doubling. */
#define AX_BODY_FIRST_STEP (64u * 1024u)
/* A body of which at least this much is missing asks for its bytes directly (ax_session_space). */
#define AX_BODY_DIRECT_MIN 4096u
/* A body of at least this size may be given memory of another's making (ax_session_wants_buffer). */
#define AX_RECEIVE_BUFFER_MIN (1024u * 1024u)
/*
 * It is wished for when a 16th of the body has come, or this much: who gives it may give all at once without much
 * trust.
 */
#define AX_RECEIVE_BUFFER_AFTER (4u * 1024u * 1024u)

/* A message of more than this goes into the second lane. */
#define AX_BULK_MIN (128u * 1024u)
/* Bytes of the second lane in one CHUNK: what a small message may have to wait for. */
#define AX_CHUNK_SIZE (256u * 1024u)
/* Requests of at least this size count against the window. Smaller ones are bounded by their number. */
#define AX_COUNTED_MIN (64u * 1024u)
/*
 * A message of at least this size that nobody wants may be kept for its owner to free: that takes the kernel some time.
 */
#define AX_DISCARDED_MIN (64u * 1024u)

enum ax_role { AX_OPENER, AX_ACCEPTOR };

enum ax_session_state {
    AX_STATE_SUPERBLOCK,
    AX_STATE_GREETING,
    AX_STATE_READY,
    AX_STATE_CLOSING,
    AX_STATE_CLOSED,
    AX_STATE_FAILED,
};

/* Bounds of one session. ax_limits_init() sets the defaults, each named with its reason in session.c. */
struct ax_limits {
    uint64_t max_message;   /* bytes of all frames of one incoming message, head included */
    uint32_t max_head;      /* bytes of an incoming head; bounds ids and texts too */
    uint32_t max_frames;    /* frames of one incoming message, head included */
    uint32_t max_ids;       /* ids in one list of an incoming head */
    uint32_t max_calls;     /* incoming calls without a result; more are refused with an operation error */
    uint64_t window;        /* bytes of large requests that a peer may send before they are read; more than
                               max_message above that are refused with an operation error */
    uint64_t max_queued;    /* bytes waiting to be sent before ax_session_call/_result say AX_EFULL */
    uint32_t idle_floor_ms; /* IDLE is never sent more often than this, whatever the peer's timeout */
    uint32_t close_ms;      /* how long CLOSING may last when there is no timeout; else the timeout does */
};

void ax_limits_init(struct ax_limits *limits);

struct ax_session_config {
    enum ax_role role;
    uint8_t minor;                 /* opener: speak 0.`minor`, 1 or 2. Acceptor: ignored, it answers in kind */
    uint32_t timeout_ms;           /* ours: announced in GREETING, applied to receiving and sending. 0: none */
    uint32_t handshake_timeout_ms; /* from init to READY as a whole. 0: none */
    uint32_t features;             /* AX_FEATURE_… bits to announce */
    const char *bootstrap;         /* source for a bare Python, ends in a newline; NULL refuses to bootstrap. Borrowed
                                      for the life of the session */
    uint32_t max_preamble; /* bytes that may come before the peer's superblock, and are kept: what a shell prints
                                      before the program starts that is spoken with. 0: none */
    bool refuse_requests;  /* whatever the peer asks to be run here is answered with an operation error, and is
                                      no event; its releases count, and so do answers to what we ask */
    bool keeps_discarded;  /* messages that nobody wants are kept for ax_session_take_discarded(), if they are large */
    struct ax_limits limits;
};

enum ax_event_type {
    AX_EVENT_NONE,    /* nothing to act on yet */
    AX_EVENT_READY,   /* the handshake is done */
    AX_EVENT_CALL,    /* message: a request to run and to answer with ax_session_result() */
    AX_EVENT_RESULT,  /* message: a RESULT; waiter: what ax_session_call() was given, never NULL */
    AX_EVENT_RELEASE, /* message: a DEL_OBJS; its ids are no longer referred to by the peer */
    AX_EVENT_CLOSED,  /* state CLOSED has been reached: by our close, or by the peer's GOODBYE (then its `message` is
                         the GOODBYE, else NULL) */
    AX_EVENT_FAILED,  /* state FAILED has been reached */
};

struct ax_event {
    enum ax_event_type type;
    struct ax_message *message; /* the receiver of the event owns it; NULL where none is named above */
    void *waiter;
};

/* Memory that a body which is being received would rather be in. */
struct ax_buffer_request {
    uint64_t body; /* which one */
    uint64_t size; /* bytes it takes */
    uint64_t kind; /* enum ax_buffer_kind */
};

/* What is being received: a message in parts. */
struct ax_lane {
    struct ax_frame_reader frame;
    struct ax_message *message; /* being assembled; owned */
    uint64_t size;              /* bytes that its frames have announced */
    uint32_t frames;            /* how many frames of it have begun: 0 between messages, 1 in its head */
    uint64_t body;              /* the number of the last of them, among all that have come in this session */
    bool buffer_requested;      /* for that one */
};

struct ax_session {
    struct ax_session_config config;
    enum ax_session_state state;
    int error;                   /* the AX_E… behind FAILED, else 0 */
    char reason[AX_REASON_SIZE]; /* UTF-8 sentence behind FAILED; or the peer's reason behind CLOSED; or "" */
    bool peer_said_goodbye;

    /* What was negotiated; valid from GREETING on. */
    struct ax_version peer_version;
    uint32_t features;        /* announced by both */
    uint32_t peer_timeout_ms; /* 0: none; valid from READY on */

    /* Input */
    unsigned char superblock[AX_SUPERBLOCK_SIZE];
    unsigned superblock_size;
    struct ax_buffer preamble;    /* what came before the superblock; valid until _fini */
    bool bootstrapped;            /* the superblock above is that of a peer that we have sent its engine to */
    struct ax_lane lane;          /* what comes in frames of its own */
    struct ax_lane bulk;          /* what comes in chunks */
    uint64_t bodies;              /* how many frames have begun, in both */
    struct ax_message *discarded; /* owned list; see ax_session_take_discarded() */

    /* Output */
    struct ax_output output;
    struct ax_output bulk_output; /* goes into the output chunk by chunk */
    uint64_t *releases;           /* ids for the next DEL_OBJS; owned array */
    size_t release_count;
    size_t release_capacity;

    /* Calls */
    struct ax_idmap calls; /* ours, by id: the waiter, or a marker for one that gave up */
    uint64_t next_call;
    uint32_t calls_in_progress; /* the peer's, without a result */

    /* Windows */
    uint64_t peer_window;    /* what the peer allows us; 0: it has not said anything */
    uint64_t peer_max_calls; /* likewise */
    uint64_t uncredited;     /* bytes of our large requests that the peer has not read yet */
    uint64_t unread;         /* bytes of the peer's that we have not */
    bool drained;            /* what was AX_EFULL may go now; whoever looks at it sets it back */

    /* What the peer takes in one message; 0: no bound is known. Fixed from READY on */
    uint64_t peer_max_message; /* bytes of all frames, head included */
    uint64_t peer_max_head;
    uint64_t peer_max_ids; /* in one list */

    /* Liveness, all absolute times */
    uint64_t handshake_deadline;
    uint64_t received_at; /* bytes came in last */
    uint64_t sent_at;     /* bytes went out last, or the output became non-empty. AX_NEVER: it did at a time that
                             nobody told; ax_session_expire() counts from its next call */
    uint64_t closing_deadline;
};

/* ---- life ---- */

/*
 * Starts a session in the caller's storage; config is copied. An opener has its superblock queued already. AX_ERANGE:
 * the timeout or the minor version is out of range. AX_ENOMEM. After an error there is nothing to _fini.
 */
int ax_session_init(struct ax_session *session, const struct ax_session_config *config, uint64_t now);

/* Frees everything. Calls that still wait must have been taken out with ax_session_next_waiter(). */
void ax_session_fini(struct ax_session *session);

/* ---- input ---- */

/* Memory for the body that is being received, and how much fits (0: use ax_session_feed). Valid until the next call. */
size_t ax_session_space(struct ax_session *session, void **memory);

/* `size` bytes have been written at the memory that ax_session_space() just named. */
void ax_session_filled(struct ax_session *session, size_t size, uint64_t now, struct ax_event *event);

/*
 * Whether it would help to have other memory for the body that is being received: where its bytes are to stay in the
 * end, or memory that is quicker to fill. True once for a body, when enough of it has come that its length may be
 * believed.
 */
bool ax_session_wants_buffer(struct ax_session *session, struct ax_buffer_request *buffer_request);

/*
 * Gives the memory that was wished for: an empty buffer with room for all of the body, which goes on there. On success
 * the memory is taken, and `place` is what has come until now, for the caller to copy to the beginning of it: perhaps
 * without whatever lock guards the session, but before anybody looks at the body. AX_ESTATE: the body has come.
 */
int ax_session_give_buffer(struct ax_session *session, uint64_t body, struct ax_buffer *place);

/*
 * Takes bytes, up to and including the one that completes an event. Returns how many it used: less than size only when
 * there is an event. In CLOSED and FAILED it uses all and does nothing.
 */
size_t ax_session_feed(struct ax_session *session, const void *data, size_t size, uint64_t now, struct ax_event *event);

/* The stream has ended. FAILED with AX_EEOF, except in CLOSED; in CLOSING, where the peer may just go, CLOSED. */
void ax_session_feed_eof(struct ax_session *session, struct ax_event *event);

/*
 * With config.keeps_discarded: the large messages, complete or not, that were dropped since the last call; the caller
 * owns the list, or NULL. Freeing them may take long: the owner of the session does it without the lock that guards
 * this.
 */
struct ax_message *ax_session_take_discarded(struct ax_session *session);

/* ---- what to wait for ---- */

/*
 * What the owner polls the stream for, and nothing else. Both change with every call on this session. When both are
 * false, the owner closes the stream.
 *
 * wants_read: bytes, or their end, can still make a difference. False in CLOSED and FAILED: there the end of the stream
 * is not news, and polling would report it again and again.
 *
 * wants_write: something has to be sent before the stream may be closed. False in FAILED, where the owner sends what
 * the stream takes at once and does not wait for more.
 */
bool ax_session_wants_read(const struct ax_session *session);
bool ax_session_wants_write(const struct ax_session *session);

/* ---- output ---- */

/* What to send next, at most `max` slices; 0 when there is nothing. Valid until the next call on this session. */
size_t ax_session_pending(struct ax_session *session, struct ax_slice *slices, size_t max);

/* Nothing can be sent any more: frees what waits to be. */
void ax_session_drop_output(struct ax_session *session);

/* Bytes that wait to be sent, in both lanes. A session that has FAILED sends no more chunks. */
size_t ax_session_unsent(const struct ax_session *session);

/* `size` bytes of it have been sent. */
void ax_session_sent(struct ax_session *session, size_t size, uint64_t now);

/* ---- time ---- */

/*
 * When ax_session_expire() wants to be called at the latest, or AX_NEVER. Moves with every call; may be checked lazily.
 */
uint64_t ax_session_deadline(const struct ax_session *session);

/*
 * Acts on what is due at `now`: queues IDLE, or fails a session whose peer is silent, does not read, or does not close.
 * An owner that was away for long reads first what has arrived, else it would blame the peer.
 */
void ax_session_expire(struct ax_session *session, uint64_t now, struct ax_event *event);

/* ---- requests ---- */

/*
 * Queues a request and stores its id. Takes the payload's buffers on success only. `within` is not said to a peer that
 * does not understand it. `waiter` is borrowed until its RESULT, ax_session_forget() or ax_session_next_waiter(), and
 * not NULL. AX_ESTATE: not READY, or an operation that the peer does not know. AX_EFULL: max_queued bytes wait already
 * in its lane or before it (never when none does), or the peer holds us back: try again when `drained`. A request
 * within a call is never held back, for the peer waits for it. AX_ETOOLARGE: the peer would end the connection for a
 * message of this size; ax_session_explain_too_large() says more. AX_ENOMEM: nothing was queued.
 */
int ax_session_call(struct ax_session *session, const struct ax_operation *operation, struct ax_payload *payload,
                    void *waiter, uint64_t now, uint64_t *id);

#define AX_TOO_LARGE_SIZE 256 /* bytes of the longest of these sentences, with its final NUL */

/*
 * Why a request (or with NULL for the operation, a result) with this payload is AX_ETOOLARGE, and what helps, as a
 * sentence. From READY on, what it reads does not change.
 */
void ax_session_explain_too_large(const struct ax_session *session, const struct ax_operation *operation,
                                  const struct ax_payload *payload, char text[AX_TOO_LARGE_SIZE]);

/* The waiter of a call of ours that has no result yet; NULL when there is no such call, or it was given up. */
void *ax_session_waiter(const struct ax_session *session, uint64_t id);

/*
 * Nobody waits for this call's result any more: when it comes, the session answers for its references and drops it.
 * Only for a call whose waiter the session still has.
 */
void ax_session_forget(struct ax_session *session, uint64_t id);

/* One waiter whose call will never have a result, removed from the session, or NULL; for CLOSING, CLOSED and FAILED. */
void *ax_session_next_waiter(struct ax_session *session);

/*
 * A large request of the peer has been read, or never will be: it counts no more, and the peer may be told. `counted`
 * is what the message had as that, 0 included. AX_ENOMEM: the peer is not told, and the session has failed.
 */
int ax_session_consumed(struct ax_session *session, uint64_t counted, uint64_t now);

/*
 * Queues the RESULT of a call, any kind but an operation error. Ownership and errors as for ax_session_call(). In
 * CLOSING and after it answers AX_ESTATE: the result comes too late, and goes nowhere. AX_ESTATE, too, when no call is
 * in progress; AX_ERANGE for a kind that is not known, or not to the peer.
 */
int ax_session_result(struct ax_session *session, uint64_t call, enum ax_result_kind kind, struct ax_payload *payload,
                      uint64_t now);

/*
 * Queues a RESULT of kind operation error; text is UTF-8, copied, cut to 4096 bytes. Never AX_EFULL: a peer that lets
 * these pile up beyond twice max_queued fails the session instead (then AX_ESTATE, without an event). AX_ESTATE,
 * AX_ENOMEM.
 */
int ax_session_result_failed(struct ax_session *session, uint64_t call, const char *text, uint64_t now);

/*
 * The peer's object `id` is no longer referred to by us. Ids are gathered into DEL_OBJS messages, which leave with the
 * next ax_session_pending(). Ignored unless READY. AX_ENOMEM: the id is forgotten, and the peer keeps its object.
 */
int ax_session_release(struct ax_session *session, uint64_t id);

/*
 * Says GOODBYE (with the reason, where the peer understands one; NULL: none). READY becomes CLOSING; before READY the
 * session becomes CLOSED at once, without an event; after that nothing happens. Short of memory it becomes FAILED,
 * without an event either.
 */
void ax_session_close(struct ax_session *session, const char *reason, uint64_t now);

/*
 * Fails the session from outside, for an I/O error or a queue of ours that is full; there is no event. Keeps the first
 * reason. Where the peer understands a reason, a GOODBYE with it is queued, as for a failure from inside.
 */
void ax_session_fail(struct ax_session *session, int error, const char *reason);

/* Why the session FAILED, or what the peer gave as its reason for closing, or "". */
const char *ax_session_reason(const struct ax_session *session);

#endif
