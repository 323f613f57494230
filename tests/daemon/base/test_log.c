/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/log.h"

/* Everything that can be read, as text. */
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
    ax_log(AX_LOG_WARNING, "\xc2\x9b"
                           "31m \xe2\x80\xae \xe2\x80\xa8 \xc3\xa4\xe2\x82\xac \x9b \xe4z");
    assert_string_equal(drain(fds[0]), "acrossd: \\xc2\\x9b31m \\xe2\\x80\\xae \\xe2\\x80\\xa8 \xc3\xa4\xe2\x82\xac "
                                       "\\x9b \\xe4z\n");
    ax_log(AX_LOG_WARNING, "%s", huge);
    text = drain(fds[0]);
    assert_true(strlen(text) < AX_LOG_LINE);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    ax_log_fini();
    close(fds[0]);
    close(fds[1]);
}

/* Resets the count of dropped lines for the next test. */
static void forget_lost_lines(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    ax_log_init(fd, AX_LOG_INFO);
    ax_log(AX_LOG_INFO, "line");
    ax_log_fini();
    close(fd);
}

/* Returns only if no line blocks: otherwise the test's time limit ends it. */
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
    /* the open file is shared with others, who rely on its flags */
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
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

static void test_a_full_disk_loses_lines_and_counts_them(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    uint64_t lost = ax_log_lost();
    (void)state;

    assert_true(fd >= 0);
    ax_log_init(fd, AX_LOG_INFO);
    errno = EDOM;
    ax_log(AX_LOG_WARNING, "line");
    ax_log_bare("line");
    assert_int_equal(errno, EDOM); /* callers log before they look at errno */
    assert_int_equal(ax_log_lost(), lost + 2);
    ax_log_fini();
    close(fd);
    forget_lost_lines();
}

static void test_a_closed_pipe_loses_lines_and_counts_them(void **state)
{
    uint64_t lost = ax_log_lost();
    int fds[2];
    (void)state;

    signal(SIGPIPE, SIG_IGN); /* as every process of acrossd has it */
    assert_int_equal(pipe(fds), 0);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_log(AX_LOG_WARNING, "somebody reads");
    close(fds[0]);
    ax_log(AX_LOG_WARNING, "nobody reads");
    assert_int_equal(ax_log_lost(), lost + 1);
    ax_log_fini();
    close(fds[1]);
    signal(SIGPIPE, SIG_DFL);
    forget_lost_lines();
}

static void limit_file_size(rlim_t size)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size < limit.rlim_max ? size : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A full disk may take the beginning of a line: later text must not look like its end. */
static void test_a_line_that_was_cut_off_by_a_full_disk_ends_there(void **state)
{
    char name[] = "/tmp/acrossd-test-XXXXXX";
    int fd = mkstemp(name);
    (void)state;

    assert_true(fd >= 0);
    assert_int_equal(unlink(name), 0);
    signal(SIGXFSZ, SIG_IGN);
    ax_log_init(fd, AX_LOG_INFO);
    ax_log(AX_LOG_WARNING, "first");
    limit_file_size(strlen("acrossd: first\nacrossd: sec"));
    ax_log(AX_LOG_WARNING, "second");
    ax_log(AX_LOG_WARNING, "third");
    limit_file_size(RLIM_INFINITY);
    ax_log(AX_LOG_WARNING, "fourth");
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_string_equal(drain(fd), "acrossd: first\nacrossd: sec\n"
                                   "acrossd: 2 lines of the log were lost\nacrossd: fourth\n");
    ax_log_fini();
    signal(SIGXFSZ, SIG_DFL);
    close(fd);
}

/* ---- times and priorities ---- */

/* By the clock that the log has: time() may still be in the second before. */
static time_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec;
}

/* Checks the time at the beginning of the line, which has to be between these two, and returns what follows. */
static const char *check_time(const char *line, time_t before, time_t after)
{
    struct tm local = {.tm_isdst = -1};
    const char *rest = strptime(line, "%Y-%m-%d %H:%M:%S", &local);
    time_t told = mktime(&local);

    if (rest == NULL || rest - line != 19 || rest[0] != '.' || strspn(rest + 1, "0123456789") != 3 || rest[4] != ' ')
        fail_msg("no time at the beginning of %s", line);
    assert_true(before <= told && told <= after);
    return rest + 5;
}

static void test_lines_have_local_times_when_they_are_wanted(void **state)
{
    time_t before = now();
    const char *rest;
    int fds[2];
    (void)state;

    setenv("TZ", "XYZ-5:45", 1); /* not a time zone that a machine would have */
    assert_int_equal(pipe(fds), 0);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_log_start_times();
    ax_log(AX_LOG_ERROR, "one");
    ax_log(AX_LOG_INFO, "two");
    ax_log_bare("listening on unix:x");
    rest = check_time(drain(fds[0]), before, now());
    assert_memory_equal(rest, "acrossd: one\n", 13);
    rest = check_time(rest + 13, before, now());
    assert_string_equal(rest, "acrossd: two\nlistening on unix:x\n");
    ax_log_init(fds[1], AX_LOG_INFO); /* starts anew */
    ax_log(AX_LOG_ERROR, "three");
    assert_string_equal(drain(fds[0]), "acrossd: three\n");
    ax_log_fini();
    unsetenv("TZ");
    tzset();
    close(fds[0]);
    close(fds[1]);
}

static void set_journal_stream(int fd, ino_t inode_offset)
{
    struct stat status;
    char text[64];

    assert_int_equal(fstat(fd, &status), 0);
    snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)status.st_dev,
             (unsigned long long)(status.st_ino + inode_offset));
    setenv("JOURNAL_STREAM", text, 1);
}

static void test_the_journal_gets_priorities_instead(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    set_journal_stream(fds[1], 0);
    ax_log_init(fds[1], AX_LOG_DEBUG);
    ax_log_start_times();
    ax_log(AX_LOG_ERROR, "a");
    ax_log(AX_LOG_WARNING, "b\n<0>");
    ax_log(AX_LOG_INFO, "c");
    ax_log(AX_LOG_DEBUG, "d");
    ax_log_bare("listening on unix:x");
    assert_string_equal(drain(fds[0]), "<3>acrossd: a\n<4>acrossd: b\\x0a<0>\n<6>acrossd: c\n<7>acrossd: d\n"
                                       "<6>listening on unix:x\n");
    assert_non_null(getenv("JOURNAL_STREAM")); /* children share standard error */
    ax_log_fini();
    unsetenv("JOURNAL_STREAM");
    close(fds[0]);
    close(fds[1]);
}

/* The variable is inherited even if standard error has been redirected. */
static void test_what_only_was_the_journal_gets_no_priorities(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    set_journal_stream(fds[1], 1);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_log(AX_LOG_ERROR, "a");
    setenv("JOURNAL_STREAM", "nonsense", 1);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_log(AX_LOG_ERROR, "b");
    assert_string_equal(drain(fds[0]), "acrossd: a\nacrossd: b\n");
    ax_log_fini();
    unsetenv("JOURNAL_STREAM");
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_lines_with_a_prefix),
        cmocka_unit_test(test_a_line_stays_one_line),
        cmocka_unit_test(test_a_full_pipe_loses_lines_and_counts_them),
        cmocka_unit_test(test_a_full_socket_loses_lines_and_counts_them),
        cmocka_unit_test(test_a_full_disk_loses_lines_and_counts_them),
        cmocka_unit_test(test_a_closed_pipe_loses_lines_and_counts_them),
        cmocka_unit_test(test_a_line_that_was_cut_off_by_a_full_disk_ends_there),
        cmocka_unit_test(test_lines_have_local_times_when_they_are_wanted),
        cmocka_unit_test(test_the_journal_gets_priorities_instead),
        cmocka_unit_test(test_what_only_was_the_journal_gets_no_priorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
