/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/resource.h>

#include "daemon/process/process.h"

static void test_raises_the_limit_of_open_files_as_far_as_it_may(void **state)
{
    const struct rlimit limit = {.rlim_cur = 100, .rlim_max = 1000};
    struct rlimit raised;
    (void)state;

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(ax_process_raise_file_limit(), 1000);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &raised), 0);
    assert_int_equal(raised.rlim_cur, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* lowers the limit for good: the last one */
        cmocka_unit_test(test_raises_the_limit_of_open_files_as_far_as_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
