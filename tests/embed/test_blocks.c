/* SPDX-License-Identifier: MIT */
/* Blocks for large bodies: the last one is there for the next body, but not for long. */
#include "tests/embed/testing.h"

#include <stdlib.h>
#include <time.h>

#include "embed/blocks.h"
#include "embed/engine.h"

#define MIB ((size_t)1 << 20)

static struct ax_buffer take(size_t size)
{
    struct ax_buffer buffer;

    assert_true(ax_blocks_take(&ax_engine_get()->blocks, size, &buffer));
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.capacity, size);
    memset(buffer.data, 'x', size);
    return buffer;
}

static void *spare(void)
{
    struct ax_blocks *blocks = &ax_engine_get()->blocks;

    pthread_mutex_lock(&blocks->lock);
    void *block = blocks->spare;
    pthread_mutex_unlock(&blocks->lock);
    return block;
}

static int tear_down(void **state)
{
    (void)state;
    ax_engine_stop(); /* a leak of blocks would be one of their records, too */
    return 0;
}

static void the_last_block_is_taken_again(void **state)
{
    (void)state;
    struct ax_buffer first = take(5 * MIB), second = take(5 * MIB);
    unsigned char *where = second.data;
    assert_ptr_not_equal(first.data, where);
    ax_buffer_fini(&first);
    ax_buffer_fini(&second); /* this one is kept, the one before is not */
    struct ax_buffer third = take(4 * MIB + 1);
    assert_ptr_equal(third.data, where);
    assert_null(spare());
    ax_buffer_fini(&third);
}

static void a_block_that_does_not_fit_is_not_taken(void **state)
{
    (void)state;
    struct ax_buffer small = take(2 * MIB);
    ax_buffer_fini(&small);
    struct ax_buffer large = take(20 * MIB);
    ax_buffer_fini(&large);
    small = take(2 * MIB); /* in 20 MiB it would be a waste */
    assert_null(spare());
    ax_buffer_fini(&small);
}

static void what_is_very_large_is_not_kept(void **state)
{
    (void)state;
    struct ax_buffer buffer;
    assert_true(ax_blocks_take(&ax_engine_get()->blocks, (size_t)AX_BLOCKS_KEPT_MAX + 1, &buffer));
    ax_buffer_fini(&buffer);
    assert_null(spare());
    assert_false(ax_blocks_take(&ax_engine_get()->blocks, SIZE_MAX - 5, &buffer));
}

static void after_a_while_there_is_none(void **state)
{
    const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ax_buffer buffer = take(5 * MIB);
        ax_buffer_fini(&buffer);
        assert_non_null(spare());
        while (spare() != NULL)
            nanosleep(&moment, NULL);
    }
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_last_block_is_taken_again),
        TEST(a_block_that_does_not_fit_is_not_taken),
        TEST(what_is_very_large_is_not_kept),
        TEST(after_a_while_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
