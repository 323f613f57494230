/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/admission/rate_limit.h"

/* How often it may be done now. */
static unsigned count(struct ax_quota *quota, uint64_t now)
{
    unsigned done = 0;

    while (ax_quota_take(quota, now))
        done++;
    return done;
}

static void test_so_many_times_at_once_and_then_once_in_a_while(void **state)
{
    struct ax_quota quota = {.at_once = 5, .every_ms = 100};
    (void)state;

    assert_int_equal(count(&quota, 1000), 5);
    assert_int_equal(count(&quota, 1099), 0);
    assert_int_equal(count(&quota, 1100), 1);
    assert_int_equal(count(&quota, 1350), 2);
    assert_int_equal(count(&quota, 1400), 1);
    assert_int_equal(count(&quota, 100000), 5);
}

static void test_counts_what_is_omitted(void **state)
{
    struct ax_quota quota = {.at_once = 1, .every_ms = 100};
    (void)state;

    assert_true(ax_quota_take(&quota, 0));
    assert_int_equal(quota.omitted, 0);
    assert_false(ax_quota_take(&quota, 50));
    assert_false(ax_quota_take(&quota, 60));
    assert_int_equal(quota.omitted, 2);
    assert_true(ax_quota_take(&quota, 100));
    assert_int_equal(quota.omitted, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_times_at_once_and_then_once_in_a_while),
        cmocka_unit_test(test_counts_what_is_omitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
