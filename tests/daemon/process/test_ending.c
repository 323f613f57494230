/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/process/ending.h"

#define GRACE_MS 2000u

static struct ax_ending ending;
static uint64_t wait_ms;

static int begin(void **state)
{
    (void)state;
    ending = (struct ax_ending){0};
    return ax_ending_begin(&ending, GRACE_MS, &wait_ms) ? 0 : -1;
}

static void test_a_worker_with_calls_is_killed_three_seconds_after_its_grace_period(void **state)
{
    uint64_t all = wait_ms;
    (void)state;

    assert_true(all > GRACE_MS);
    assert_int_equal(ax_ending_next(&ending, 1, &wait_ms), AX_ENDING_TELL);
    all += wait_ms;
    assert_int_equal(ax_ending_next(&ending, 1, &wait_ms), AX_ENDING_KILL);
    assert_int_equal(all, GRACE_MS + 3000);
}

static void test_a_worker_that_ends_in_order_gets_more_time(void **state)
{
    uint64_t all = wait_ms;
    (void)state;

    assert_int_equal(ax_ending_next(&ending, 1, &wait_ms), AX_ENDING_TELL);
    all += wait_ms;
    assert_int_equal(ax_ending_next(&ending, 0, &wait_ms), AX_ENDING_WAIT);
    all += wait_ms;
    assert_int_equal(ax_ending_next(&ending, 0, &wait_ms), AX_ENDING_KILL);
    assert_true(all >= GRACE_MS + AX_ENDING_MS);
}

static void test_the_first_grace_period_counts(void **state)
{
    uint64_t before = wait_ms;
    (void)state;

    assert_false(ax_ending_begin(&ending, 0, &wait_ms));
    assert_int_equal(wait_ms, before);
    ax_ending_next(&ending, 0, &wait_ms);
    assert_false(ax_ending_begin(&ending, 0, &wait_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_worker_with_calls_is_killed_three_seconds_after_its_grace_period, begin),
        cmocka_unit_test_setup(test_a_worker_that_ends_in_order_gets_more_time, begin),
        cmocka_unit_test_setup(test_the_first_grace_period_counts, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
