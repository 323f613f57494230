/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/admission/exchange.h"
#include "daemon/base/error_format.h"

static struct ax_secret secret = {.size = 16, .bytes = "0123456789abcdef"};
static unsigned char reply[AX_EXCHANGE_SIZE];
static char reason[AX_ERROR_TEXT_SIZE];

static int load(void **state)
{
    (void)state;
    secret.crypto = ax_crypto_load(reason, sizeof reason);
    return secret.crypto != NULL ? 0 : -1;
}

static enum ax_exchange_step take(struct ax_exchange *exchange, const unsigned char message[AX_EXCHANGE_SIZE])
{
    memset(reply, 0xee, sizeof reply);
    reason[0] = '\0';
    return ax_exchange_take(exchange, &secret, message, reply, reason, sizeof reason);
}

/* Sends HELLO, and keeps the nonces as a client does. */
static void begin(struct ax_exchange *exchange, struct ax_nonces *nonces)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    const unsigned char *nonce;

    memset(nonces->client, 7, sizeof nonces->client);
    ax_exchange_put(message, AX_EXCHANGE_HELLO, nonces->client);
    assert_int_equal(take(exchange, message), AX_EXCHANGE_GOES_ON);
    nonce = ax_exchange_get(reply, AX_EXCHANGE_CHALLENGE);
    assert_non_null(nonce);
    memcpy(nonces->server, nonce, sizeof nonces->server);
}

static enum ax_exchange_step prove(struct ax_exchange *exchange, const struct ax_secret *known, enum ax_prover prover,
                                   const struct ax_nonces *nonces)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    unsigned char proof[AX_PROOF_SIZE];

    assert_int_equal(ax_secret_prove(known, prover, nonces, proof), 0);
    ax_exchange_put(message, AX_EXCHANGE_PROOF, proof);
    return take(exchange, message);
}

static void assert_refused(enum ax_exchange_step step, const char *why)
{
    assert_int_equal(step, AX_EXCHANGE_FAILED);
    assert_non_null(ax_exchange_get(reply, AX_EXCHANGE_REFUSAL));
    assert_string_equal(reason, why);
}

static void test_who_knows_the_secret_gets_a_proof_in_return(void **state)
{
    struct ax_exchange exchange = {0};
    struct ax_nonces nonces;

    (void)state;
    begin(&exchange, &nonces);
    assert_int_equal(prove(&exchange, &secret, AX_PROVER_CLIENT, &nonces), AX_EXCHANGE_DONE);
    assert_non_null(ax_exchange_get(reply, AX_EXCHANGE_ANSWER));
    assert_true(ax_secret_is_proof(&secret, AX_PROVER_SERVER, &nonces, ax_exchange_get(reply, AX_EXCHANGE_ANSWER)));
}

static void test_who_does_not_know_it_gets_none(void **state)
{
    struct ax_secret other = secret;
    struct ax_exchange exchange = {0};
    struct ax_nonces nonces;

    (void)state;
    other.bytes[15] ^= 1;
    begin(&exchange, &nonces);
    assert_refused(prove(&exchange, &other, AX_PROVER_CLIENT, &nonces), "The peer has another secret");
}

static void test_a_proof_of_another_exchange_or_role_is_refused(void **state)
{
    struct ax_exchange exchange = {0}, another = {0};
    struct ax_nonces nonces, others;

    (void)state;
    begin(&exchange, &nonces);
    begin(&another, &others);
    assert_memory_not_equal(nonces.server, others.server, sizeof nonces.server);
    assert_refused(prove(&another, &secret, AX_PROVER_CLIENT, &nonces), "The peer has another secret");
    assert_refused(prove(&exchange, &secret, AX_PROVER_SERVER, &nonces), "The peer has another secret");
}

/* A client without the secret reflects the challenge, as if it were the server. */
static void test_a_challenge_that_is_sent_back_is_no_proof(void **state)
{
    struct ax_exchange exchange = {0};
    struct ax_nonces nonces;
    unsigned char message[AX_EXCHANGE_SIZE];

    (void)state;
    begin(&exchange, &nonces);
    ax_exchange_put(message, AX_EXCHANGE_PROOF, nonces.server);
    assert_refused(take(&exchange, message), "The peer has another secret");
}

static void test_messages_out_of_order_are_refused(void **state)
{
    static const enum ax_exchange_kind firsts[] = {
        0, AX_EXCHANGE_CHALLENGE, AX_EXCHANGE_PROOF, AX_EXCHANGE_ANSWER, AX_EXCHANGE_REFUSAL, 6};
    static const enum ax_exchange_kind seconds[] = {
        0, AX_EXCHANGE_HELLO, AX_EXCHANGE_CHALLENGE, AX_EXCHANGE_ANSWER, AX_EXCHANGE_REFUSAL, 6};
    unsigned char message[AX_EXCHANGE_SIZE];
    struct ax_nonces nonces;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(firsts); i++) {
        struct ax_exchange exchange = {0};

        ax_exchange_put(message, firsts[i], NULL);
        assert_refused(take(&exchange, message), "The peer broke off the exchange that proves a secret");
    }
    for (size_t i = 0; i < COUNT_OF(seconds); i++) {
        struct ax_exchange exchange = {0};

        begin(&exchange, &nonces);
        ax_exchange_put(message, seconds[i], NULL);
        assert_refused(take(&exchange, message), "The peer broke off the exchange that proves a secret");
    }
}

static void test_without_a_secret_nothing_is_a_proof(void **state)
{
    struct ax_exchange exchange = {0};
    struct ax_nonces nonces;
    unsigned char message[AX_EXCHANGE_SIZE];

    (void)state;
    begin(&exchange, &nonces);
    ax_exchange_put(message, AX_EXCHANGE_PROOF, NULL);
    assert_refused(ax_exchange_take(&exchange, NULL, message, reply, reason, sizeof reason),
                   "The server demands no secret any more");
}

static void test_the_magic_tells_a_message(void **state)
{
    unsigned char message[AX_EXCHANGE_SIZE];

    (void)state;
    ax_exchange_put(message, AX_EXCHANGE_HELLO, NULL);
    assert_memory_equal(message, "\x5e\xc2\xe7\x01\x01\0\0\0", 8);
    assert_true(ax_exchange_is_begun(message, 4));
    assert_false(ax_exchange_is_begun(message, 3));
    message[3] = 2;
    assert_false(ax_exchange_is_begun(message, 4));
    assert_null(ax_exchange_get(message, AX_EXCHANGE_HELLO));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_knows_the_secret_gets_a_proof_in_return),
        cmocka_unit_test(test_who_does_not_know_it_gets_none),
        cmocka_unit_test(test_a_proof_of_another_exchange_or_role_is_refused),
        cmocka_unit_test(test_a_challenge_that_is_sent_back_is_no_proof),
        cmocka_unit_test(test_messages_out_of_order_are_refused),
        cmocka_unit_test(test_without_a_secret_nothing_is_a_proof),
        cmocka_unit_test(test_the_magic_tells_a_message),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
