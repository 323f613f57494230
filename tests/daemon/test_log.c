/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"

/* What is there to read, as text. */
static const char *drain(int fd)
{
    static char text[65536 * 2];
    struct pollfd item = {.fd = fd, .events = POLLIN};
    size_t size = 0;

    while (size < sizeof text - 1 && poll(&item, 1, 0) == 1) {
        ssize_t got = read(fd, text + size, sizeof text - 1 - size);
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    text[size] = '\0';
    return text;
}

static void test_writes_lines_with_a_prefix(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_log(AX_LOG_ERROR, "number %d", 7);
    ax_log(AX_LOG_DEBUG, "nobody wants to know");
    ax_log_bare("listening on %s", "unix:x");
    assert_string_equal(drain(fds[0]), "acrossd: number 7\nlistening on unix:x\n");
    ax_log_fini();
    close(fds[0]);
    close(fds[1]);
}

static void test_a_line_stays_one_line(void **state)
{
    int fds[2];
    char huge[AX_LOG_LINE * 2];
    const char *text;
    (void)state;

    memset(huge, '\n', sizeof huge);
    huge[sizeof huge - 1] = '\0';
    assert_int_equal(pipe(fds), 0);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_log(AX_LOG_WARNING, "a\nb\x1b[31m\x7f");
    assert_string_equal(drain(fds[0]), "acrossd: a\\x0ab\\x1b[31m\\x7f\n");
    ax_log(AX_LOG_WARNING, "%s", huge);
    text = drain(fds[0]);
    assert_true(strlen(text) < AX_LOG_LINE);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    ax_log_fini();
    close(fds[0]);
    close(fds[1]);
}

/* Returns only if no line waits for a reader: else the time limit of the test ends it. */
static void check_full(int fds[2])
{
    uint64_t lost = ax_log_lost();
    const char *text;

    ax_log_init(fds[1], AX_LOG_INFO);
    while (ax_log_lost() < lost + 3)
        ax_log(AX_LOG_WARNING, "line");
    drain(fds[0]);
    ax_log(AX_LOG_WARNING, "the next");
    text = drain(fds[0]);
    assert_string_equal(text, "acrossd: 3 lines of the log were lost\nacrossd: the next\n");
    ax_log_fini();
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0); /* it is shared with others, who expect it as it was */
    close(fds[0]);
    close(fds[1]);
}

static void test_a_full_pipe_loses_lines_and_counts_them(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    check_full(fds);
}

static void test_a_full_socket_loses_lines_and_counts_them(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    check_full(fds);
}

static void test_a_full_disk_is_no_trouble(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    uint64_t lost = ax_log_lost();
    (void)state;

    assert_true(fd >= 0);
    ax_log_init(fd, AX_LOG_INFO);
    ax_log(AX_LOG_WARNING, "line");
    assert_int_equal(ax_log_lost(), lost + 1);
    ax_log_fini();
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_lines_with_a_prefix),
        cmocka_unit_test(test_a_line_stays_one_line),
        cmocka_unit_test(test_a_full_pipe_loses_lines_and_counts_them),
        cmocka_unit_test(test_a_full_socket_loses_lines_and_counts_them),
        cmocka_unit_test(test_a_full_disk_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
