/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "protocol/error.h"
#include "protocol/idmap.h"

static struct ax_idmap map;

static int set_up(void **state)
{
    (void)state;
    ax_idmap_init(&map);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_idmap_fini(&map);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

/* A value that tells its id. */
static void *value_of(uint64_t id)
{
    return (void *)(uintptr_t)(id * 2 + 1);
}

static void put_range(uint64_t begin, uint64_t end)
{
    for (uint64_t id = begin; id < end; id++)
        assert_int_equal(ax_idmap_put(&map, id, value_of(id)), 0);
}

static void an_empty_map_finds_nothing(void **state)
{
    (void)state;
    assert_null(ax_idmap_get(&map, 0));
    assert_null(ax_idmap_take(&map, 0));
    assert_null(ax_idmap_replace(&map, 0, value_of(0)));
    assert_null(ax_idmap_take_any(&map));
    assert_int_equal(map.count, 0);
}

static void what_was_put_is_found_until_it_is_taken(void **state)
{
    (void)state;
    put_range(0, 1000);
    assert_int_equal(map.count, 1000);
    for (uint64_t id = 0; id < 1000; id++)
        assert_ptr_equal(ax_idmap_get(&map, id), value_of(id));
    assert_null(ax_idmap_get(&map, 1000));
    for (uint64_t id = 0; id < 1000; id += 2)
        assert_ptr_equal(ax_idmap_take(&map, id), value_of(id));
    for (uint64_t id = 0; id < 1000; id++)
        assert_ptr_equal(ax_idmap_get(&map, id), id % 2 ? value_of(id) : NULL);
    assert_null(ax_idmap_take(&map, 0));
    assert_int_equal(map.count, 500);
}

static void any_id_will_do(void **state)
{
    const uint64_t ids[] = {0, 1, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX - 1, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        assert_int_equal(ax_idmap_put(&map, ids[i], value_of(i)), 0);
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        assert_ptr_equal(ax_idmap_take(&map, ids[i]), value_of(i));
}

static void replacing_changes_the_value_alone(void **state)
{
    (void)state;
    put_range(0, 10);
    assert_ptr_equal(ax_idmap_replace(&map, 5, value_of(77)), value_of(5));
    assert_ptr_equal(ax_idmap_get(&map, 5), value_of(77));
    assert_null(ax_idmap_replace(&map, 10, value_of(77)));
    assert_null(ax_idmap_get(&map, 10));
    assert_int_equal(map.count, 10);
}

static unsigned random_number(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

/* Ids come from a small range, so that runs of neighbours form, wrap around the end and are cut in the middle. */
static void a_long_random_history_agrees_with_a_plain_array(void **state)
{
    void *expected[300] = {0};
    size_t count = 0;
    unsigned seed = 7;

    (void)state;
    for (int step = 0; step < 200000; step++) {
        unsigned id = random_number(&seed) % COUNT_OF(expected);
        /* Long waves of more puts than takes and the reverse, so that it grows and shrinks. */
        bool filling = step / 5000 % 2 == 0;
        if (expected[id] == NULL && random_number(&seed) % 4 < (filling ? 3u : 1u)) {
            expected[id] = value_of(id);
            assert_int_equal(ax_idmap_put(&map, id, expected[id]), 0);
            count++;
        } else if (random_number(&seed) % 4 < (filling ? 1u : 3u)) {
            assert_ptr_equal(ax_idmap_take(&map, id), expected[id]);
            count -= expected[id] != NULL;
            expected[id] = NULL;
        }
        assert_ptr_equal(ax_idmap_get(&map, id), expected[id]);
        assert_int_equal(map.count, count);
        assert_true(map.count <= map.capacity / 4 * 3);
    }
    for (unsigned id = 0; id < COUNT_OF(expected); id++)
        assert_ptr_equal(ax_idmap_take(&map, id), expected[id]);
    assert_int_equal(map.count, 0);
}

static void a_map_that_empties_becomes_small(void **state)
{
    (void)state;
    put_range(0, 10000);
    assert_true(map.capacity >= 10000);
    for (uint64_t id = 0; id < 9999; id++)
        assert_non_null(ax_idmap_take(&map, id));
    assert_true(map.capacity <= 16);
    assert_ptr_equal(ax_idmap_get(&map, 9999), value_of(9999));
}

static void a_million_ids_one_after_the_other_cost_what_one_does(void **state)
{
    (void)state;
    put_range(0, 1);
    size_t capacity = map.capacity;
    for (uint64_t id = 1; id < 1000000; id++) {
        assert_int_equal(ax_idmap_put(&map, id, value_of(id)), 0);
        assert_ptr_equal(ax_idmap_take(&map, id - 1), value_of(id - 1));
    }
    assert_int_equal(map.capacity, capacity);
}

/* A walk that began anew for every entry would not end within the time of a test. */
static void a_full_map_is_emptied_in_one_walk(void **state)
{
    enum { COUNT = 700000 };
    unsigned char *seen = calloc(COUNT, 1);
    void *value;
    size_t taken = 0;

    (void)state;
    put_range(0, COUNT);
    while ((value = ax_idmap_take_any(&map)) != NULL) {
        size_t id = ((uintptr_t)value - 1) / 2;
        assert_int_equal(seen[id], 0);
        seen[id] = 1;
        taken++;
    }
    assert_int_equal(taken, COUNT);
    assert_true(map.capacity <= 8);
    free(seen);
}

static void taking_any_may_be_mixed_with_the_rest(void **state)
{
    size_t left = 0;

    (void)state;
    put_range(0, 100);
    for (uint64_t id = 100; id < 150; id++) {
        assert_non_null(ax_idmap_take_any(&map));
        put_range(id, id + 1);
    }
    for (uint64_t id = 0; id < 150; id++)
        left += ax_idmap_take(&map, id) != NULL;
    assert_int_equal(left, 100);
}

static void without_memory_a_put_changes_nothing(void **state)
{
    (void)state;
    alloc_fail_at(1);
    assert_int_equal(ax_idmap_put(&map, 1, value_of(1)), AX_ENOMEM);
    assert_int_equal(map.count, 0);
    put_range(0, 6);
    alloc_fail_at(1);
    assert_int_equal(ax_idmap_put(&map, 6, value_of(6)), AX_ENOMEM);
    assert_int_equal(map.count, 6);
    assert_null(ax_idmap_get(&map, 6));
    for (uint64_t id = 0; id < 6; id++)
        assert_ptr_equal(ax_idmap_get(&map, id), value_of(id));
}

static void without_memory_a_take_works_and_does_not_shrink(void **state)
{
    (void)state;
    put_range(0, 1000);
    size_t capacity = map.capacity;
    alloc_fail_from(1);
    for (uint64_t id = 0; id < 1000; id++)
        assert_ptr_equal(ax_idmap_take(&map, id), value_of(id));
    assert_true(alloc_has_failed());
    assert_int_equal(map.capacity, capacity);
    alloc_fail_at(0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_map_finds_nothing),
        TEST(what_was_put_is_found_until_it_is_taken),
        TEST(any_id_will_do),
        TEST(replacing_changes_the_value_alone),
        TEST(a_long_random_history_agrees_with_a_plain_array),
        TEST(a_map_that_empties_becomes_small),
        TEST(a_million_ids_one_after_the_other_cost_what_one_does),
        TEST(a_full_map_is_emptied_in_one_walk),
        TEST(taking_any_may_be_mixed_with_the_rest),
        TEST(without_memory_a_put_changes_nothing),
        TEST(without_memory_a_take_works_and_does_not_shrink),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
