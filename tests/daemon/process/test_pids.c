/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/process/pids.h"

#define MANY 3000

static char values[MANY];

static void test_an_empty_index_has_nothing(void **state)
{
    struct ax_pids pids = {0};
    (void)state;

    assert_null(ax_pids_find(&pids, 1));
    assert_null(ax_pids_remove(&pids, 1));
    ax_pids_fini(&pids);
}

static void test_an_id_has_its_newest_value(void **state)
{
    struct ax_pids pids = {0};
    (void)state;

    assert_int_equal(ax_pids_add(&pids, 7, &values[0]), 0);
    assert_int_equal(ax_pids_add(&pids, 7, &values[1]), 0);
    assert_int_equal(pids.count, 1);
    assert_ptr_equal(ax_pids_find(&pids, 7), &values[1]);
    assert_ptr_equal(ax_pids_remove(&pids, 7), &values[1]);
    assert_null(ax_pids_find(&pids, 7));
    ax_pids_fini(&pids);
}

/* Adjacent ids, distant ones, and ids that share a slot, in any order of removal. */
static void test_all_are_found_whatever_is_removed(void **state)
{
    (void)state;
    for (int step = 1; step < 5000; step = step * 5 + 1) {
        struct ax_pids pids = {0};

        for (int i = 0; i < MANY; i++)
            assert_int_equal(ax_pids_add(&pids, 1 + i * step, &values[i]), 0);
        for (int i = 0; i < MANY; i += 3)
            assert_ptr_equal(ax_pids_remove(&pids, 1 + i * step), &values[i]);
        for (int i = 0; i < MANY; i++)
            assert_ptr_equal(ax_pids_find(&pids, 1 + i * step), i % 3 == 0 ? NULL : &values[i]);
        for (int i = MANY - 1; i >= 0; i--)
            assert_ptr_equal(ax_pids_remove(&pids, 1 + i * step), i % 3 == 0 ? NULL : &values[i]);
        assert_int_equal(pids.count, 0);
        ax_pids_fini(&pids);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_index_has_nothing),
        cmocka_unit_test(test_an_id_has_its_newest_value),
        cmocka_unit_test(test_all_are_found_whatever_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
