/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "protocol/head.h"

/* Values around every change of form, and their encodings. */
static const struct {
    uint64_t value;
    size_t size;
    unsigned char bytes[AX_UINT_MAX_SIZE];
} uints[] = {
    {0, 1, {0x00}},
    {1, 1, {0x01}},
    {0xfc, 1, {0xfc}},
    {0xfd, 3, {0xfd, 0x00, 0xfd}},
    {0xff, 3, {0xfd, 0x00, 0xff}},
    {0x100, 3, {0xfd, 0x01, 0x00}},
    {0xffff, 3, {0xfd, 0xff, 0xff}},
    {0x10000, 5, {0xfe, 0x00, 0x01, 0x00, 0x00}},
    {0x12345678, 5, {0xfe, 0x12, 0x34, 0x56, 0x78}},
    {0xffffffff, 5, {0xfe, 0xff, 0xff, 0xff, 0xff}},
    {0x100000000, 9, {0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00}},
    {0x0123456789abcdef, 9, {0xff, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}},
    {UINT64_MAX, 9, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
};

static void a_uint_is_written_in_its_shortest_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uints); i++) {
        unsigned char out[AX_UINT_MAX_SIZE];
        assert_int_equal(ax_uint_size(uints[i].value), uints[i].size);
        assert_ptr_equal(ax_head_put_uint(out, uints[i].value), out + uints[i].size);
        assert_memory_equal(out, uints[i].bytes, uints[i].size);
    }
}

static void a_uint_is_read_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uints); i++) {
        struct ax_head_reader reader;
        ax_head_reader_init(&reader, uints[i].bytes, uints[i].size);
        assert_true(ax_head_get_uint(&reader) == uints[i].value);
        assert_ptr_equal(reader.pos, reader.end);
    }
}

static void a_longer_form_than_needed_is_read_too(void **state)
{
    const unsigned char bytes[] = {0xfd, 0, 5, 0xfe, 0, 0, 0, 6, 0xff, 0, 0, 0, 0, 0, 0, 0, 7};
    struct ax_head_reader reader;

    (void)state;
    ax_head_reader_init(&reader, bytes, sizeof bytes);
    assert_int_equal(ax_head_get_uint(&reader), 5);
    assert_int_equal(ax_head_get_uint(&reader), 6);
    assert_int_equal(ax_head_get_uint(&reader), 7);
}

static void a_uint_that_is_cut_counts_as_past_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uints); i++) {
        for (size_t size = 0; size < uints[i].size; size++) {
            struct ax_head_reader reader;
            ax_head_reader_init(&reader, uints[i].bytes, size);
            assert_int_equal(ax_head_get_uint(&reader), 0);
            assert_ptr_equal(reader.pos, reader.end);
            assert_int_equal(ax_head_get_uint(&reader), 0);
        }
    }
}

static void a_head_without_memory_is_empty(void **state)
{
    struct ax_head_reader reader;
    size_t size = 1;

    (void)state;
    ax_head_reader_init(&reader, NULL, 0);
    assert_int_equal(ax_head_get_uint(&reader), 0);
    assert_non_null(ax_head_get_bytes(&reader, &size));
    assert_int_equal(size, 0);
}

static void bytes_are_borrowed_from_the_head(void **state)
{
    const unsigned char bytes[] = {3, 'a', 'b', 'c', 9};
    struct ax_head_reader reader;
    size_t size;

    (void)state;
    ax_head_reader_init(&reader, bytes, sizeof bytes);
    assert_ptr_equal(ax_head_get_bytes(&reader, &size), bytes + 1);
    assert_int_equal(size, 3);
    assert_int_equal(ax_head_get_uint(&reader), 9);
}

static void bytes_that_promise_more_than_there_is_end_with_the_head(void **state)
{
    const unsigned char bytes[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a', 'b'};
    struct ax_head_reader reader;
    size_t size;

    (void)state;
    ax_head_reader_init(&reader, bytes, sizeof bytes);
    assert_ptr_equal(ax_head_get_bytes(&reader, &size), bytes + 9);
    assert_int_equal(size, 2);
    assert_ptr_equal(reader.pos, reader.end);
}

static void fixed_integers_are_big_endian(void **state)
{
    const unsigned char bytes[] = {0xf1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    unsigned char out[8];

    (void)state;
    assert_true(ax_get_u32(bytes) == 0xf1234567u);
    assert_true(ax_get_u64(bytes) == 0xf123456789abcdefu);
    ax_put_u32(out, 0xf1234567u);
    assert_memory_equal(out, bytes, 4);
    ax_put_u64(out, 0xf123456789abcdefu);
    assert_memory_equal(out, bytes, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uint_is_written_in_its_shortest_form),
        cmocka_unit_test(a_uint_is_read_back),
        cmocka_unit_test(a_longer_form_than_needed_is_read_too),
        cmocka_unit_test(a_uint_that_is_cut_counts_as_past_the_end),
        cmocka_unit_test(a_head_without_memory_is_empty),
        cmocka_unit_test(bytes_are_borrowed_from_the_head),
        cmocka_unit_test(bytes_that_promise_more_than_there_is_end_with_the_head),
        cmocka_unit_test(fixed_integers_are_big_endian),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
