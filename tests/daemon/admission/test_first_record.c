/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/first_record.h"

static struct ax_first_record record;
static int peer, fd;

static int set_up(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    peer = fds[0];
    fd = fds[1];
    return 0;
}

static int tear_down(void **state)
{
    (void)state;

    ax_first_record_fini(&record);
    close(peer);
    close(fd);
    return 0;
}

static void say(const void *bytes, size_t size)
{
    assert_int_equal(send(peer, bytes, size, MSG_NOSIGNAL), size);
}

static size_t count_unread(void)
{
    char bytes[256];
    ssize_t size = recv(fd, bytes, sizeof bytes, 0);

    return size < 0 ? 0 : (size_t)size;
}

static void test_reads_one_record_and_nothing_behind_it(void **state)
{
    static const unsigned char bytes[] = {22, 3, 1, 0, 4, 'a', 'b', 'c', 'd', 'e', 'f'};
    (void)state;

    say(bytes, sizeof bytes);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY);
    assert_int_equal(record.size, 9);
    assert_memory_equal(record.bytes, bytes, 9);
    assert_int_equal(count_unread(), 2);
}

static void test_reads_it_in_pieces(void **state)
{
    static const unsigned char bytes[] = {22, 3, 3, 0, 2, 'a', 'b'};
    (void)state;

    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_WANTS_READ);
        assert_int_equal(record.size, i);
        say(bytes + i, 1);
    }
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY);
    assert_memory_equal(record.bytes, bytes, sizeof bytes);
}

static void test_reads_the_largest_record(void **state)
{
    static unsigned char bytes[AX_FIRST_RECORD_MAX + 1] = {22, 3, 1, 0x40, 0};
    (void)state;

    say(bytes, 1000);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_WANTS_READ);
    say(bytes + 1000, sizeof bytes - 1000);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY);
    assert_int_equal(record.size, AX_FIRST_RECORD_MAX);
    assert_int_equal(count_unread(), 1);
}

static void test_what_is_no_tls_stays_in_the_socket(void **state)
{
    static const char *const bytes[] = {"G",        "GET / HTTP/1.1",       "\xe3\x5b\x9e\x78",
                                        "\x16\x02", "\x16\x03\x01\x40\x01", "\x16\x03\x01\xff\xff and more"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(bytes); i++) {
        say(bytes[i], strlen(bytes[i]));
        assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY);
        assert_int_equal(record.size, 0);
        assert_int_equal(count_unread(), strlen(bytes[i]));
    }
}

/* What turns out to be no TLS later has been read in part. */
static void test_a_length_that_is_wrong_ends_the_wait(void **state)
{
    static const unsigned char bytes[] = {22, 3, 1, 0x40, 1, 'a'};
    (void)state;

    say(bytes, 4);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_WANTS_READ);
    say(bytes + 4, 2);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY);
    assert_int_equal(record.size, 5);
    assert_int_equal(count_unread(), 1);
}

static void test_an_empty_record_is_no_client_hello(void **state)
{
    (void)state;

    say("\x16\x03\x01\0\0", 5);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY);
}

static void test_tells_an_end_from_an_end_in_between(void **state)
{
    (void)state;

    shutdown(peer, SHUT_WR);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_NOTHING);
    tear_down(state);
    set_up(state);
    say("\x16\x03", 2);
    shutdown(peer, SHUT_WR);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_WANTS_READ);
    assert_int_equal(ax_first_record_read(&record, fd), AX_FIRST_RECORD_READY); /* the end is readable, too */
    assert_int_equal(record.size, 2);
}

static void test_tells_why_it_failed(void **state)
{
    (void)state;

    assert_int_equal(ax_first_record_read(&record, -1), AX_FIRST_RECORD_FAILED);
    assert_int_equal(errno, EBADF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_reads_one_record_and_nothing_behind_it),
        TEST(test_reads_it_in_pieces),
        TEST(test_reads_the_largest_record),
        TEST(test_what_is_no_tls_stays_in_the_socket),
        TEST(test_a_length_that_is_wrong_ends_the_wait),
        TEST(test_an_empty_record_is_no_client_hello),
        TEST(test_tells_an_end_from_an_end_in_between),
        TEST(test_tells_why_it_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
