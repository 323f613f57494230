/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the target fuzz_admission share: the server and its peers, and the model of what has to become of
 * each of them.
 *
 * Of TLS there is what daemon/admission/tls.h says of it, and no more. Its bytes differ from those that it carries.
 */
#ifndef AX_TESTS_FUZZ_ADMISSION_H
#define AX_TESTS_FUZZ_ADMISSION_H

#include "fuzz.h"

#include <stdbool.h>

#include "daemon/admission/exchange.h"
#include "daemon/admission/handshake.h"
#include "daemon/admission/relay.h"

#define TIMEOUT_MS 100
#define PEERS 8
#define TALK 2048      /* bytes in one direction of a connection; what a script adds to them is left out */
#define SMALL_PAIR 128 /* the least that a relay's pair holds: room for both replies of an exchange */

#define TLS_HELLO 'T' /* all that a handshake of TLS consists of, both ways */
#define TLS_KEY 0x55  /* by which its bytes differ */

struct talk {
    unsigned char bytes[TALK];
    size_t size;
};

enum stage { AT_HELLO, AT_PROOF, AT_SUPERBLOCK, RIGHT, WRONG };
enum outcome { NONE, PENDING, ADMITTED, FAILED };

struct peer {
    struct ax_tls tls; /* first: its methods get it */
    enum outcome outcome;
    int fd;        /* its own; -1: closed */
    int server_fd; /* the other end of it */
    int pair_fd;   /* over TLS: what its handshake reads from */
    int worker_fd; /* ADMITTED, until the worker closes it */
    uint64_t since;
    bool has_tls;
    bool needs_proof;
    bool is_slow;      /* its socket holds little */
    bool has_ended;    /* it says no more */
    bool may_prove;    /* the script gave it the proof of its own exchange */
    bool is_disturbed; /* it has hung up, or something has failed: it may be refused although it is right */
    struct talk said, heard;
    struct talk worker_said, worker_heard;
    bool worker_has_ended;
    uint64_t worker_ended_at;
    /* The model's: */
    enum stage stage;
    size_t read; /* bytes of `said`, up to the end of the last message */
    unsigned char answer[AX_EXCHANGE_SIZE];
    /* Of its TLS: */
    bool has_greeted; /* it has sent its hello, or something else instead */
    bool is_greeted;  /* the server has got it */
    bool is_secured, is_free, is_broken;
    bool wants_write; /* reading goes on when something can be written */
    bool hears_hello; /* the server's */
    unsigned char unwritten[16];
    size_t unwritten_size; /* with which the next write has to begin */
};

/* Of the server, as all peers know it. */
struct server {
    struct ax_handshakes set;
    struct ax_origin source; /* of all peers */
    struct ax_relays relays;
    struct ax_secret secret;
    struct ax_secret old_secret; /* from before the last reload */
    bool has_no_timeout;
    bool is_crowded;  /* a peer is being added, and there are too many */
    bool is_stopping; /* all handshakes fail */
    bool is_faulty;   /* what comes now is disturbed */
    bool hmac_fails;
};

extern struct server server;
extern struct peer peers[PEERS]; /* in the order in which they came */
extern size_t peer_count;

/* ---- admission_model.c ---- */

/* What the server calculates with: SHA-256 by OpenSSL, which fails when server.hmac_fails. */
extern const struct ax_crypto model_crypto;

/* From here on nonces are those of this input. */
void model_start(const uint8_t *data, size_t size);

/* A nonce that there has not been, and that no input can know of. */
void model_make_nonce(unsigned char *nonce, size_t size);

/* A proof, as docs/access.md has it; `role` is "client" or "server". */
void model_prove(const struct ax_secret *secret, const char *role, const unsigned char *client_nonce,
                 const unsigned char *server_nonce, unsigned char proof[AX_PROOF_SIZE]);

/* That of a peer's own exchange. */
void model_prove_own(const struct peer *peer, const char *role, unsigned char proof[AX_PROOF_SIZE]);

/* Whether this peer knows both nonces of its exchange. */
bool model_has_nonces(const struct peer *peer);

/* Whether its time is up. */
bool model_is_late(const struct peer *peer);

/* Whether it has to make room for the one that is being added. */
bool model_is_crowded_out(const struct peer *peer);

/* Reads what has come for it and what it has said, and checks that they belong together. */
void model_attend(struct peer *peer);

/* The same at the other end: that its worker has got what it has said, and nothing else. */
void model_attend_worker(struct peer *peer);

/* ---- admission_tls.c ---- */

extern const struct ax_tls_methods tls_methods;

static inline size_t at_most(size_t size, size_t limit)
{
    return size < limit ? size : limit;
}

#endif
