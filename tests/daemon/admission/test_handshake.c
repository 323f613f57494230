/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/exchange.h"
#include "daemon/admission/handshake.h"
#include "daemon/base/error_format.h"
#include "fake_tls.h"

static const unsigned char plain[AX_SUPERBLOCK_SIZE] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0};

/* How each handshake ended, by its `arg`. */
enum outcome { PENDING, DONE, FAILED };
enum { MANY = 300 };

static struct {
    enum outcome outcome;
    char reason[AX_ERROR_TEXT_SIZE];
    int fd;
} results[MANY + 10];

enum { LANES = 3, SOURCES = 4 };

static uv_loop_t loop;
static struct ax_handshakes set;
static struct ax_origin sources[LANES][SOURCES];

static void on_done(struct ax_handshakes *handshakes, void *arg, int fd, const unsigned char *received, size_t size)
{
    intptr_t number = (intptr_t)arg;

    assert_ptr_equal(handshakes, &set);
    assert_int_equal(results[number].outcome, PENDING);
    assert_int_equal(size, AX_SUPERBLOCK_SIZE);
    assert_memory_equal(received, plain, 4);
    results[number].outcome = DONE;
    results[number].fd = fd;
}

static void on_failed(struct ax_handshakes *handshakes, void *arg, const char *reason)
{
    intptr_t number = (intptr_t)arg;

    assert_ptr_equal(handshakes, &set);
    assert_int_equal(results[number].outcome, PENDING);
    results[number].outcome = FAILED;
    snprintf(results[number].reason, sizeof results[number].reason, "%s", reason != NULL ? reason : "(none)");
}

static void start_limited(uint32_t timeout_ms, size_t limit, size_t source_limit)
{
    const struct ax_handshake_limits limits = {limit, source_limit, LANES};

    memset(results, 0, sizeof results);
    memset(sources, 0, sizeof sources);
    for (uint32_t i = 0; i < LANES; i++)
        for (int j = 0; j < SOURCES; j++)
            sources[i][j] = (struct ax_origin){.key = {.lane = i}, .refs = 1};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_handshakes_init(&set, &loop, timeout_ms, limits, on_done, on_failed), 0);
}

static void start(uint32_t timeout_ms, size_t limit)
{
    start_limited(timeout_ms, limit, limit);
}

static void finish(void)
{
    ax_handshakes_fail_all(&set, "over");
    for (int i = 0; i < LANES; i++) {
        assert_int_equal(set.lanes[i].count, 0);
        for (int j = 0; j < SOURCES; j++)
            assert_int_equal(sources[i][j].handshakes, 0);
    }
    ax_handshakes_fini(&set);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static int add_from(struct ax_origin *source, intptr_t number, bool needs_proof, const void *bytes, size_t size)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    if (size > 0)
        assert_int_equal(write(fds[0], bytes, size), size);
    ax_handshakes_add(&set, source, fds[1], false, needs_proof, (void *)number);
    return fds[0];
}

static int add_any(intptr_t number, bool needs_proof, const void *bytes, size_t size)
{
    return add_from(&sources[0][0], number, needs_proof, bytes, size);
}

/* Adds a handshake; returns the peer's end, with `size` bytes sent already. */
static int add(intptr_t number, const void *bytes, size_t size)
{
    return add_any(number, false, bytes, size);
}

static void run_until_ended(intptr_t number)
{
    while (results[number].outcome == PENDING)
        uv_run(&loop, UV_RUN_ONCE);
}

static void assert_failed(intptr_t number, const char *reason)
{
    assert_int_equal(results[number].outcome, FAILED);
    assert_string_equal(results[number].reason, reason);
}

/* The list is sorted by deadline: the oldest has to time out first. */
static void test_a_shorter_time_is_for_those_too_who_have_begun(void **state)
{
    static const uint32_t before[] = {86400000, 0};
    int peers[2];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(before); i++) {
        start(before[i], 4);
        peers[0] = add(1, "", 0);
        ax_handshakes_set_timeout(&set, 20);
        peers[1] = add(2, "", 0);
        assert_int_equal(results[1].outcome, PENDING);
        uv_ref((uv_handle_t *)&set.timer);
        run_until_ended(2);
        assert_failed(1, "The handshake was not finished within 20 ms");
        assert_failed(2, "The handshake was not finished within 20 ms");
        close(peers[0]);
        close(peers[1]);
        finish();
    }
}

static void test_a_longer_time_is_for_new_ones_alone(void **state)
{
    int peers[2];
    (void)state;

    start(20, 4);
    peers[0] = add(1, "", 0);
    ax_handshakes_set_timeout(&set, 86400000);
    peers[1] = add(2, "", 0);
    uv_ref((uv_handle_t *)&set.timer);
    run_until_ended(1);
    assert_int_equal(results[2].outcome, PENDING);
    close(peers[0]);
    close(peers[1]);
    finish();
}

static void test_a_superblock_that_is_there_is_done_at_once(void **state)
{
    int peer;
    char rest = 0;
    (void)state;

    start(10000, 4);
    peer = add(1, plain, sizeof plain);
    assert_int_equal(results[1].outcome, DONE);
    /* Nothing beyond the superblock was read. */
    assert_int_equal(write(peer, "z", 1), 1);
    assert_int_equal(read(results[1].fd, &rest, 1), 1);
    assert_int_equal(rest, 'z');
    close(peer);
    close(results[1].fd);
    finish();
}

static void test_a_superblock_may_come_byte_by_byte(void **state)
{
    int peer;
    (void)state;

    start(10000, 4);
    peer = add(1, plain, 1);
    for (size_t i = 1; i < sizeof plain; i++) {
        assert_int_equal(results[1].outcome, PENDING);
        assert_int_equal(write(peer, plain + i, 1), 1);
        uv_run(&loop, UV_RUN_ONCE);
    }
    run_until_ended(1);
    assert_int_equal(results[1].outcome, DONE);
    close(peer);
    close(results[1].fd);
    finish();
}

static void test_a_premature_end_is_an_error(void **state)
{
    int peer;
    (void)state;

    start(10000, 4);
    peer = add(1, plain, 15);
    close(peer);
    run_until_ended(1);
    assert_failed(1, "Incomplete superblock");
    peer = add(2, "", 0); /* a port scan or health check */
    close(peer);
    run_until_ended(2);
    assert_failed(2, "(none)");
    finish();
}

static void test_a_wrong_magic_ends_it_as_soon_as_it_is_known(void **state)
{
    char byte;
    int peer;
    (void)state;

    start(10000, 4);
    peer = add(1, "GET ", 4);
    assert_failed(1, "Invalid magic: 0x47455420");
    assert_int_equal(read(peer, &byte, 1), 0);
    close(peer);
    finish();
}

static void test_a_wrong_version_is_answered_with_ours(void **state)
{
    unsigned char theirs[AX_SUPERBLOCK_SIZE] = {0xe3, 0x5b, 0x9e, 0x78, 0, 3, 1};
    unsigned char answer[AX_SUPERBLOCK_SIZE + 1];
    int peer;
    (void)state;

    start(10000, 4);
    peer = add(1, theirs, sizeof theirs);
    assert_failed(1, "Local across 0.2.0 is not compatible with remote 0.3.1");
    assert_int_equal(read(peer, answer, sizeof answer), AX_SUPERBLOCK_SIZE);
    assert_memory_equal(answer, plain, sizeof plain);
    close(peer);
    finish();
}

static void test_knows_whom_a_worker_can_serve(void **state)
{
    static const struct {
        unsigned char bytes[AX_SUPERBLOCK_SIZE];
        const char *reason;
    } cases[] = {
        {{0xe3, 0x5b, 0x9e, 0x78, 0, 1, 0}, NULL},
        {{0xe3, 0x5b, 0x9e, 0x78, 0, 1, 77}, NULL},
        {{0xe3, 0x5b, 0x9e, 0x78, 0, 2, 5, 9, 9, 9, 9, 9, 9, 9, 9, 9}, NULL},
        {{0xe3, 0x5b, 0x9e, 0x78, 0, 0, 9}, "Local across 0.2.0 is not compatible with remote 0.0.9"},
        {{0xe3, 0x5b, 0x9e, 0x78, 1, 2, 0}, "Local across 0.2.0 is not compatible with remote 1.2.0"},
        {{0xe5, 0x4e, 0x6d, 0x01, 0, 2, 0}, NULL},
        {{0xe5, 0x4e, 0x6d, 0x01, 0, 0, 1}, NULL},
        {{0xe5, 0x4e, 0x6d, 0x01, 0, 2, 1}, "At least across 0.2.1 is needed to bootstrap connection"},
        {{0xe5, 0x4e, 0x6d, 0x01, 255, 255, 255}, "At least across 255.255.255 is needed to bootstrap connection"},
        {{0}, "Invalid magic: 0x0"},
        {{0x16, 3, 1, 2}, "Invalid magic: 0x16030102; the peer speaks TLS, which --listen tls:HOST:PORT serves"},
    };
    char reason[AX_ERROR_TEXT_SIZE];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int code = ax_handshake_check(cases[i].bytes, AX_SUPERBLOCK_SIZE, reason, sizeof reason);

        assert_int_equal(code, cases[i].reason == NULL ? 0 : -1);
        if (cases[i].reason != NULL)
            assert_string_equal(reason, cases[i].reason);
        assert_int_equal(ax_handshake_check(cases[i].bytes, 3, reason, sizeof reason), 0);
    }
}

/* Single bytes do not extend the time: the limit is for the whole handshake. */
static void test_its_time_is_limited_as_a_whole(void **state)
{
    int peer;
    size_t sent = 1;
    (void)state;

    start(50, 4);
    peer = add(1, plain, 1);
    while (results[1].outcome == PENDING) {
        if (sent < 8) {
            assert_int_equal(write(peer, plain + sent, 1), 1);
            sent++;
        }
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_failed(1, "The handshake was not finished within 50 ms");
    close(peer);
    finish();
}

/* ---- TLS first ---- */

static struct fake_tls fake;
static int secured_code; /* error of on_secured(); 0: none */
static int relayed;      /* where the peer's bytes come from after it */

static int on_secured(struct ax_handshakes *handshakes, void *arg, int fd, struct ax_tls *tls)
{
    int pair[2];
    (void)arg;

    assert_ptr_equal(handshakes, &set);
    assert_ptr_equal(tls, &fake.base);
    tls->methods->free(tls);
    close(fd);
    if (secured_code < 0)
        return secured_code;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    relayed = pair[0];
    return pair[1];
}

static const unsigned char record[] = {22, 3, 1, 0, 3, 1, 2, 3}; /* of TLS, with three bytes of payload */

static struct ax_tls *on_tls(struct ax_handshakes *handshakes, void *arg, int fd, const void *first, size_t size)
{
    (void)arg;
    (void)fd;

    assert_ptr_equal(handshakes, &set);
    fake.is_free = false;
    fake.has_first = size > 0;
    if (fake.has_first) {
        assert_int_equal(size, sizeof record);
        assert_memory_equal(first, record, size);
    }
    return &fake.base;
}

/* Like add(), for a peer over TLS. */
static int add_tls(intptr_t number, const void *bytes, size_t size)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    if (size > 0)
        assert_int_equal(write(fds[0], bytes, size), size);
    fake_tls_init(&fake, fds[1]);
    fake.is_free = true; /* until it is created */
    set.make_tls = on_tls;
    set.secured = on_secured;
    ax_handshakes_add(&set, &sources[0][0], fds[1], true, false, (void *)number);
    return fds[0];
}

static void test_a_superblock_comes_from_elsewhere_after_tls(void **state)
{
    int peer;
    (void)state;

    secured_code = 0;
    relayed = -1;
    start(10000, 4);
    peer = add_tls(1, "", 0);
    assert_int_equal(write(peer, "T", 1), 1);
    while (relayed < 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(fake.is_free);
    assert_int_equal(results[1].outcome, PENDING);
    assert_int_equal(write(relayed, plain, sizeof plain), sizeof plain);
    run_until_ended(1);
    assert_int_equal(results[1].outcome, DONE);
    close(relayed);
    close(peer);
    close(results[1].fd);
    finish();
}

static void test_tls_begins_with_a_complete_record(void **state)
{
    int peer, other;
    char byte;
    (void)state;

    secured_code = 0;
    relayed = -1;
    start(10000, 4);
    peer = add_tls(1, record, 1);
    for (size_t i = 1; i < sizeof record; i++) {
        assert_true(fake.is_free);
        assert_int_equal(set.lanes[0].counts[AX_STAGE_BEGUN], 1);
        assert_int_equal(write(peer, record + i, 1), 1);
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(write(relayed, plain, sizeof plain), sizeof plain);
    run_until_ended(1);
    assert_int_equal(results[1].outcome, DONE);
    close(results[1].fd);
    close(relayed);
    close(peer);
    other = add_tls(2, record, sizeof record - 1);
    assert_int_equal(recv(fake.fd, &byte, 1, MSG_PEEK), -1); /* else it would be polled over and over */
    ax_handshakes_fail_all(&set, "enough");
    assert_failed(2, "enough");
    assert_true(fake.is_free);
    close(other);
    finish();
}

static void test_a_tls_that_fails_is_no_handshake(void **state)
{
    char byte;
    int peer;
    (void)state;

    start(10000, 4);
    peer = add_tls(1, "X and more", 10);
    assert_failed(1, "This is no TLS");
    assert_true(fake.is_free);
    assert_int_equal(read(peer, &byte, 1), 0); /* and no reset, although there were unread bytes */
    close(peer);
    peer = add_tls(2, "", 0);
    close(peer);
    run_until_ended(2);
    assert_failed(2, "(none)");
    secured_code = -EMFILE;
    peer = add_tls(3, "T", 1);
    assert_failed(3, "too many open files");
    close(peer);
    finish();
}

static void test_tls_counts_in_the_time_and_the_number(void **state)
{
    int peers[3];
    (void)state;

    start(50, 1);
    peers[0] = add_tls(1, "", 0);
    peers[1] = add(2, "", 0);
    assert_failed(1, "Too many peers are in their handshake");
    peers[2] = add_tls(3, "", 0);
    run_until_ended(3);
    assert_failed(3, "The handshake was not finished within 50 ms");
    assert_true(fake.is_free);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
    finish();
}

static void test_many_dribbling_peers_do_not_keep_an_honest_one_out(void **state)
{
    int peers[MANY], honest;
    (void)state;

    start(0, 16);
    for (intptr_t i = 0; i < MANY; i++) {
        peers[i] = add(i, plain, 3);
        assert_true(set.count <= 16);
    }
    assert_failed(0, "Too many peers are in their handshake");
    assert_failed(MANY - 17, "Too many peers are in their handshake");
    assert_int_equal(results[MANY - 16].outcome, PENDING);
    honest = add(MANY, plain, 10);
    assert_int_equal(write(honest, plain + 10, 6), 6);
    run_until_ended(MANY);
    assert_int_equal(results[MANY].outcome, DONE);
    for (int i = 0; i < MANY; i++)
        close(peers[i]);
    close(honest);
    close(results[MANY].fd);
    finish();
    assert_int_equal(set.count, 0);
}

/* ---- with a secret ---- */

static struct ax_secret secret = {.size = 16, .bytes = "0123456789abcdef"};

static int add_unproved(intptr_t number, const void *bytes, size_t size)
{
    char error[AX_ERROR_TEXT_SIZE];

    secret.crypto = ax_crypto_load(error, sizeof error);
    assert_non_null(secret.crypto);
    set.secret = &secret;
    return add_any(number, true, bytes, size);
}

static void read_message(int peer, unsigned char message[AX_EXCHANGE_SIZE])
{
    while (read(peer, message, AX_EXCHANGE_SIZE) < 0)
        uv_run(&loop, UV_RUN_ONCE);
}

/* Adds one that has sent HELLO. */
static int add_challenged(intptr_t number, struct ax_nonces *nonces)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    int peer;

    memset(nonces->client, 3, sizeof nonces->client);
    ax_exchange_put(message, AX_EXCHANGE_HELLO, nonces->client);
    peer = add_unproved(number, message, sizeof message);
    read_message(peer, message);
    assert_non_null(ax_exchange_get(message, AX_EXCHANGE_CHALLENGE));
    memcpy(nonces->server, ax_exchange_get(message, AX_EXCHANGE_CHALLENGE), sizeof nonces->server);
    return peer;
}

static void make_proof(unsigned char message[AX_EXCHANGE_SIZE], const struct ax_nonces *nonces)
{
    unsigned char proof[AX_PROOF_SIZE];

    assert_int_equal(ax_secret_prove(&secret, AX_PROVER_CLIENT, nonces, proof), 0);
    ax_exchange_put(message, AX_EXCHANGE_PROOF, proof);
}

static void test_a_proof_comes_before_the_superblock(void **state)
{
    unsigned char bytes[AX_EXCHANGE_SIZE + AX_SUPERBLOCK_SIZE];
    struct ax_nonces nonces;
    int peer;
    (void)state;

    start(10000, 4);
    peer = add_challenged(1, &nonces);
    make_proof(bytes, &nonces);
    memcpy(bytes + AX_EXCHANGE_SIZE, plain, sizeof plain);
    for (size_t i = 0; i < sizeof bytes; i++) { /* byte by byte: the boundary between messages is known */
        assert_int_equal(results[1].outcome, PENDING);
        assert_int_equal(write(peer, bytes + i, 1), 1);
        uv_run(&loop, UV_RUN_ONCE);
    }
    run_until_ended(1);
    assert_int_equal(results[1].outcome, DONE);
    read_message(peer, bytes);
    assert_true(ax_secret_is_proof(&secret, AX_PROVER_SERVER, &nonces, ax_exchange_get(bytes, AX_EXCHANGE_ANSWER)));
    close(peer);
    close(results[1].fd);
    finish();
}

static void test_a_wrong_proof_is_told_so(void **state)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    struct ax_nonces nonces;
    int peer;
    (void)state;

    start(10000, 4);
    peer = add_challenged(1, &nonces);
    make_proof(message, &nonces);
    message[AX_EXCHANGE_SIZE - 1] ^= 1;
    assert_int_equal(write(peer, message, sizeof message), sizeof message);
    run_until_ended(1);
    assert_failed(1, "The peer has another secret");
    read_message(peer, message);
    assert_non_null(ax_exchange_get(message, AX_EXCHANGE_REFUSAL));
    assert_int_equal(read(peer, message, 1), 0);
    close(peer);
    finish();
}

#define NEEDED "The server demands a shared secret: connect with its secret_file"

static void test_a_peer_without_a_secret_is_told_in_its_own_way(void **state)
{
    static const unsigned char ours[AX_SUPERBLOCK_SIZE] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0, 1, 0, 0, 0, 1};
    char answer[256] = "";
    int peer;
    (void)state;

    start(10000, 4);
    peer = add_unproved(1, plain, sizeof plain);
    assert_failed(1, NEEDED);
    assert_int_equal(read(peer, answer, sizeof answer), AX_EXCHANGE_SIZE);
    assert_non_null(ax_exchange_get((unsigned char *)answer, AX_EXCHANGE_REFUSAL));
    close(peer);
    peer = add_unproved(2, ours, sizeof ours);
    assert_failed(2, NEEDED);
    assert_true(read(peer, answer, sizeof answer) > AX_SUPERBLOCK_SIZE);
    assert_memory_equal(answer, ours, 4);
    assert_non_null(memmem(answer, sizeof answer, NEEDED, strlen(NEEDED)));
    close(peer);
    peer = add_unproved(3, "GET ", 4);
    assert_failed(3, "Invalid magic: 0x47455420");
    close(peer);
    finish();
}

static void test_a_peer_with_a_secret_sees_that_nobody_asked_for_it(void **state)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    unsigned char answer[AX_EXCHANGE_SIZE];
    int peer;
    (void)state;

    start(10000, 4);
    ax_exchange_put(message, AX_EXCHANGE_HELLO, NULL);
    peer = add(1, message, sizeof message);
    assert_failed(1, "The peer has a shared secret, and this server demands none");
    assert_int_equal(read(peer, answer, sizeof answer), AX_SUPERBLOCK_SIZE);
    assert_memory_equal(answer, plain, sizeof plain);
    close(peer);
    finish();
}

static void test_an_exchange_that_breaks_off_is_an_error(void **state)
{
    struct ax_nonces nonces;
    int peer;
    (void)state;

    start(10000, 4);
    peer = add_challenged(1, &nonces);
    close(peer);
    run_until_ended(1);
    assert_failed(1, "Incomplete proof of the secret");
    peer = add_unproved(2, "\x5e\xc2\xe7", 3);
    close(peer);
    run_until_ended(2);
    assert_failed(2, "Incomplete proof of the secret");
    peer = add_unproved(3, "", 0);
    close(peer);
    run_until_ended(3);
    assert_failed(3, "(none)");
    finish();
}

static void test_an_exchange_has_no_time_of_its_own(void **state)
{
    struct ax_nonces nonces;
    int peer;
    (void)state;

    start(50, 4);
    peer = add_challenged(1, &nonces);
    run_until_ended(1);
    assert_failed(1, "The handshake was not finished within 50 ms");
    close(peer);
    finish();
}

/* ---- eviction ---- */

/* Peers by number, from 1: '.' is pending, 'x' was evicted, '+' is done. */
static void check_outcomes(const char *expected)
{
    char got[MANY] = "";

    for (size_t i = 0; i < strlen(expected); i++)
        got[i] = ".+x"[results[i + 1].outcome];
    assert_string_equal(got, expected);
}

static int peers[MANY];

/* Peers that send this many bytes each. */
static void add_some(struct ax_origin *source, int from, int to, size_t size)
{
    for (int i = from; i <= to; i++)
        peers[i] = add_from(source, i, false, plain, size);
}

static void close_some(int from, int to)
{
    for (int i = from; i <= to; i++)
        close(peers[i]);
    finish();
}

static void test_the_silent_go_before_those_who_have_begun(void **state)
{
    (void)state;
    start(10000, 4);
    add_some(&sources[0][0], 1, 1, 5);
    add_some(&sources[0][0], 2, 3, 0);
    add_some(&sources[0][0], 4, 4, 1);
    check_outcomes("....");
    add_some(&sources[0][0], 5, 6, 0);
    check_outcomes(".xx...");
    add_some(&sources[0][0], 7, 9, 3);
    check_outcomes("xxx.xx...");
    close_some(1, 9);
}

/* New connections get time to send something, even if all others have done more. */
static void test_newcomers_are_not_displaced_by_half_messages(void **state)
{
    (void)state;
    start(10000, 16);
    add_some(&sources[0][0], 1, 16, 5);
    add_some(&sources[0][0], 17, 17, 0);
    add_some(&sources[0][0], 18, 31, 5);
    assert_int_equal(results[17].outcome, PENDING);
    add_some(&sources[0][0], 32, 34, 0); /* but of more than two, the oldest is evicted */
    assert_int_equal(results[17].outcome, FAILED);
    close_some(1, 34);
}

/* One that has got a challenge is at a later stage than one that has sent half a message. */
static void test_those_who_have_an_answer_go_later(void **state)
{
    unsigned char hello[AX_EXCHANGE_SIZE];
    (void)state;

    start(10000, 3);
    ax_exchange_put(hello, AX_EXCHANGE_HELLO, NULL);
    peers[1] = add_any(1, true, hello, sizeof hello);
    for (int i = 2; i <= 9; i++)
        peers[i] = add_any(i, true, hello, sizeof hello / 2);
    check_outcomes(".xxxxxx..");
    close_some(1, 9);
}

/* A flood from one source affects only that source while there is capacity. */
static void test_a_source_has_its_limit(void **state)
{
    (void)state;
    start_limited(10000, 8, 2);
    add_some(&sources[0][0], 1, 4, 0);
    check_outcomes("xx..");
    add_some(&sources[0][1], 5, 6, 0);
    add_some(&sources[0][0], 7, 20, 0);
    check_outcomes("xxxx..xxxxxxxxxxxx..");
    assert_int_equal(sources[0][0].handshakes, 2);
    close_some(1, 20);
}

/* When the total limit is reached, the source with the most handshakes loses one. */
static void test_the_largest_source_loses_one(void **state)
{
    (void)state;
    start(10000, 6);
    add_some(&sources[0][0], 1, 1, 0);
    add_some(&sources[0][1], 2, 6, 0);
    add_some(&sources[0][2], 7, 7, 0);
    check_outcomes(".x.....");
    add_some(&sources[0][3], 8, 9, 0);
    check_outcomes(".xxx.....");
    close_some(1, 9);
}

/* A listening socket's reserved places are not available to others, however many they are and at whatever stage. */
static void test_a_flood_of_one_lane_leaves_others_their_places(void **state)
{
    (void)state;
    start(10000, 12); /* two reserved for each lane, and six shared */
    add_some(&sources[2][0], 1, 2, 0);
    add_some(&sources[0][0], 3, 40, 5);
    add_some(&sources[1][0], 41, 80, 5);
    assert_int_equal(results[1].outcome, PENDING);
    assert_int_equal(results[2].outcome, PENDING);
    assert_int_equal(set.count, 12);
    assert_true(set.lanes[0].count >= 2);
    add_some(&sources[2][0], 81, 81, 0);
    assert_int_equal(results[1].outcome, PENDING);
    assert_int_equal(results[81].outcome, PENDING);
    assert_int_equal(set.lanes[2].count, 3);
    close_some(1, 81);
}

static void test_one_that_has_spoken_meanwhile_is_not_crowded_out(void **state)
{
    (void)state;
    start(10000, 2);
    add_some(&sources[0][0], 1, 2, 0);
    assert_int_equal(write(peers[1], plain, 7), 7);
    add_some(&sources[0][0], 3, 3, 0);
    check_outcomes(".x.");
    assert_int_equal(write(peers[3], plain, sizeof plain), sizeof plain);
    add_some(&sources[0][0], 4, 4, 0);
    check_outcomes(".x+.");
    close(results[3].fd);
    close_some(1, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_superblock_that_is_there_is_done_at_once),
        cmocka_unit_test(test_a_shorter_time_is_for_those_too_who_have_begun),
        cmocka_unit_test(test_a_longer_time_is_for_new_ones_alone),
        cmocka_unit_test(test_a_superblock_may_come_byte_by_byte),
        cmocka_unit_test(test_a_premature_end_is_an_error),
        cmocka_unit_test(test_a_wrong_magic_ends_it_as_soon_as_it_is_known),
        cmocka_unit_test(test_a_wrong_version_is_answered_with_ours),
        cmocka_unit_test(test_knows_whom_a_worker_can_serve),
        cmocka_unit_test(test_its_time_is_limited_as_a_whole),
        cmocka_unit_test(test_the_silent_go_before_those_who_have_begun),
        cmocka_unit_test(test_newcomers_are_not_displaced_by_half_messages),
        cmocka_unit_test(test_those_who_have_an_answer_go_later),
        cmocka_unit_test(test_a_source_has_its_limit),
        cmocka_unit_test(test_the_largest_source_loses_one),
        cmocka_unit_test(test_a_flood_of_one_lane_leaves_others_their_places),
        cmocka_unit_test(test_one_that_has_spoken_meanwhile_is_not_crowded_out),
        cmocka_unit_test(test_a_superblock_comes_from_elsewhere_after_tls),
        cmocka_unit_test(test_tls_begins_with_a_complete_record),
        cmocka_unit_test(test_a_tls_that_fails_is_no_handshake),
        cmocka_unit_test(test_tls_counts_in_the_time_and_the_number),
        cmocka_unit_test(test_many_dribbling_peers_do_not_keep_an_honest_one_out),
        cmocka_unit_test(test_a_proof_comes_before_the_superblock),
        cmocka_unit_test(test_a_wrong_proof_is_told_so),
        cmocka_unit_test(test_a_peer_without_a_secret_is_told_in_its_own_way),
        cmocka_unit_test(test_a_peer_with_a_secret_sees_that_nobody_asked_for_it),
        cmocka_unit_test(test_an_exchange_that_breaks_off_is_an_error),
        cmocka_unit_test(test_an_exchange_has_no_time_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
