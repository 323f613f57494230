/* SPDX-License-Identifier: MIT */
/*
 * One end of a connection at the level of the wire: handshake, messages, limits, liveness and closing.
 *
 * Sans-I/O: received bytes and the current time go in; events, bytes to send and the next deadline come out. The
 * session has no file descriptor, clock, thread or Python. It is not thread-safe: its owner calls it under one lock.
 * Times are milliseconds on any clock that never goes back, the same one for all calls.
 *
 * A session passes through these states, forward only:
 *
 *   SUPERBLOCK  waits for the peer's superblock (an acceptor has sent nothing; an opener has sent its own)
 *   GREETING    superblocks are exchanged, waits for the peer's GREETING
 *   READY       calls and results flow
 *   CLOSING     we have sent GOODBYE and wait for the peer's; results that arrive are dropped
 *   CLOSED      both have sent GOODBYE: send what is still queued, then close the stream
 *   FAILED      failed, see ax_session_reason(): send what is still queued if possible, then close
 *
 * A CLOSED session still becomes FAILED when its owner fails it, or when queued output cannot be sent in time.
 *
 * Receiving, for its owner:
 *
 *   space = ax_session_space(s, &memory)      memory for a large body that is being received; 0: none
 *   ... read into {memory, space} first, then into a scratch buffer of your own, with one readv() ...
 *   ax_session_filled(s, n, now, &event)      n bytes are at `memory`; at most one event
 *   while (size) used = ax_session_feed(s, data, size, now, &event) ...   the rest; at most one event a call
 *
 * Between peers that announce AX_FEATURE_FLOW there are two *lanes*. Messages with large buffers use the second one, a
 * stream of frames like the first, but cut into CHUNK messages between which other messages pass, so that a small call
 * does not wait for a large one. Messages that must not overtake (DEL_OBJS, GOODBYE) use the second lane while it has
 * output. There is also a *window*, a limit on the large requests that the peer has not begun to read; calls beyond it
 * are held back.
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

#define AX_NEVER UINT64_MAX /* no deadline */

#define AX_TIMEOUT_MIN_MS 1u
#define AX_TIMEOUT_MAX_MS 86400000u                /* one day */
#define AX_REASON_SIZE (AX_GOODBYE_REASON_MAX + 1) /* size of the longest reason, with its final NUL */

/* Bodies are received into memory that grows in steps: at most this much at first, then by doubling. */
#define AX_BODY_FIRST_STEP (64u * 1024u)
/* A body that lacks at least this much is read into directly (ax_session_space). */
#define AX_BODY_DIRECT_MIN 4096u
/* A receive buffer is requested for bodies of at least this size (ax_session_wants_buffer). */
#define AX_RECEIVE_BUFFER_MIN (1024u * 1024u)
/*
 * It is requested when a 16th of the body has arrived, or this much, so that a length alone does not make its owner
 * allocate much.
 */
#define AX_RECEIVE_BUFFER_AFTER (4u * 1024u * 1024u)

/* Larger messages use the second lane. */
#define AX_BULK_MIN (128u * 1024u)
/* Bytes of the second lane in one CHUNK: what a small message may have to wait for. */
#define AX_CHUNK_SIZE (256u * 1024u)
/* Requests of at least this size count against the window. Smaller ones are bounded by their number. */
#define AX_COUNTED_MIN (64u * 1024u)
/* Dropped messages of at least this size may be kept for the owner to free, which takes the kernel some time. */
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

/* Limits of one session. ax_limits_init() sets the defaults; session.c has the reason for each. */
struct ax_limits {
    uint64_t max_message;   /* bytes of all frames of one incoming message, head included */
    uint32_t max_head;      /* bytes of an incoming head; also bounds ids and texts */
    uint32_t max_frames;    /* frames of one incoming message, head included */
    uint32_t max_ids;       /* ids in one list of an incoming head */
    uint32_t max_calls;     /* incoming calls without a result; more are refused with an operation error */
    uint64_t window;        /* bytes of large requests that a peer may send before they are read; more than
                               max_message above that are refused with an operation error */
    uint64_t max_queued;    /* bytes waiting to be sent from which ax_session_call/_result return AX_EFULL */
    uint32_t idle_floor_ms; /* minimum interval of IDLE messages, whatever the peer's timeout */
    uint32_t close_ms;      /* limit for CLOSING if there is no timeout; otherwise the timeout is */
};

void ax_limits_init(struct ax_limits *limits);

struct ax_session_config {
    enum ax_role role;
    uint8_t minor;                 /* opener: use version 0.`minor`, 1 or 2. Acceptor: ignored, it uses the peer's */
    uint32_t timeout_ms;           /* ours: announced in GREETING, applied to receiving and sending. 0: none */
    uint32_t handshake_timeout_ms; /* from init to READY as a whole. 0: none */
    uint32_t features;             /* AX_FEATURE_… bits to announce */
    const char *bootstrap;         /* source for a bare Python, ends in a newline; NULL: bootstrapping is refused.
                                      Borrowed for the life of the session */
    uint32_t max_preamble; /* limit for bytes before the peer's superblock, which are kept: a shell may print something
                              before the program starts. 0: none */
    bool refuse_requests;  /* all requests of the peer are answered with an operation error, without an event; its
                              releases, and results of our calls, are handled */
    bool keeps_discarded;  /* dropped large messages are kept for ax_session_take_discarded() */
    struct ax_limits limits;
};

enum ax_event_type {
    AX_EVENT_NONE,    /* no event yet */
    AX_EVENT_READY,   /* the handshake is done */
    AX_EVENT_CALL,    /* message: a request to run and to answer with ax_session_result() */
    AX_EVENT_RESULT,  /* message: a RESULT; waiter: what ax_session_call() was given, never NULL */
    AX_EVENT_RELEASE, /* message: a DEL_OBJS; the peer no longer refers to its ids */
    AX_EVENT_CLOSED,  /* state CLOSED has been reached: by our close, or by the peer's GOODBYE (then its `message` is
                         the GOODBYE, else NULL) */
    AX_EVENT_FAILED,  /* state FAILED has been reached */
};

struct ax_event {
    enum ax_event_type type;
    struct ax_message *message; /* the receiver of the event owns it; NULL where none is named above */
    void *waiter;
};

/* Request for a preallocated receive buffer. */
struct ax_buffer_request {
    uint64_t body; /* number of the body */
    uint64_t size; /* bytes of the body */
    uint64_t kind; /* enum ax_buffer_kind */
};

/* Receiving state of a lane: a message in parts. */
struct ax_lane {
    struct ax_frame_reader frame;
    struct ax_message *message; /* being assembled; owned */
    uint64_t size;              /* total length of its frames so far */
    uint32_t frames;            /* number of its frames that have begun: 0 between messages, 1 in its head */
    uint64_t body;              /* number of the last frame, counting all frames of the session */
    bool buffer_requested;      /* a receive buffer was requested for that frame */
};

struct ax_session {
    struct ax_session_config config;
    enum ax_session_state state;
    int error;                   /* the AX_E… of FAILED, else 0 */
    char reason[AX_REASON_SIZE]; /* the reason of FAILED, UTF-8; or the peer's reason of CLOSED; or "" */
    bool peer_said_goodbye;

    /* Result of the negotiation; valid from GREETING on. */
    struct ax_version peer_version;
    uint32_t features;        /* announced by both */
    uint32_t peer_timeout_ms; /* 0: none; valid from READY on */

    /* Input */
    unsigned char superblock[AX_SUPERBLOCK_SIZE];
    unsigned superblock_size;
    struct ax_buffer preamble;    /* bytes before the superblock; valid until _fini */
    bool bootstrapped;            /* the peer was sent its engine, and the superblock is the one that followed */
    struct ax_lane lane;          /* first lane: frames of the stream */
    struct ax_lane bulk;          /* second lane: frames within chunks */
    uint64_t bodies;              /* number of frames that have begun, in both lanes */
    struct ax_message *discarded; /* owned list; see ax_session_take_discarded() */

    /* Output */
    struct ax_output output;
    struct ax_output bulk_output; /* moved to the output chunk by chunk */
    uint64_t *releases;           /* ids for the next DEL_OBJS; owned array */
    size_t release_count;
    size_t release_capacity;

    /* Calls */
    struct ax_idmap calls; /* ours, by id: the waiter, or a marker if the call was abandoned */
    uint64_t next_call;
    uint32_t calls_in_progress; /* requests of the peer without a result */

    /* Windows */
    uint64_t peer_window;    /* announced by the peer; 0: not announced */
    uint64_t peer_max_calls; /* likewise */
    uint64_t uncredited;     /* bytes of our large requests that the peer has not read yet */
    uint64_t unread;         /* bytes of the peer's large requests that we have not read yet */
    bool drained;            /* what was AX_EFULL may be retried; the owner resets it */

    /* Limits of the peer for one message; 0: unknown. Fixed from READY on */
    uint64_t peer_max_message; /* bytes of all frames, head included */
    uint64_t peer_max_head;
    uint64_t peer_max_ids; /* in one list */

    /* Liveness, all absolute times */
    uint64_t handshake_deadline;
    uint64_t received_at; /* when bytes were last received */
    uint64_t sent_at;     /* when bytes were last sent, or the output became non-empty. AX_NEVER: the latter, at an
                             unknown time; ax_session_expire() counts from its next call */
    uint64_t closing_deadline;
};

/* ---- life ---- */

/*
 * Initialises a session in the caller's storage; config is copied. An opener has its superblock queued already.
 * AX_ERANGE: the timeout or the minor version is out of range. AX_ENOMEM. After an error there is nothing to _fini.
 */
int ax_session_init(struct ax_session *session, const struct ax_session_config *config, uint64_t now);

/* Frees everything. Waiters of pending calls must have been removed with ax_session_next_waiter(). */
void ax_session_fini(struct ax_session *session);

/* ---- input ---- */

/* Memory for the body that is being received, and its size (0: use ax_session_feed). Valid until the next call. */
size_t ax_session_space(struct ax_session *session, void **memory);

/* `size` bytes have been written to the memory that ax_session_space() has just returned. */
void ax_session_filled(struct ax_session *session, size_t size, uint64_t now, struct ax_event *event);

/*
 * Whether a receive buffer is requested for the body that is being received: memory where its bytes are to stay, or
 * that is faster to fill. True once for a body, when enough of it has arrived for its length to be credible.
 */
bool ax_session_wants_buffer(struct ax_session *session, struct ax_buffer_request *buffer_request);

/*
 * Provides a requested receive buffer: empty, with a capacity for the whole body, which continues there. On success the
 * memory is taken, and `buffer` holds the bytes received so far, for the caller to copy to the beginning of that
 * memory: the lock that guards the session is not needed for that, but it must be done before the body is read.
 * AX_ESTATE: the body is complete.
 */
int ax_session_give_buffer(struct ax_session *session, uint64_t body, struct ax_buffer *buffer);

/*
 * Consumes bytes, up to and including the one that completes an event. Returns how many: less than size only with an
 * event. In CLOSED and FAILED it consumes all and does nothing.
 */
size_t ax_session_feed(struct ax_session *session, const void *data, size_t size, uint64_t now, struct ax_event *event);

/*
 * The stream has ended: FAILED with AX_EEOF, except in CLOSED; in CLOSING, where the peer may just disconnect, CLOSED.
 */
void ax_session_feed_eof(struct ax_session *session, struct ax_event *event);

/*
 * With config.keeps_discarded: the large messages, complete or not, that were dropped since the last call, as a list
 * that the caller owns; or NULL. Freeing them may take long: do it without the lock that guards the session.
 */
struct ax_message *ax_session_take_discarded(struct ax_session *session);

/* ---- what to wait for ---- */

/*
 * The events that the owner must poll the stream for. Both change with every call on this session. When both are false,
 * the owner closes the stream.
 *
 * wants_read: input, or its end, can still make a difference. False in CLOSED and FAILED, where polling would report
 * the end of the stream again and again.
 *
 * wants_write: something has to be sent before the stream may be closed. False in FAILED, where the owner sends what
 * the stream takes at once and does not wait.
 */
bool ax_session_wants_read(const struct ax_session *session);
bool ax_session_wants_write(const struct ax_session *session);

/* ---- output ---- */

/*
 * Stores what to send next, at most `max` slices, and returns how many; 0: nothing. Valid until the next call on this
 * session.
 */
size_t ax_session_pending(struct ax_session *session, struct ax_slice *slices, size_t max);

/* Nothing can be sent any more: frees the output. */
void ax_session_drop_output(struct ax_session *session);

/* Bytes that wait to be sent, in both lanes. A session that has FAILED sends no more chunks. */
size_t ax_session_unsent(const struct ax_session *session);

/* `size` bytes of it have been sent. */
void ax_session_sent(struct ax_session *session, size_t size, uint64_t now);

/* ---- time ---- */

/* The latest time to call ax_session_expire(), or AX_NEVER. Changes with every call; may be checked lazily. */
uint64_t ax_session_deadline(const struct ax_session *session);

/*
 * Handles timeouts at `now`: queues IDLE, or fails a session whose peer is silent, does not read, or does not close. An
 * owner that was suspended must first read what has arrived, or it would blame the peer.
 */
void ax_session_expire(struct ax_session *session, uint64_t now, struct ax_event *event);

/* ---- requests ---- */

/*
 * Queues a request and stores its id. Takes the payload's buffers on success only. `within` is omitted for peers that
 * do not support it. `waiter` is borrowed until its RESULT, ax_session_forget() or ax_session_next_waiter(), and not
 * NULL. AX_ESTATE: not READY, or an operation that the peer does not support. AX_EFULL: max_queued bytes already wait
 * in its lane or before it (never if the output is empty), or the peer's limits hold it back: try again when `drained`.
 * Requests within a call are never held back, since the peer waits for them. AX_ETOOLARGE: the peer would fail the
 * connection for a message of this size; ax_session_explain_too_large() tells more. AX_ENOMEM: nothing was queued.
 */
int ax_session_call(struct ax_session *session, const struct ax_operation *operation, struct ax_payload *payload,
                    void *waiter, uint64_t now, uint64_t *id);

#define AX_TOO_LARGE_SIZE 256 /* size of the longest of these texts, with its final NUL */

/*
 * Writes why a request (`operation` NULL: a result) with this payload is AX_ETOOLARGE, and what helps. From READY on,
 * what it reads is constant.
 */
void ax_session_explain_too_large(const struct ax_session *session, const struct ax_operation *operation,
                                  const struct ax_payload *payload, char text[AX_TOO_LARGE_SIZE]);

/* The waiter of a call of ours that has no result yet; NULL if there is no such call, or it was abandoned. */
void *ax_session_waiter(const struct ax_session *session, uint64_t id);

/*
 * Abandons a call: when its result arrives, the session releases its references and drops it. Only for a call whose
 * waiter the session still has.
 */
void ax_session_forget(struct ax_session *session, uint64_t id);

/* Removes and returns the waiter of a call that will have no result, or NULL; for CLOSING, CLOSED and FAILED. */
void *ax_session_next_waiter(struct ax_session *session);

/*
 * A large request of the peer has been read, or never will be: it no longer counts, and credit may be sent. `counted`
 * is that of the message, 0 included. AX_ENOMEM: no credit was sent, and the session has failed.
 */
int ax_session_consumed(struct ax_session *session, uint64_t counted, uint64_t now);

/*
 * Queues the RESULT of a call, of any kind but operation error. Ownership and errors as for ax_session_call().
 * AX_ESTATE: CLOSING or a later state, and the result is dropped; or no call is in progress. AX_ERANGE: an unknown
 * kind, or one that the peer does not support.
 */
int ax_session_result(struct ax_session *session, uint64_t call, enum ax_result_kind kind, struct ax_payload *payload,
                      uint64_t now);

/*
 * Queues a RESULT of kind operation error; text is UTF-8, copied, cut to 4096 bytes. Never AX_EFULL: if the peer lets
 * these accumulate beyond twice max_queued, the session fails instead (then AX_ESTATE, without an event). AX_ESTATE,
 * AX_ENOMEM.
 */
int ax_session_result_failed(struct ax_session *session, uint64_t call, const char *text, uint64_t now);

/*
 * Releases the peer's object `id`. Ids are collected into DEL_OBJS messages, which are sent with the next
 * ax_session_pending(). Ignored unless READY. AX_ENOMEM: the id is lost, and the peer keeps its object.
 */
int ax_session_release(struct ax_session *session, uint64_t id);

/*
 * Sends GOODBYE (with the reason, if the peer supports one; NULL: none). READY becomes CLOSING; an earlier state
 * becomes CLOSED at once, without an event; in later states nothing happens. Without memory it becomes FAILED, also
 * without an event.
 */
void ax_session_close(struct ax_session *session, const char *reason, uint64_t now);

/*
 * Fails the session for an external reason, such as an I/O error or a full queue of the owner; there is no event. Keeps
 * the first reason. If the peer supports reasons, a GOODBYE with it is queued, as for an internal failure.
 */
void ax_session_fail(struct ax_session *session, int error, const char *reason);

/* The reason of FAILED, or the peer's reason for closing, or "". */
const char *ax_session_reason(const struct ax_session *session);

#endif
