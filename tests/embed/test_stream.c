/* SPDX-License-Identifier: MIT */
#include "tests/embed/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "embed/stream.h"

struct streams {
    struct ax_stream here;
    int there_in, there_out; /* what the other side reads from and writes to */
};

static int set_up_socket(void **state)
{
    struct streams *streams = malloc(sizeof *streams);
    int fds[2];

    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    streams->there_in = streams->there_out = fds[1];
    *state = streams;
    return ax_stream_init(&streams->here, fds[0], fds[0]);
}

static int set_up_pipes(void **state)
{
    struct streams *streams = malloc(sizeof *streams);
    int in[2], out[2];

    assert_int_equal(pipe(in) | pipe(out), 0);
    streams->there_in = out[0];
    streams->there_out = in[1];
    *state = streams;
    return ax_stream_init(&streams->here, in[0], out[1]);
}

static int tear_down(void **state)
{
    struct streams *streams = *state;

    ax_stream_close(&streams->here);
    close(streams->there_in);
    if (streams->there_out != streams->there_in)
        close(streams->there_out);
    free(streams);
    return 0;
}

static void moves_bytes_both_ways(void **state)
{
    struct streams *streams = *state;
    char first[2], rest[8];
    struct iovec to[2] = {{first, sizeof first}, {rest, sizeof rest}};
    const struct ax_slice slices[2] = {{"ab", 2}, {"cde", 3}};

    assert_int_equal(write(streams->there_out, "vwxyz", 5), 5);
    assert_int_equal(ax_stream_read(&streams->here, to, 2), 5);
    assert_memory_equal(first, "vw", 2);
    assert_memory_equal(rest, "xyz", 3);
    assert_int_equal(ax_stream_write(&streams->here, slices, 2), 5);
    assert_int_equal(read(streams->there_in, rest, sizeof rest), 5);
    assert_memory_equal(rest, "abcde", 5);
}

static void never_blocks(void **state)
{
    struct streams *streams = *state;
    static const char block[65536];
    struct iovec to = {(char[1]){0}, 1};
    const struct ax_slice slice = {block, sizeof block};
    ssize_t size;

    assert_int_equal(ax_stream_read(&streams->here, &to, 1), -EAGAIN);
    while ((size = ax_stream_write(&streams->here, &slice, 1)) > 0)
        ;
    assert_int_equal(size, -EAGAIN);
}

static void tells_the_end_from_an_error(void **state)
{
    struct streams *streams = *state;
    struct iovec to = {(char[1]){0}, 1};
    const struct ax_slice slice = {"x", 1};

    signal(SIGPIPE, SIG_IGN); /* as a process with pipes must: see stream.h */
    close(streams->there_in);
    if (streams->there_out != streams->there_in)
        close(streams->there_out);
    assert_int_equal(ax_stream_read(&streams->here, &to, 1), 0);
    assert_int_equal(ax_stream_write(&streams->here, &slice, 1), -EPIPE);
    streams->there_in = streams->there_out = -1;
}

static void children_do_not_inherit_it(void **state)
{
    struct streams *streams = *state;

    assert_true(fcntl(streams->here.in_fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(streams->here.out_fd, F_GETFD) & FD_CLOEXEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moves_bytes_both_ways, set_up_socket, tear_down),
        cmocka_unit_test_setup_teardown(moves_bytes_both_ways, set_up_pipes, tear_down),
        cmocka_unit_test_setup_teardown(never_blocks, set_up_socket, tear_down),
        cmocka_unit_test_setup_teardown(never_blocks, set_up_pipes, tear_down),
        cmocka_unit_test_setup_teardown(tells_the_end_from_an_error, set_up_socket, tear_down),
        cmocka_unit_test_setup_teardown(tells_the_end_from_an_error, set_up_pipes, tear_down),
        cmocka_unit_test_setup_teardown(children_do_not_inherit_it, set_up_socket, tear_down),
        cmocka_unit_test_setup_teardown(children_do_not_inherit_it, set_up_pipes, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
