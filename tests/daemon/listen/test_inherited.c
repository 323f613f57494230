/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/listen/inherited.h"

#define OPEN 4 /* descriptors that every test finds open, from 3 on */

static struct ax_inherited inherited;
static char error[AX_ERROR_TEXT_SIZE];

static int set_up(void **state)
{
    int fds[2];
    (void)state;

    unsetenv("LISTEN_FDNAMES");
    if (pipe(fds) < 0)
        return -1;
    /* Descriptors that the test inherited are not needed. */
    for (int i = 0; i < OPEN; i++)
        if (dup2(fds[0], AX_INHERITED_FIRST_FD + i) < 0)
            return -1;
    for (int fd = AX_INHERITED_FIRST_FD + OPEN; fd < AX_INHERITED_FIRST_FD + AX_INHERITED_MAX + 1; fd++)
        close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_inherited_fini(&inherited);
    for (int i = 0; i < OPEN; i++)
        close(AX_INHERITED_FIRST_FD + i);
    /* In every case: children must not inherit them. */
    return getenv("LISTEN_PID") == NULL && getenv("LISTEN_FDS") == NULL && getenv("LISTEN_FDNAMES") == NULL ? 0 : -1;
}

static void set_own_pid(void)
{
    char pid[32];

    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("LISTEN_PID", pid, 1);
}

static int take(const char *fds, const char *names)
{
    setenv("LISTEN_FDS", fds, 1);
    if (names != NULL)
        setenv("LISTEN_FDNAMES", names, 1);
    error[0] = '\0';
    return ax_inherited_take(&inherited, error, sizeof error);
}

static bool is_close_on_exec(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static void test_lists_descriptors_with_their_names(void **state)
{
    static const char *const names[] = {"across.socket", "", "other"};
    (void)state;

    set_own_pid();
    assert_int_equal(take("3", "across.socket::other"), 0);
    assert_int_equal(inherited.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(inherited.items[i].fd, 3 + i);
        assert_string_equal(inherited.items[i].name, names[i]);
        assert_true(is_close_on_exec(3 + i));
    }
    assert_false(is_close_on_exec(3 + 3)); /* it is not one of those passed */
}

static void test_names_may_be_missing(void **state)
{
    (void)state;
    set_own_pid();
    assert_int_equal(take("2", NULL), 0);
    assert_int_equal(inherited.count, 2);
    assert_string_equal(inherited.items[1].name, "unknown");
}

static void test_without_variables_nothing_is_inherited(void **state)
{
    (void)state;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    assert_int_equal(ax_inherited_take(&inherited, error, sizeof error), 0);
    assert_int_equal(inherited.count, 0);
    set_own_pid();
    assert_int_equal(ax_inherited_take(&inherited, error, sizeof error), 0);
    assert_int_equal(inherited.count, 0);
    set_own_pid();
    assert_int_equal(take("0", ""), 0);
    assert_int_equal(inherited.count, 0);
}

static void test_anothers_descriptors_are_left_alone(void **state)
{
    static const char *const pids[] = {"1", "", "x", "-1"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(pids); i++) {
        setenv("LISTEN_PID", pids[i], 1);
        assert_int_equal(take("2", "a:b"), 0);
        assert_int_equal(inherited.count, 0);
        assert_false(is_close_on_exec(3));
        assert_null(getenv("LISTEN_FDS"));
    }
}

static void check_error(const char *fds, const char *names, const char *wanted)
{
    set_own_pid();
    assert_int_equal(take(fds, names), -1);
    assert_string_equal(error, wanted);
    assert_int_equal(inherited.count, 0);
    assert_null(inherited.names);
}

static void test_what_makes_no_sense_is_an_error(void **state)
{
    (void)state;
    check_error("", NULL, "LISTEN_FDS= is no number of descriptors");
    check_error("-1", NULL, "LISTEN_FDS=-1 is no number of descriptors");
    check_error("2 ", NULL, "LISTEN_FDS=2  is no number of descriptors");
    check_error("99999999999", NULL, "LISTEN_FDS=99999999999 is no number of descriptors");
    check_error("65", NULL, "LISTEN_FDS=65 is too many: acrossd takes over at most 64 sockets");
    check_error("5", NULL, "LISTEN_FDS=5 names descriptor 7, which cannot be used: Bad file descriptor");
    check_error("2", "one", "LISTEN_FDNAMES=one has 1 names for 2 descriptors");
    check_error("2", "one:two:three", "LISTEN_FDNAMES=one:two:three has 3 names for 2 descriptors");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lists_descriptors_with_their_names),     TEST(test_names_may_be_missing),
        TEST(test_without_variables_nothing_is_inherited), TEST(test_anothers_descriptors_are_left_alone),
        TEST(test_what_makes_no_sense_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
