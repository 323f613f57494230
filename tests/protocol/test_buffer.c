/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "protocol/buffer.h"
#include "protocol/error.h"

static int no_block_is_left(void **state)
{
    (void)state;
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void appended_bytes_follow_each_other(void **state)
{
    struct ax_buffer buffer = {0};

    (void)state;
    assert_int_equal(ax_buffer_append(&buffer, "one", 3), 0);
    assert_int_equal(ax_buffer_append(&buffer, "", 0), 0);
    assert_int_equal(ax_buffer_append(&buffer, "two", 3), 0);
    assert_int_equal(buffer.size, 6);
    assert_memory_equal(buffer.data, "onetwo", 6);
    ax_buffer_fini(&buffer);
}

static void appending_grows_by_doubling(void **state)
{
    struct ax_buffer buffer = {0};
    unsigned growths = 0;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        size_t before = buffer.capacity;
        assert_int_equal(ax_buffer_append(&buffer, &i, 1), 0);
        growths += buffer.capacity != before;
        assert_true(buffer.size <= buffer.capacity);
    }
    assert_true(growths < 15);
    assert_int_equal(buffer.data[777], 777 % 256);
    ax_buffer_fini(&buffer);
}

static void a_large_piece_is_given_exactly_what_it_needs(void **state)
{
    static const char piece[5000];
    struct ax_buffer buffer = {0};

    (void)state;
    assert_int_equal(ax_buffer_append(&buffer, piece, sizeof piece), 0);
    assert_int_equal(buffer.capacity, sizeof piece);
    ax_buffer_fini(&buffer);
}

static void reserving_keeps_the_contents_and_never_shrinks(void **state)
{
    struct ax_buffer buffer = {0};

    (void)state;
    ax_buffer_append(&buffer, "text", 4);
    assert_int_equal(ax_buffer_reserve(&buffer, 1000), 0);
    assert_int_equal(buffer.capacity, 1000);
    assert_int_equal(ax_buffer_reserve(&buffer, 10), 0);
    assert_int_equal(buffer.capacity, 1000);
    assert_int_equal(buffer.size, 4);
    assert_memory_equal(buffer.data, "text", 4);
    ax_buffer_fini(&buffer);
}

static void without_memory_a_buffer_stays_as_it_was(void **state)
{
    static const char piece[500];
    struct ax_buffer buffer = {0};

    (void)state;
    ax_buffer_append(&buffer, "text", 4);
    struct ax_buffer before = buffer;
    alloc_fail_at(1);
    assert_int_equal(ax_buffer_append(&buffer, piece, sizeof piece), AX_ENOMEM);
    assert_memory_equal(&buffer, &before, sizeof buffer);
    alloc_fail_at(1);
    assert_int_equal(ax_buffer_reserve(&buffer, 1000), AX_ENOMEM);
    assert_memory_equal(&buffer, &before, sizeof buffer);
    ax_buffer_fini(&buffer);
}

static void a_size_that_no_memory_has_is_out_of_memory(void **state)
{
    struct ax_buffer buffer = {0};

    (void)state;
    ax_buffer_append(&buffer, "text", 4);
    assert_int_equal(ax_buffer_append(&buffer, "", SIZE_MAX - 2), AX_ENOMEM);
    assert_int_equal(buffer.size, 4);
    /* As if it held half of all memory: doubling would not fit into a size_t. Nothing is written. */
    struct ax_buffer vast = {.size = SIZE_MAX / 2 + 1, .capacity = SIZE_MAX / 2 + 1};
    alloc_fail_at(1);
    assert_int_equal(ax_buffer_append(&vast, "x", 1), AX_ENOMEM);
    assert_true(alloc_largest() == SIZE_MAX);
    ax_buffer_fini(&buffer);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void foreign_memory_is_released_once(void **state)
{
    unsigned char data[4];
    int released = 0;
    struct ax_buffer buffer = {.data = data, .size = 4, .release = count_release, .owner = &released};

    (void)state;
    ax_buffer_fini(&buffer);
    assert_int_equal(released, 1);
    ax_buffer_fini(&buffer);
    assert_int_equal(released, 1);
}

static void taking_leaves_an_empty_buffer_behind(void **state)
{
    struct ax_buffer buffer = {0};

    (void)state;
    ax_buffer_append(&buffer, "text", 4);
    struct ax_buffer taken = ax_buffer_take(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.capacity, 0);
    assert_memory_equal(taken.data, "text", 4);
    ax_buffer_fini(&buffer);
    ax_buffer_fini(&taken);
}

#define TEST(function) cmocka_unit_test_teardown(function, no_block_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(appended_bytes_follow_each_other),
        TEST(appending_grows_by_doubling),
        TEST(a_large_piece_is_given_exactly_what_it_needs),
        TEST(reserving_keeps_the_contents_and_never_shrinks),
        TEST(without_memory_a_buffer_stays_as_it_was),
        TEST(a_size_that_no_memory_has_is_out_of_memory),
        TEST(foreign_memory_is_released_once),
        TEST(taking_leaves_an_empty_buffer_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
