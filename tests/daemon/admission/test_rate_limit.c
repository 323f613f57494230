/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/admission/rate_limit.h"

/* How many are allowed now. */
static unsigned count(struct ax_rate_limit *rate_limit, uint64_t now)
{
    unsigned done = 0;

    while (ax_rate_limit_take(rate_limit, now))
        done++;
    return done;
}

static void test_so_many_times_at_once_and_then_once_in_a_while(void **state)
{
    struct ax_rate_limit rate_limit = {.at_once = 5, .every_ms = 100};
    (void)state;

    assert_int_equal(count(&rate_limit, 1000), 5);
    assert_int_equal(count(&rate_limit, 1099), 0);
    assert_int_equal(count(&rate_limit, 1100), 1);
    assert_int_equal(count(&rate_limit, 1350), 2);
    assert_int_equal(count(&rate_limit, 1400), 1);
    assert_int_equal(count(&rate_limit, 100000), 5);
}

static void test_counts_what_is_omitted(void **state)
{
    struct ax_rate_limit rate_limit = {.at_once = 1, .every_ms = 100};
    (void)state;

    assert_true(ax_rate_limit_take(&rate_limit, 0));
    assert_int_equal(rate_limit.omitted, 0);
    assert_false(ax_rate_limit_take(&rate_limit, 50));
    assert_false(ax_rate_limit_take(&rate_limit, 60));
    assert_int_equal(rate_limit.omitted, 2);
    assert_true(ax_rate_limit_take(&rate_limit, 100));
    assert_int_equal(rate_limit.omitted, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_times_at_once_and_then_once_in_a_while),
        cmocka_unit_test(test_counts_what_is_omitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
