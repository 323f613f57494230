/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "protocol/error.h"
#include "protocol/output.h"
#include "wire.h"

static struct ax_output output;
static int released;

static int set_up(void **state)
{
    (void)state;
    ax_output_init(&output);
    released = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_output_fini(&output);
    assert_int_equal(output.size, 0);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void append_to(struct ax_output *to, const char *text)
{
    unsigned char *room = ax_output_append(to, strlen(text));

    assert_non_null(room);
    memcpy(room, text, strlen(text));
}

static void append(const char *text)
{
    append_to(&output, text);
}

static void count_release(void *owner)
{
    (void)owner;
    released++;
}

static void append_borrowed(const char *text)
{
    struct ax_buffer buffer = {.data = (unsigned char *)text, .size = strlen(text), .release = count_release};

    assert_int_equal(ax_output_append_buffer(&output, &buffer), 0);
    assert_null(buffer.data);
}

/* All that waits, looked at `max` slices at a time and consumed `step` bytes at a time. */
static void assert_output(const char *expected, size_t max, size_t step)
{
    struct ax_slice slices[8];
    struct wire wire = {0};
    size_t count;

    assert_int_equal(output.size, strlen(expected));
    while ((count = ax_output_slices(&output, slices, max)) > 0) {
        size_t left = step;
        for (size_t i = 0; i < count && left > 0; i++) {
            assert_true(slices[i].size > 0);
            size_t used = slices[i].size < left ? slices[i].size : left;
            wire_raw(&wire, slices[i].data, used);
            left -= used;
        }
        ax_output_consume(&output, step - left);
    }
    assert_int_equal(wire.size, strlen(expected));
    assert_memory_equal(wire.data, expected, wire.size);
    assert_int_equal(output.size, 0);
    assert_int_equal(alloc_blocks(), 0);
    wire_free(&wire);
}

static void an_empty_output_has_nothing_to_send(void **state)
{
    struct ax_slice slice;

    (void)state;
    assert_int_equal(ax_output_slices(&output, &slice, 1), 0);
    ax_output_consume(&output, 0);
    assert_int_equal(output.size, 0);
}

static void small_pieces_share_a_slice(void **state)
{
    struct ax_slice slices[2];

    (void)state;
    append("one ");
    append("two ");
    append("three");
    assert_int_equal(ax_output_slices(&output, slices, 2), 1);
    assert_int_equal(slices[0].size, 13);
    assert_memory_equal(slices[0].data, "one two three", 13);
}

static void the_order_is_that_of_appending(void **state)
{
    (void)state;
    for (size_t max = 1; max <= 5; max++) {
        for (size_t step = 1; step <= 30; step++) {
            released = 0;
            append("a");
            append_borrowed("buffer");
            append("b");
            append("c");
            append_borrowed("another");
            append_borrowed("last");
            assert_output("abufferbcanotherlast", max, step);
            assert_int_equal(released, 3);
        }
    }
}

static void a_buffer_is_sent_from_where_it_is(void **state)
{
    static const char text[] = "large";
    struct ax_slice slice;

    (void)state;
    append_borrowed(text);
    assert_int_equal(ax_output_slices(&output, &slice, 1), 1);
    assert_ptr_equal(slice.data, text);
}

static void a_buffer_is_released_when_its_last_byte_is_consumed(void **state)
{
    (void)state;
    append_borrowed("abc");
    append("d");
    ax_output_consume(&output, 2);
    assert_int_equal(released, 0);
    ax_output_consume(&output, 1);
    assert_int_equal(released, 1);
    assert_output("d", 1, 1);
}

static void an_empty_buffer_is_released_at_once(void **state)
{
    (void)state;
    append_borrowed("");
    assert_int_equal(released, 1);
    assert_int_equal(output.size, 0);
}

static void what_is_not_sent_is_released_at_the_end(void **state)
{
    (void)state;
    append("a");
    append_borrowed("abc");
    append_borrowed("def");
    ax_output_fini(&output);
    assert_int_equal(released, 2);
    assert_int_equal(output.size, 0);
}

static void slices_stay_valid_while_more_is_appended(void **state)
{
    struct ax_slice slice;

    (void)state;
    append("first");
    ax_output_slices(&output, &slice, 1);
    for (int i = 0; i < 10000; i++)
        append("more and more");
    assert_memory_equal(slice.data, "first", 5);
}

static void many_small_pieces_need_few_allocations(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++)
        append("twenty bytes in each");
    assert_true(alloc_blocks() < 20);
}

static void a_piece_of_any_size_is_in_one_slice(void **state)
{
    struct ax_slice slices[3];

    (void)state;
    append("a");
    unsigned char *room = ax_output_append(&output, 100000);
    assert_non_null(room);
    memset(room, 'x', 100000);
    assert_int_equal(ax_output_slices(&output, slices, 3), 2);
    assert_int_equal(slices[1].size, 100000);
    assert_ptr_equal(slices[1].data, room);
}

static void appending_goes_on_behind_a_part_that_was_sent(void **state)
{
    (void)state;
    append("abcdef");
    ax_output_consume(&output, 4);
    append("gh");
    assert_output("efgh", 2, 3);
}

static void a_retracted_piece_is_not_sent(void **state)
{
    (void)state;
    append("only");
    ax_output_retract(&output, 4);
    assert_int_equal(output.size, 0);
    struct ax_slice slice;
    assert_int_equal(ax_output_slices(&output, &slice, 1), 0);
    append("one");
    append("two");
    ax_output_retract(&output, 3);
    append_borrowed("three");
    append("four");
    ax_output_retract(&output, 4);
    append_borrowed("five");
    assert_output("onethreefive", 2, 5);
}

static void a_joined_tail_is_sent_behind_the_rest(void **state)
{
    struct ax_output tail;

    (void)state;
    ax_output_init(&tail);
    ax_output_join(&output, &tail); /* nothing behind nothing */
    assert_int_equal(output.size, 0);
    append_to(&tail, "one ");
    ax_output_join(&output, &tail);
    ax_output_join(&output, &tail);
    append_to(&tail, "two");
    ax_output_join(&output, &tail);
    assert_int_equal(tail.size, 0);
    assert_null(tail.first);
    assert_output("one two", 8, 3);
}

static void a_part_that_is_moved_borrows_from_the_rest(void **state)
{
    struct ax_output from;

    (void)state;
    ax_output_init(&from);
    append_to(&from, "one two");
    alloc_fail_from(1);
    assert_int_equal(ax_output_move(&output, &from, 4), AX_ENOMEM);
    alloc_fail_from(0);
    assert_int_equal(from.size, 7);
    assert_int_equal(ax_output_move(&output, &from, 4), 0);
    assert_int_equal(output.size, 4);
    assert_int_equal(ax_output_move(&output, &from, 3), 0);
    assert_int_equal(from.size, 0);
    assert_null(from.first);
    assert_output("one two", 8, 2);
}

static void without_memory_nothing_changes(void **state)
{
    struct ax_buffer buffer = {.data = (unsigned char *)"abc", .size = 3, .release = count_release};

    (void)state;
    alloc_fail_at(1);
    assert_null(ax_output_append(&output, 10));
    assert_int_equal(output.size, 0);
    append("text");
    alloc_fail_at(1);
    assert_null(ax_output_append(&output, 10000));
    alloc_fail_at(1);
    assert_int_equal(ax_output_append_buffer(&output, &buffer), AX_ENOMEM);
    assert_ptr_equal(buffer.data, "abc");
    assert_int_equal(released, 0);
    assert_output("text", 1, 4);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_output_has_nothing_to_send),
        TEST(small_pieces_share_a_slice),
        TEST(the_order_is_that_of_appending),
        TEST(a_buffer_is_sent_from_where_it_is),
        TEST(a_buffer_is_released_when_its_last_byte_is_consumed),
        TEST(an_empty_buffer_is_released_at_once),
        TEST(what_is_not_sent_is_released_at_the_end),
        TEST(slices_stay_valid_while_more_is_appended),
        TEST(many_small_pieces_need_few_allocations),
        TEST(a_piece_of_any_size_is_in_one_slice),
        TEST(appending_goes_on_behind_a_part_that_was_sent),
        TEST(a_retracted_piece_is_not_sent),
        TEST(a_joined_tail_is_sent_behind_the_rest),
        TEST(a_part_that_is_moved_borrows_from_the_rest),
        TEST(without_memory_nothing_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
