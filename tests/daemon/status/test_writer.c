/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/status/writer.h"

static void assert_holds(const struct ax_writer *writer, const char *wanted)
{
    assert_int_equal(writer->text.size, strlen(wanted));
    assert_memory_equal(writer->text.data, wanted, strlen(wanted));
}

static void test_collects_what_is_written(void **state)
{
    struct ax_writer writer;
    (void)state;

    ax_writer_init(&writer, 100);
    ax_writer_print(&writer, "%s %d", "a", 1);
    ax_writer_add(&writer, "\0\n", 2);
    ax_writer_add(&writer, "", 0);
    ax_writer_add_line(&writer, "b\n\xff", 3);
    ax_writer_print(&writer, "%s", "");
    assert_int_equal(writer.text.size, 8);
    assert_memory_equal(writer.text.data, "a 1\0\nb ?", 8);
    assert_false(writer.has_failed);
    ax_writer_fini(&writer);
}

static void test_grows(void **state)
{
    struct ax_writer writer;
    (void)state;

    ax_writer_init(&writer, 1 << 20);
    for (int i = 0; i < 100000; i++)
        ax_writer_print(&writer, "%05d", i);
    assert_false(writer.has_failed);
    assert_int_equal(writer.text.size, 500000);
    for (int i = 0; i < 100000; i++) {
        char wanted[16];

        snprintf(wanted, sizeof wanted, "%05d", i);
        assert_memory_equal(writer.text.data + 5 * i, wanted, 5);
    }
    ax_writer_fini(&writer);
}

/* One byte of the limit is for a formatter's NUL. */
static void test_a_failure_latches(void **state)
{
    struct ax_writer writer;
    (void)state;

    ax_writer_init(&writer, 5);
    ax_writer_print(&writer, "%s", "abc");
    ax_writer_add(&writer, "d", 1);
    assert_false(writer.has_failed);
    ax_writer_add(&writer, "e", 1);
    assert_true(writer.has_failed);
    ax_writer_print(&writer, "%s", "");
    ax_writer_add_line(&writer, "", 0);
    assert_holds(&writer, "abcd");
    ax_writer_fini(&writer);
}

static void test_more_than_the_bound_at_once_is_refused(void **state)
{
    struct ax_writer writer;
    (void)state;

    ax_writer_init(&writer, 5);
    ax_writer_add(&writer, "x", SIZE_MAX);
    assert_true(writer.has_failed);
    ax_writer_fini(&writer);
    ax_writer_init(&writer, 5);
    ax_writer_print(&writer, "%100d", 1);
    assert_true(writer.has_failed);
    assert_int_equal(writer.text.size, 0);
    ax_writer_fini(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collects_what_is_written),
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_a_failure_latches),
        cmocka_unit_test(test_more_than_the_bound_at_once_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
