/* SPDX-License-Identifier: MIT */
/* What has to happen to peers: see admission.h. */
#include "admission.h"

#include <openssl/crypto.h>
#include <sys/socket.h>

#include "daemon/admission/openssl/hmac.h"
#include "world.h"

static unsigned char seed[AX_CRYPTO_DIGEST_SIZE]; /* of all nonces: a digest of the input */
static uint32_t nonces_made;

/* ---- secrets ---- */

static bool is_equal(const void *left, const void *right, size_t size)
{
    return CRYPTO_memcmp(left, right, size) == 0; /* which the fuzzer does not instrument, unlike memcmp() */
}

/* Out of memory in OpenSSL is possible. */
static int hmac_or_fail(unsigned char *digest, const void *key, size_t key_size, const void *data, size_t size)
{
    bool fails = server.hmac_fails;

    server.hmac_fails = false;
    return fails ? -1 : ax_openssl_hmac(digest, key, key_size, data, size);
}

const struct ax_crypto model_crypto = {.hmac = hmac_or_fail, .is_equal = is_equal};

/* For secrets from files, which do not occur here. */
const struct ax_crypto *ax_crypto_load(char *error, size_t error_size)
{
    snprintf(error, error_size, "There is no library");
    return NULL;
}

void model_start(const uint8_t *data, size_t size)
{
    CHECK(ax_openssl_hmac(seed, "seed", 4, data, size) == 0);
    nonces_made = 0;
}

void model_make_nonce(unsigned char *bytes, size_t size)
{
    CHECK(size == AX_NONCE_SIZE);
    nonces_made++;
    CHECK(ax_openssl_hmac(bytes, seed, sizeof seed, &nonces_made, sizeof nonces_made) == 0);
}

/* As in docs/access.md. */
void model_prove(const struct ax_secret *secret, const char *role, const unsigned char *client_nonce,
                 const unsigned char *server_nonce, unsigned char proof[AX_PROOF_SIZE])
{
    unsigned char text[22 + 64];

    CHECK(snprintf((char *)text, sizeof text, "across secret 1 %s", role) == 22);
    memcpy(text + 22, client_nonce, 32);
    memcpy(text + 54, server_nonce, 32);
    CHECK(ax_openssl_hmac(proof, secret->bytes, secret->size, text, sizeof text) == 0);
}

void model_prove_own(const struct peer *peer, const char *role, unsigned char proof[AX_PROOF_SIZE])
{
    model_prove(&server.secret, role, peer->said.bytes + 8, peer->heard.bytes + 8, proof);
}

static bool is_message(const unsigned char *bytes, unsigned char kind)
{
    return memcmp(bytes, "\x5e\xc2\xe7\x01", 4) == 0 && bytes[4] == kind;
}

bool model_has_nonces(const struct peer *peer)
{
    return peer->said.size >= AX_EXCHANGE_SIZE && peer->heard.size >= AX_EXCHANGE_SIZE &&
           is_message(peer->heard.bytes, AX_EXCHANGE_CHALLENGE);
}

/* ---- what a peer has sent ---- */

/* Peers to be served, and requests for the status. */
static enum stage judge_superblock(const unsigned char *bytes, size_t size)
{
    bool is_across, is_bootstrap, is_status;

    if (size < 4)
        return AT_SUPERBLOCK;
    is_across = memcmp(bytes, "\xe3\x5b\x9e\x78", 4) == 0;
    is_bootstrap = memcmp(bytes, "\xe5\x4e\x6d\x01", 4) == 0;
    is_status = memcmp(bytes, "\x5b\xb5\x8a\x44", 4) == 0;
    if (!is_across && !is_bootstrap && !is_status)
        return WRONG;
    if (size < AX_SUPERBLOCK_SIZE)
        return AT_SUPERBLOCK;
    if (is_across)
        return bytes[4] == 0 && (bytes[5] == 1 || bytes[5] == 2) ? RIGHT : WRONG;
    if (is_bootstrap)
        return memcmp(bytes + 4, "\0\2\0", 3) <= 0 ? RIGHT : WRONG;
    return bytes[4] <= 1 && bytes[5] == 1 ? RIGHT : WRONG;
}

static enum stage judge_hello(const unsigned char *bytes, size_t size)
{
    enum stage otherwise;

    if (size < 4)
        return AT_HELLO;
    if (memcmp(bytes, "\x5e\xc2\xe7\x01", 4) != 0) { /* without a proof it is refused as soon as it can be told so */
        otherwise = judge_superblock(bytes, size);
        return otherwise == AT_SUPERBLOCK ? AT_HELLO : WRONG;
    }
    if (size < AX_EXCHANGE_SIZE)
        return AT_HELLO;
    return is_message(bytes, AX_EXCHANGE_HELLO) ? AT_PROOF : WRONG;
}

static enum stage judge_proof(struct peer *peer, const unsigned char *bytes, size_t size)
{
    unsigned char proof[AX_PROOF_SIZE];

    if (size < AX_EXCHANGE_SIZE)
        return AT_PROOF;
    if (!is_message(bytes, AX_EXCHANGE_PROOF) || server.set.secret == NULL || !model_has_nonces(peer))
        return WRONG;
    model_prove_own(peer, "client", proof);
    if (!is_equal(bytes + 8, proof, sizeof proof))
        return WRONG;
    CHECK(peer->may_prove);
    model_prove_own(peer, "server", proof);
    ax_exchange_put(peer->answer, AX_EXCHANGE_ANSWER, proof);
    return AT_SUPERBLOCK;
}

static enum stage judge(struct peer *peer)
{
    const unsigned char *bytes = peer->said.bytes + peer->read;
    size_t size = peer->said.size - peer->read;

    if (peer->stage == AT_HELLO)
        return judge_hello(bytes, size);
    if (peer->stage == AT_PROOF)
        return judge_proof(peer, bytes, size);
    return judge_superblock(bytes, size);
}

/* Parses what it has sent, as the server should have. */
static void follow(struct peer *peer)
{
    while (peer->stage < RIGHT) {
        enum stage next = judge(peer);

        if (next == peer->stage)
            return;
        if (next != WRONG)
            peer->read += peer->stage == AT_SUPERBLOCK ? AX_SUPERBLOCK_SIZE : AX_EXCHANGE_SIZE;
        peer->stage = next;
    }
}

bool model_is_late(const struct peer *peer)
{
    return !server.has_no_timeout && world.now >= peer->since + TIMEOUT_MS;
}

/* Those at the lowest stage are evicted first, which test_handshake.c tests; never the one that is being added. */
bool model_is_crowded_out(const struct peer *peer)
{
    return server.is_crowded && peer != &peers[peer_count - 1];
}

/* ---- what it has received ---- */

/* Reads what has arrived at a socket. Returns whether the stream has ended. */
static bool listen_to(int fd, struct talk *talk)
{
    ssize_t got;

    do {
        CHECK(talk->size < TALK);
        got = recv(fd, talk->bytes + talk->size, TALK - talk->size, MSG_DONTWAIT);
        if (got > 0)
            talk->size += (size_t)got;
    } while (got > 0);
    return got == 0;
}

static void decode(struct peer *peer, size_t from)
{
    for (size_t i = from; i < peer->heard.size; i++)
        peer->heard.bytes[i] ^= TLS_KEY;
    if (peer->hears_hello || from == peer->heard.size)
        return;
    peer->hears_hello = true;
    CHECK(from == 0 && peer->heard.bytes[0] == (TLS_HELLO ^ TLS_KEY));
    memmove(peer->heard.bytes, peer->heard.bytes + 1, --peer->heard.size);
}

/* Whether it has received these bytes after `at`, as far as they have arrived. Returns where they end. */
static size_t match(const struct peer *peer, size_t at, const void *bytes, size_t size)
{
    size_t here = at_most(size, peer->heard.size - at);

    CHECK(memcmp(peer->heard.bytes + at, bytes, here) == 0);
    return at + here;
}

/* The server must not send its own proof to a peer that has given none. */
static void check_proves_nothing(const struct peer *peer)
{
    unsigned char proof[AX_PROOF_SIZE];

    if (peer->read >= 2 * AX_EXCHANGE_SIZE || !model_has_nonces(peer))
        return;
    model_prove_own(peer, "server", proof);
    CHECK(memmem(peer->heard.bytes, peer->heard.size, proof, sizeof proof) == NULL);
}

/* Nothing, a REFUSAL, or a superblock with the output of a session that fails with a reason. */
static void check_refusal(const struct peer *peer, size_t at)
{
    static const unsigned char superblock[] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0};
    unsigned char refusal[AX_EXCHANGE_SIZE];

    ax_exchange_put(refusal, AX_EXCHANGE_REFUSAL, NULL);
    if (at < peer->heard.size && peer->heard.bytes[at] == refusal[0])
        CHECK(match(peer, at, refusal, sizeof refusal) == peer->heard.size);
    else
        match(peer, at, superblock, sizeof superblock);
}

/* No other peer has been sent these nonces. */
static void check_challenge(const struct peer *peer)
{
    for (size_t i = 0; i < peer_count; i++)
        if (&peers[i] != peer && peers[i].needs_proof && model_has_nonces(&peers[i]))
            CHECK(memcmp(peers[i].heard.bytes + 8, peer->heard.bytes + 8, AX_NONCE_SIZE) != 0);
}

/* It has received what corresponds to what it has sent, and nothing else. */
static void check_heard(const struct peer *peer)
{
    size_t at = 0;

    if (peer->needs_proof && peer->outcome != ADMITTED)
        check_proves_nothing(peer);
    if (peer->is_disturbed)
        return;
    if (peer->needs_proof && peer->read >= AX_EXCHANGE_SIZE) {
        match(peer, 0, "\x5e\xc2\xe7\x01\x02\0\0\0", 8);
        at = at_most(AX_EXCHANGE_SIZE, peer->heard.size);
        if (at == AX_EXCHANGE_SIZE)
            check_challenge(peer);
    }
    if (peer->needs_proof && peer->read >= 2 * AX_EXCHANGE_SIZE)
        at = match(peer, at, peer->answer, sizeof peer->answer);
    if (peer->stage == WRONG)
        check_refusal(peer, at);
    else
        CHECK(match(peer, at, peer->worker_said.bytes, peer->worker_said.size) == peer->heard.size);
}

/* Everything that has arrived for it, and what that means. */
void model_attend(struct peer *peer)
{
    size_t before = peer->heard.size;
    bool is_end = peer->fd >= 0 && listen_to(peer->fd, &peer->heard);

    if (peer->has_tls)
        decode(peer, before);
    follow(peer);
    check_heard(peer);
    if (!is_end || peer->outcome != ADMITTED || peer->is_disturbed)
        return;
    CHECK(peer->worker_has_ended);
    CHECK(peer->heard.size == peer->worker_said.size + peer->read - AX_SUPERBLOCK_SIZE);
}

/* A worker has received what its peer sent after the superblock. */
void model_attend_worker(struct peer *peer)
{
    const unsigned char *rest = peer->said.bytes + peer->read;
    size_t rest_size = peer->said.size - peer->read;
    bool is_end;

    if (peer->worker_fd < 0)
        return;
    is_end = listen_to(peer->worker_fd, &peer->worker_heard);
    CHECK(peer->worker_heard.size <= rest_size);
    CHECK(memcmp(peer->worker_heard.bytes, rest, peer->worker_heard.size) == 0);
    if (is_end && !peer->is_disturbed)
        CHECK(peer->has_ended && peer->worker_heard.size == rest_size);
}
