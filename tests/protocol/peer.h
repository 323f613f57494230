/* SPDX-License-Identifier: MIT */
/*
 * A session under test: a clock that the test turns, everything that it sent, and everything that happened to it as
 * text.
 *
 * Two of them make a pair over a fake link (peer_exchange); one alone is driven with bytes from wire.h (peer_feed).
 */
#ifndef AX_TESTS_PROTOCOL_PEER_H
#define AX_TESTS_PROTOCOL_PEER_H

#include "protocol/session.h"
#include "wire.h"

/* How bytes are cut into pieces on their way into a session. */
enum feeding {
    FEED_WHOLE,  /* all at once */
    FEED_BYTES,  /* one at a time */
    FEED_RANDOM, /* pieces of 1 to 40 bytes */
    FEED_DIRECT, /* as the engine does: into the memory that ax_session_space() names, the rest behind it */
    FEEDINGS
};

struct peer {
    struct ax_session session;
    uint64_t now;
    enum feeding feeding;
    unsigned seed;    /* of FEED_RANDOM */
    struct wire sent; /* all that peer_collect() has taken from the session */
    size_t delivered; /* of which peer_exchange() has passed on this much */
    struct wire log;  /* events, a line each, see below */
    bool answer;      /* calls are answered at once, with their own payload and no references */
};

/*
 * Lines of the log:
 *   ready | closed [reason] | failed <code> <reason>
 *   call <id> [type <t>] [object <id>] [<name>] [within <id>] refs <ids> buffers <n> <first payload>
 *   result <id> kind <k> waiter <n> refs <ids> buffers <n> <payload or text>
 *   release <ids>
 * A waiter is shown as the number that peer_call() was given.
 */

/* Sensible settings: version 0.2, no timeouts, no features, default limits. */
struct ax_session_config peer_config(enum ax_role role);

/* Starts at time 1000. Fails the test when the session cannot be started. */
void peer_init(struct peer *peer, const struct ax_session_config *config);
void peer_fini(struct peer *peer);

/* Feeds bytes, and logs what comes of them. */
void peer_feed(struct peer *peer, const void *data, size_t size);
void peer_feed_wire(struct peer *peer, struct wire *wire); /* and frees it */
void peer_feed_eof(struct peer *peer);

/* Turns the clock to `now` and lets the session act on it. */
void peer_expire(struct peer *peer, uint64_t now);

/* Takes all that the session wants to send into `sent`. Returns how many bytes that were. */
size_t peer_collect(struct peer *peer);

/* Collects and forgets what has been sent up to now. */
void peer_forget_sent(struct peer *peer);

/* Passes bytes between two peers until neither has more. */
void peer_exchange(struct peer *a, struct peer *b);

/*
 * Starts two peers that announce these features and brings them to READY; their logs and sent are empty. `limits` are
 * the acceptor's; NULL: the default ones.
 */
void peer_connect(struct peer *opener, struct peer *acceptor, uint32_t features, const struct ax_limits *limits);

/*
 * Brings a session to READY, opposite a plain peer with this timeout or a peer with these features; log and sent are
 * empty.
 */
void peer_make_ready(struct peer *peer, const struct ax_session_config *config, uint32_t peer_timeout_ms,
                     uint32_t peer_features);

/* ax_session_call() of an APPLY, and ax_session_result(), with one buffer. */
int apply(struct ax_session *session, const uint64_t *refs, size_t ref_count, struct ax_buffer *payload, void *waiter,
          uint64_t now, uint64_t *id);
int answer(struct ax_session *session, uint64_t call, enum ax_result_kind kind, const uint64_t *refs, size_t ref_count,
           struct ax_buffer *payload, uint64_t now);

/* ax_session_call() and ax_session_result() with a copy of a string for a payload; the payload is freed on errors. */
int peer_call(struct peer *peer, const char *text, uintptr_t waiter, uint64_t *id);
int peer_result(struct peer *peer, uint64_t call, enum ax_result_kind kind, const char *text);

/* A payload of `size` times `byte`, from malloc(). */
struct ax_buffer make_buffer(size_t size, int byte);

void assert_log(struct peer *peer, const char *expected);           /* and empties it */
void assert_sent(struct peer *peer, struct wire *expected);         /* collects before; frees and empties both */
void assert_failed(struct peer *peer, int error, const char *text); /* and empties the log, which says nothing else */

#endif
