/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/socket.h>
#include <unistd.h>

#include "daemon/status/reply.h"

enum { LARGE = 4 << 20 }; /* bytes: more than a socket takes at once */

static uv_loop_t loop;
static struct ax_replies replies;

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    replies = (struct ax_replies){.loop = &loop};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_replies_end(&replies);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* The client's end of a reply of this many bytes. */
static int answer(size_t size)
{
    char *text = malloc(size);
    int fds[2];

    assert_non_null(text);
    memset(text, 'x', size);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    ax_reply_send(&replies, fds[0], text, size);
    return fds[1];
}

/* Reads to the end, while the loop runs. */
static size_t read_all(int fd)
{
    static char bytes[65536];
    size_t size = 0;
    ssize_t got;

    while ((got = read(fd, bytes, sizeof bytes)) != 0) {
        if (got > 0)
            size += (size_t)got;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    close(fd);
    return size;
}

static void test_what_a_socket_takes_needs_no_place(void **state)
{
    int fd = answer(100);
    (void)state;

    assert_int_equal(replies.count, 0);
    assert_int_equal(read_all(fd), 100);
}

static void test_a_long_answer_is_sent_as_it_is_read(void **state)
{
    int fd = answer(LARGE);
    (void)state;

    assert_int_equal(replies.count, 1);
    assert_int_equal(read_all(fd), LARGE);
    assert_int_equal(replies.count, 0);
}

static void test_those_who_do_not_read_keep_no_answer_from_others(void **state)
{
    int idle[AX_REPLIES_MAX];
    int fd;
    (void)state;

    for (unsigned i = 0; i < AX_REPLIES_MAX; i++)
        idle[i] = answer(LARGE);
    assert_int_equal(replies.count, AX_REPLIES_MAX);
    fd = answer(100);
    assert_int_equal(read_all(fd), 100);
    assert_int_equal(replies.count, AX_REPLIES_MAX); /* none was dropped for it */
    fd = answer(LARGE);
    assert_int_equal(replies.count, AX_REPLIES_MAX);
    assert_int_equal(read_all(fd), LARGE);
    assert_true(read_all(idle[0]) < LARGE); /* the oldest was dropped */
    for (unsigned i = 1; i < AX_REPLIES_MAX; i++)
        assert_int_equal(read_all(idle[i]), LARGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_a_socket_takes_needs_no_place),
        TEST(test_a_long_answer_is_sent_as_it_is_read),
        TEST(test_those_who_do_not_read_keep_no_answer_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
