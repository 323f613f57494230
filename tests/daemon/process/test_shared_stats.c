/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/process/shared_stats.h"

static void test_starts_empty(void **state)
{
    int fd;
    struct ax_shared_stats *stats = ax_shared_stats_new(3, &fd);
    (void)state;

    assert_non_null(stats);
    assert_int_equal(stats->slots, 3);
    assert_int_equal(stats->calls.calls_running, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stats->wires[i], AX_WIRE_BUSY);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    ax_shared_stats_free(stats, 3);
}

static void test_what_another_process_writes_stays_when_it_is_gone(void **state)
{
    int fd, status;
    struct ax_shared_stats *stats = ax_shared_stats_new(20000, &fd);
    pid_t pid;
    (void)state;

    assert_non_null(stats);
    pid = fork();
    if (pid == 0) {
        struct ax_shared_stats *theirs = ax_shared_stats_map(fd);

        theirs->calls.calls_done = 7;
        theirs->wires[19999] = AX_WIRE_EXPLAINED;
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(stats->calls.calls_done, 7);
    assert_int_equal(stats->wires[19999], AX_WIRE_EXPLAINED);
    assert_int_equal(stats->wires[19998], AX_WIRE_BUSY);
    close(fd);
    ax_shared_stats_free(stats, 20000);
}

/* Otherwise an access would kill the supervisor. */
static void test_nobody_can_make_it_smaller(void **state)
{
    int fd;
    struct ax_shared_stats *stats = ax_shared_stats_new(1, &fd);
    (void)state;

    assert_non_null(stats);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    close(fd);
    ax_shared_stats_free(stats, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_empty),
        cmocka_unit_test(test_what_another_process_writes_stays_when_it_is_gone),
        cmocka_unit_test(test_nobody_can_make_it_smaller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
