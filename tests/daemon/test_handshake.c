/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/handshake.h"
#include "daemon/sentence.h"

static const unsigned char plain[AX_SUPERBLOCK_SIZE] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0};

/* How each handshake ended, by the number that was its `arg`. */
enum outcome { PENDING, DONE, FAILED };
enum { MANY = 300 };

static struct {
    enum outcome outcome;
    char reason[AX_SENTENCE_SIZE];
    int fd;
} results[MANY + 10];

static uv_loop_t loop;
static struct ax_handshakes set;

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

static void start(uint32_t timeout_ms, size_t limit)
{
    memset(results, 0, sizeof results);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_handshakes_init(&set, &loop, timeout_ms, limit, on_done, on_failed), 0);
}

static void finish(void)
{
    ax_handshakes_fail_all(&set, "over");
    ax_handshakes_fini(&set);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Adds a handshake; returns the peer's end, with `size` bytes sent already. */
static int add(intptr_t number, const void *bytes, size_t size)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    if (size > 0)
        assert_int_equal(write(fds[0], bytes, size), size);
    ax_handshakes_add(&set, fds[1], (void *)number);
    return fds[0];
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

static void test_a_superblock_that_is_there_is_done_at_once(void **state)
{
    int peer;
    char rest = 0;
    (void)state;

    start(10000, 4);
    peer = add(1, plain, sizeof plain);
    assert_int_equal(results[1].outcome, DONE);
    /* Not a byte more was read than the superblock has. */
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
    peer = add(2, "", 0); /* somebody only looked whether we are there */
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
    };
    char reason[AX_SENTENCE_SIZE];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int code = ax_handshake_check(cases[i].bytes, AX_SUPERBLOCK_SIZE, reason, sizeof reason);

        assert_int_equal(code, cases[i].reason == NULL ? 0 : -1);
        if (cases[i].reason != NULL)
            assert_string_equal(reason, cases[i].reason);
        assert_int_equal(ax_handshake_check(cases[i].bytes, 3, reason, sizeof reason), 0);
    }
}

/* A byte now and then does not prolong the time: the limit is for the whole. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_superblock_that_is_there_is_done_at_once),
        cmocka_unit_test(test_a_superblock_may_come_byte_by_byte),
        cmocka_unit_test(test_a_premature_end_is_an_error),
        cmocka_unit_test(test_a_wrong_magic_ends_it_as_soon_as_it_is_known),
        cmocka_unit_test(test_a_wrong_version_is_answered_with_ours),
        cmocka_unit_test(test_knows_whom_a_worker_can_serve),
        cmocka_unit_test(test_its_time_is_limited_as_a_whole),
        cmocka_unit_test(test_many_dribbling_peers_do_not_keep_an_honest_one_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
