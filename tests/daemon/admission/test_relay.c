/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/relay.h"
#include "fake_tls.h"

#define MEGABYTE 1048576

static uv_loop_t loop;
static struct ax_relays relays;
static uint64_t gone_id; /* of the relay whose peer has hung up; 0: none */
static int ended_count;

/* A relay between two sockets. */
static struct fake_tls fake;
static int peer;  /* the client's end */
static int other; /* the worker's end */

static void on_gone(struct ax_relays *all, uint64_t id)
{
    assert_ptr_equal(all, &relays);
    gone_id = id;
}

static void on_ended(struct ax_relays *all)
{
    assert_ptr_equal(all, &relays);
    ended_count++;
}

static int start(void **state)
{
    int pair[2];
    (void)state;

    gone_id = 0;
    ended_count = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_relays_init(&relays, &loop, on_gone, on_ended, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    peer = pair[0];
    fake_tls_init(&fake, pair[1]);
    other = ax_relay_start(&relays, pair[1], &fake.base, 7);
    assert_true(other >= 0);
    assert_int_equal(relays.count, 1);
    return 0;
}

static void run_until_ended(void)
{
    while (ended_count == 0)
        uv_run(&loop, UV_RUN_ONCE);
}

static int finish(void **state)
{
    (void)state;
    if (peer >= 0)
        close(peer);
    if (other >= 0)
        close(other);
    run_until_ended();
    assert_int_equal(relays.count, 0);
    assert_true(fake.is_free);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    ax_relays_free_memory(&relays);
    return 0;
}

/* Until nothing more happens by itself. Handles that were started take effect when the loop runs again. */
static void run_while_busy(void)
{
    struct pollfd events = {.fd = uv_backend_fd(&loop), .events = POLLIN};

    do {
        uv_run(&loop, UV_RUN_NOWAIT);
        uv_run(&loop, UV_RUN_NOWAIT);
    } while (poll(&events, 1, 0) > 0);
}

static unsigned char byte_at(size_t position)
{
    return (unsigned char)(position * 7 + position / 251);
}

/* Writes bytes from a position on until the socket takes no more, or up to `limit`. Returns the new position. */
static size_t fill(int fd, size_t position, size_t limit)
{
    unsigned char bytes[5000];

    for (;;) {
        size_t size = limit - position < sizeof bytes ? limit - position : sizeof bytes;
        ssize_t sent;

        for (size_t i = 0; i < size; i++)
            bytes[i] = byte_at(position + i);
        sent = size > 0 ? send(fd, bytes, size, MSG_NOSIGNAL) : 0;
        if (sent <= 0)
            return position;
        position += (size_t)sent;
    }
}

/* Reads and checks bytes from a position on until there are none. Returns the new position; *ended: at the end. */
static size_t drain(int fd, size_t position, bool *ended)
{
    unsigned char bytes[7000];
    ssize_t got;

    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0)
        for (ssize_t i = 0; i < got; i++)
            assert_int_equal(bytes[i], byte_at(position++));
    *ended = got == 0;
    return position;
}

/* Moves this many bytes from one end to the other, while the loop runs. */
static void carry(int from, int to, size_t size)
{
    size_t sent = 0, received = 0;
    bool ended;

    while (received < size) {
        sent = fill(from, sent, size);
        uv_run(&loop, UV_RUN_NOWAIT);
        received = drain(to, received, &ended);
        assert_false(ended);
    }
}

static void test_bytes_travel_both_ways(void **state)
{
    (void)state;
    carry(peer, other, 3 * MEGABYTE + 1);
    carry(other, peer, 3 * MEGABYTE + 1);
    carry(peer, other, 1);
}

/* Fills a relay until nothing moves; then everything arrives once it is read. */
static void check_back_pressure(int from, int to)
{
    size_t sent = 0, before, received = 0;
    bool ended;

    do {
        before = sent;
        sent = fill(from, sent, 100 * (size_t)MEGABYTE);
        run_while_busy();
    } while (sent > before);
    assert_true(sent < 4 * (size_t)MEGABYTE); /* the sockets' buffers, and a chunk */
    while (received < sent) {
        received = drain(to, received, &ended);
        run_while_busy();
    }
    assert_int_equal(received, sent);
}

static void test_a_worker_that_does_not_read_makes_the_peer_wait(void **state)
{
    (void)state;
    check_back_pressure(peer, other);
    carry(peer, other, MEGABYTE);
}

static void test_a_peer_that_does_not_read_makes_the_worker_wait(void **state)
{
    (void)state;
    check_back_pressure(other, peer);
    carry(other, peer, MEGABYTE);
}

static void test_one_direction_that_is_full_does_not_hold_up_the_other(void **state)
{
    (void)state;
    fill(peer, 0, 100 * (size_t)MEGABYTE);
    run_while_busy();
    carry(other, peer, MEGABYTE);
}

/* Reads to the end of a stream of this size. */
static void read_to_end(int fd, size_t size)
{
    size_t received = 0;
    bool ended = false;

    while (!ended) {
        received = drain(fd, received, &ended);
        if (!ended)
            assert_int_equal(errno, EAGAIN);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(received, size);
}

static void test_the_end_of_the_peers_stream_comes_behind_its_last_byte(void **state)
{
    size_t sent;
    (void)state;

    sent = fill(peer, 0, MEGABYTE);
    shutdown(peer, SHUT_WR);
    read_to_end(other, sent);
    assert_int_equal(ended_count, 0);
    carry(other, peer, MEGABYTE); /* and the other direction continues */
}

static void test_the_end_of_the_workers_stream_comes_behind_its_last_byte(void **state)
{
    size_t sent;
    (void)state;

    sent = fill(other, 0, MEGABYTE);
    close(other);
    other = -1;
    read_to_end(peer, sent);
    assert_true(fake.has_ended);
    assert_int_equal(ended_count, 0); /* the peer has not closed yet */
}

static void test_a_peer_that_is_gone_is_told_behind_bytes_that_nobody_reads(void **state)
{
    (void)state;
    fill(peer, 0, 100 * (size_t)MEGABYTE);
    run_while_busy();
    fill(peer, 0, 100 * (size_t)MEGABYTE);
    run_while_busy();
    assert_int_equal(gone_id, 0);
    close(peer);
    peer = -1;
    run_while_busy();
    assert_int_equal(gone_id, 7);
}

static void test_a_worker_that_is_gone_lets_the_peer_finish(void **state)
{
    size_t position = 0;
    char byte;
    (void)state;

    assert_int_equal(write(other, "bye", 3), 3);
    close(other);
    other = -1;
    while (position < 100 * (size_t)MEGABYTE) { /* far more than the buffers hold: it is read and discarded */
        position = fill(peer, position, 100 * (size_t)MEGABYTE);
        run_while_busy();
    }
    assert_int_equal(read(peer, &byte, 1), 1);
    assert_int_equal(byte, 'b');
    assert_int_equal(ended_count, 0);
    shutdown(peer, SHUT_WR);
    run_while_busy();
    assert_int_equal(ended_count, 1);
}

/* The kernel reports ECONNRESET then, after the last byte. */
static void test_a_worker_that_is_gone_with_bytes_unread_has_said_what_it_said(void **state)
{
    char bytes[8];
    (void)state;

    assert_int_equal(write(peer, "unread", 6), 6);
    run_while_busy();
    assert_int_equal(write(other, "last", 4), 4);
    close(other);
    other = -1;
    run_while_busy();
    assert_int_equal(read(peer, bytes, sizeof bytes), 4);
    assert_memory_equal(bytes, "last", 4);
    assert_int_equal(read(peer, bytes, sizeof bytes), 0);
}

static void test_a_peer_that_takes_nothing_does_not_stay_for_ever(void **state)
{
    (void)state;
    fill(other, 0, 100 * (size_t)MEGABYTE);
    run_while_busy();
    fill(other, 0, 100 * (size_t)MEGABYTE);
    close(other);
    other = -1;
    run_while_busy();
    assert_int_equal(ended_count, 0);
    ax_relays_hurry(&relays);
    run_until_ended();
}

static void test_what_breaks_ends_both_streams(void **state)
{
    char byte;
    (void)state;

    fake.is_broken = true;
    assert_int_equal(write(peer, "x", 1), 1);
    run_until_ended();
    assert_int_equal(read(other, &byte, 1), 0);
    assert_int_equal(read(peer, &byte, 1), -1); /* reset, since it sent what nobody has read */
    assert_int_equal(errno, ECONNRESET);
}

static void test_a_peer_that_cannot_be_told_is_still_heard(void **state)
{
    char bytes[8];
    (void)state;

    fake.cannot_write = true;
    assert_int_equal(write(other, "x", 1), 1);
    run_while_busy();
    assert_int_equal(send(other, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(write(peer, "bye", 3), 3);
    shutdown(peer, SHUT_WR);
    run_until_ended();
    assert_int_equal(read(other, bytes, sizeof bytes), 3);
    assert_int_equal(read(other, bytes, sizeof bytes), 0);
}

/* The worker may take its time to read the peer's last bytes: the linger timer starts only when it is gone. */
static void test_a_peer_that_cannot_be_told_does_not_hurry_the_worker(void **state)
{
    (void)state;
    fake.cannot_write = true;
    assert_int_equal(write(other, "x", 1), 1);
    run_while_busy();
    assert_int_equal(uv_backend_timeout(&loop), -1); /* no timer is running */
    assert_int_equal(write(peer, "more", 4), 4);
    run_while_busy();
    assert_int_equal(uv_backend_timeout(&loop), -1);
    close(other);
    other = -1;
    run_while_busy();
    assert_true(ended_count > 0 || uv_backend_timeout(&loop) > 0);
    ax_relays_hurry(&relays);
}

static void test_what_was_there_before_is_not_forgotten(void **state)
{
    struct fake_tls early;
    int pair[2];
    char bytes[8];
    int second;
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(write(pair[0], "early", 5), 5);
    close(pair[0]);
    fake_tls_init(&early, pair[1]);
    second = ax_relay_start(&relays, pair[1], &early.base, 8);
    assert_true(second >= 0);
    run_while_busy();
    assert_int_equal(read(second, bytes, sizeof bytes), 5);
    assert_int_equal(read(second, bytes, sizeof bytes), 0);
    close(second);
    run_until_ended();
    assert_int_equal(relays.count, 1);
    ended_count = 0;
}

#define RELAY_TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELAY_TEST(test_bytes_travel_both_ways),
        RELAY_TEST(test_a_worker_that_does_not_read_makes_the_peer_wait),
        RELAY_TEST(test_a_peer_that_does_not_read_makes_the_worker_wait),
        RELAY_TEST(test_one_direction_that_is_full_does_not_hold_up_the_other),
        RELAY_TEST(test_the_end_of_the_peers_stream_comes_behind_its_last_byte),
        RELAY_TEST(test_the_end_of_the_workers_stream_comes_behind_its_last_byte),
        RELAY_TEST(test_a_peer_that_is_gone_is_told_behind_bytes_that_nobody_reads),
        RELAY_TEST(test_a_worker_that_is_gone_lets_the_peer_finish),
        RELAY_TEST(test_a_worker_that_is_gone_with_bytes_unread_has_said_what_it_said),
        RELAY_TEST(test_a_peer_that_takes_nothing_does_not_stay_for_ever),
        RELAY_TEST(test_what_breaks_ends_both_streams),
        RELAY_TEST(test_a_peer_that_cannot_be_told_is_still_heard),
        RELAY_TEST(test_a_peer_that_cannot_be_told_does_not_hurry_the_worker),
        RELAY_TEST(test_what_was_there_before_is_not_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
