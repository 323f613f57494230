/* SPDX-License-Identifier: MIT */
/*
 * Shared by the parts of the target fuzz_admission: the server and its peers, and the model of what has to happen to
 * each of them.
 *
 * TLS is reduced to what daemon/admission/tls.h says about it. Its bytes on the wire differ from the payload.
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
#define TALK 2048      /* bytes in one direction of a connection; scripts cannot add more */
#define SMALL_PAIR 128 /* the least capacity of a relay's socket pair: both replies of an exchange */

#define TLS_HELLO 'T' /* the whole TLS handshake, in both directions */
#define TLS_KEY 0x55  /* XORed to its bytes */

struct talk {
    unsigned char bytes[TALK];
    size_t size;
};

enum stage { AT_HELLO, AT_PROOF, AT_SUPERBLOCK, RIGHT, WRONG };
enum outcome { NONE, PENDING, ADMITTED, FAILED };

struct peer {
    struct ax_tls tls; /* first: its methods get it */
    enum outcome outcome;
    int fd;        /* owned; -1: closed */
    int server_fd; /* the other end of it */
    int pair_fd;   /* over TLS: where its handshake reads from */
    int worker_fd; /* ADMITTED, until the worker closes it */
    uint64_t since;
    bool has_tls;
    bool needs_proof;
    bool is_slow;      /* its socket has little capacity */
    bool has_ended;    /* it has shut down its side */
    bool may_prove;    /* the script gave it the proof of its own exchange */
    bool is_disturbed; /* it has hung up, or a fault was injected: it may be refused although it behaved correctly */
    struct talk said, heard;
    struct talk worker_said, worker_heard;
    bool worker_has_ended;
    uint64_t worker_ended_at;
    /* Of the model: */
    enum stage stage;
    size_t read; /* bytes of `said`, up to the end of the last message */
    unsigned char answer[AX_EXCHANGE_SIZE];
    /* Of its TLS: */
    bool has_greeted; /* it has sent its hello, or something else instead */
    bool is_greeted;  /* the server has received it */
    bool is_secured, is_free, is_broken;
    bool wants_write; /* reading continues when something can be written */
    bool hears_hello; /* the server's */
    unsigned char unwritten[16];
    size_t unwritten_size; /* with which the next write has to begin */
};

/* The server, as all peers know it. */
struct server {
    struct ax_handshakes set;
    struct ax_origin source; /* of all peers */
    struct ax_relays relays;
    struct ax_secret secret;
    struct ax_secret old_secret; /* from before the last reload */
    bool has_no_timeout;
    bool is_crowded;  /* a peer is being added, and there are too many */
    bool is_stopping; /* all handshakes fail */
    bool is_faulty;   /* a fault is being injected */
    bool hmac_fails;
};

extern struct server server;
extern struct peer peers[PEERS]; /* in the order of their arrival */
extern size_t peer_count;

/* ---- admission_model.c ---- */

/* The server's crypto functions: SHA-256 by OpenSSL, which fails if server.hmac_fails. */
extern const struct ax_crypto model_crypto;

/* From here on nonces depend on this input. */
void model_start(const uint8_t *data, size_t size);

/* A fresh nonce that no input can predict. */
void model_make_nonce(unsigned char *nonce, size_t size);

/* A proof, as in docs/access.md; `role` is "client" or "server". */
void model_prove(const struct ax_secret *secret, const char *role, const unsigned char *client_nonce,
                 const unsigned char *server_nonce, unsigned char proof[AX_PROOF_SIZE]);

/* The proof of a peer's own exchange. */
void model_prove_own(const struct peer *peer, const char *role, unsigned char proof[AX_PROOF_SIZE]);

/* Whether this peer knows both nonces of its exchange. */
bool model_has_nonces(const struct peer *peer);

/* Whether it has timed out. */
bool model_is_late(const struct peer *peer);

/* Whether it is to be evicted for the one that is being added. */
bool model_is_crowded_out(const struct peer *peer);

/* Reads what has arrived for it and what it has sent, and checks that they match. */
void model_attend(struct peer *peer);

/* The same at the other end: its worker has received what it sent, and nothing else. */
void model_attend_worker(struct peer *peer);

/* ---- admission_tls.c ---- */

extern const struct ax_tls_methods tls_methods;

static inline size_t at_most(size_t size, size_t limit)
{
    return size < limit ? size : limit;
}

#endif
