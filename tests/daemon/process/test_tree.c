/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/process/tree.h"

/* A child that waits to be killed; `first` has returned in it when this returns. */
static pid_t start(void (*first)(void))
{
    int done[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(done), 0);
    pid = fork();
    if (pid == 0) {
        close(done[0]);
        if (first != NULL)
            first();
        close(done[1]);
        for (;;)
            pause();
    }
    close(done[1]);
    assert_int_equal(read(done[0], &byte, 1), 0); /* all holders have closed it */
    close(done[0]);
    return pid;
}

static bool has_no_children(void)
{
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static bool is_spared(void *arg, pid_t pid)
{
    return pid == *(pid_t *)arg;
}

static void test_kills_those_that_are_not_spared(void **state)
{
    pid_t spared = start(NULL);
    pid_t other = start(NULL);
    int status;
    (void)state;

    assert_int_equal(ax_tree_kill_orphans(is_spared, &spared), 1);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(ax_tree_kill_orphans(is_spared, &spared), 0);
    assert_int_equal(kill(spared, 0), 0);
    ax_tree_end();
    assert_true(has_no_children());
}

static void test_reaps_those_that_are_dead(void **state)
{
    pid_t pid = start(NULL);
    siginfo_t info;
    (void)state;

    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(ax_tree_kill_orphans(NULL, NULL), 0);
    assert_true(has_no_children());
}

static void leave_a_daemon(void)
{
    if (fork() > 0)
        return;
    setsid();
    if (fork() > 0)
        _exit(0);
}

/* Double forks, in sessions of their own. */
static void test_nothing_is_left_below_a_subreaper(void **state)
{
    (void)state;
    ax_tree_adopt();
    for (int i = 0; i < 5; i++)
        start(leave_a_daemon);
    ax_tree_end();
    assert_true(has_no_children());
}

static void test_ends_at_once_without_children(void **state)
{
    (void)state;
    ax_tree_end();
    assert_int_equal(ax_tree_kill_orphans(NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills_those_that_are_not_spared),
        cmocka_unit_test(test_reaps_those_that_are_dead),
        cmocka_unit_test(test_nothing_is_left_below_a_subreaper),
        cmocka_unit_test(test_ends_at_once_without_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
