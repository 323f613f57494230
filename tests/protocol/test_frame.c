/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "protocol/frame.h"

static struct ax_frame_reader reader;

static int set_up(void **state)
{
    (void)state;
    ax_frame_reader_init(&reader);
    return 0;
}

/* Reads a whole header that says this. */
static void read_header(uint64_t length, bool more)
{
    unsigned char header[AX_FRAME_HEADER_SIZE];

    ax_frame_put_header(header, length, more);
    assert_int_equal(ax_frame_read_header(&reader, header, sizeof header), sizeof header);
}

static void a_header_is_length_and_more(void **state)
{
    const unsigned char last[] = {0, 0, 0, 0, 0, 0, 0x02, 0x02};
    const unsigned char not_last[] = {0, 0, 0, 0, 0, 0, 0x02, 0x03};
    unsigned char out[AX_FRAME_HEADER_SIZE];

    (void)state;
    ax_frame_put_header(out, 257, false);
    assert_memory_equal(out, last, sizeof last);
    ax_frame_put_header(out, 257, true);
    assert_memory_equal(out, not_last, sizeof not_last);
}

static void a_header_may_come_in_any_two_pieces(void **state)
{
    const unsigned char header[] = {0, 0, 0, 0, 0, 1, 0, 1, 'b', 'o', 'd', 'y'};

    (void)state;
    for (size_t first = 0; first <= AX_FRAME_HEADER_SIZE; first++) {
        ax_frame_reader_init(&reader);
        assert_int_equal(ax_frame_read_header(&reader, header, first), first);
        assert_int_equal(reader.in_body, first == AX_FRAME_HEADER_SIZE);
        if (first < AX_FRAME_HEADER_SIZE)
            assert_int_equal(ax_frame_read_header(&reader, header + first, sizeof header - first),
                             AX_FRAME_HEADER_SIZE - first);
        assert_true(reader.in_body);
        assert_true(reader.more);
        assert_int_equal(reader.length, 0x8000);
        assert_int_equal(reader.remaining, 0x8000);
    }
}

static void the_longest_frame_is_read_without_overflow(void **state)
{
    (void)state;
    read_header(AX_FRAME_MAX_LENGTH, true);
    assert_true(reader.length == AX_FRAME_MAX_LENGTH);
    assert_true(reader.more);
    assert_false(ax_frame_read_body(&reader, AX_FRAME_MAX_LENGTH - 1));
    assert_true(ax_frame_read_body(&reader, 1));
}

static void a_body_ends_when_all_its_bytes_have_come(void **state)
{
    (void)state;
    read_header(10, false);
    assert_false(reader.more);
    assert_false(ax_frame_read_body(&reader, 4));
    assert_int_equal(reader.remaining, 6);
    assert_true(reader.in_body);
    assert_true(ax_frame_read_body(&reader, 6));
    assert_false(reader.in_body);
    read_header(3, true);
    assert_int_equal(reader.remaining, 3);
}

static void a_frame_without_a_body_ends_with_nothing(void **state)
{
    (void)state;
    read_header(0, false);
    assert_true(reader.in_body);
    assert_true(ax_frame_read_body(&reader, 0));
    assert_false(reader.in_body);
}

static void boundaries_are_where_nothing_has_begun(void **state)
{
    const unsigned char byte = 0;

    (void)state;
    assert_true(ax_frame_reader_at_boundary(&reader));
    assert_int_equal(ax_frame_read_header(&reader, &byte, 0), 0);
    assert_true(ax_frame_reader_at_boundary(&reader));
    ax_frame_read_header(&reader, &byte, 1);
    assert_false(ax_frame_reader_at_boundary(&reader));
    ax_frame_reader_init(&reader);
    read_header(1, true);
    assert_false(ax_frame_reader_at_boundary(&reader));
    ax_frame_read_body(&reader, 1);
    assert_true(ax_frame_reader_at_boundary(&reader));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_header_is_length_and_more, set_up),
        cmocka_unit_test_setup(a_header_may_come_in_any_two_pieces, set_up),
        cmocka_unit_test_setup(the_longest_frame_is_read_without_overflow, set_up),
        cmocka_unit_test_setup(a_body_ends_when_all_its_bytes_have_come, set_up),
        cmocka_unit_test_setup(a_frame_without_a_body_ends_with_nothing, set_up),
        cmocka_unit_test_setup(boundaries_are_where_nothing_has_begun, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
