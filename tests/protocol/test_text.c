/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "protocol/text.h"

static void text_that_fits_is_not_cut(void **state)
{
    (void)state;
    assert_int_equal(ax_text_cut("abc", 3, 3), 3);
    assert_int_equal(ax_text_cut("", 0, 0), 0);
}

static void a_cut_falls_between_characters(void **state)
{
    const char *text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8d"; /* 1, 2, 3 and 4 bytes */
    const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};

    (void)state;
    for (size_t max = 0; max <= 10; max++)
        assert_int_equal(ax_text_cut(text, 10, max), expected[max]);
}

static void text_that_is_all_continuation_is_cut_to_nothing(void **state)
{
    (void)state;
    assert_int_equal(ax_text_cut("\x80\x80\x80", 3, 2), 0);
}

static void assert_copy(const char *text, const char *expected)
{
    char out[100];

    ax_text_copy(out, sizeof out, text, strlen(text));
    assert_string_equal(out, expected);
}

static void valid_text_is_copied_as_it_is(void **state)
{
    (void)state;
    assert_copy("", "");
    assert_copy("plain", "plain");
    assert_copy("\xc2\xa0 \xdf\xbf", "\xc2\xa0 \xdf\xbf");
    assert_copy("\xe0\xa0\x80 \xe1\x80\x80 \xec\xbf\xbf", "\xe0\xa0\x80 \xe1\x80\x80 \xec\xbf\xbf");
    assert_copy("\xed\x80\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf",
                "\xed\x80\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf");
    assert_copy("\xf0\x90\x80\x80 \xf1\x80\x80\x80 \xf4\x8f\xbf\xbf",
                "\xf0\x90\x80\x80 \xf1\x80\x80\x80 \xf4\x8f\xbf\xbf");
}

static void bytes_that_are_no_text_become_question_marks(void **state)
{
    (void)state;
    assert_copy("a\x80z", "a?z");              /* a continuation alone */
    assert_copy("\xc0\xaf \xc1\xbf", "?? ??"); /* overlong */
    assert_copy("\xe0\x9f\xbf", "???");        /* overlong */
    assert_copy("\xf0\x8f\xbf\xbf", "????");   /* overlong */
    assert_copy("\xed\xa0\x80", "???");        /* a surrogate */
    assert_copy("\xf4\x90\x80\x80", "????");   /* beyond Unicode */
    assert_copy("\xf5\x80 \xff", "?? ?");      /* never a first byte */
    assert_copy("\xe2\x82", "??");             /* cut by the end */
    assert_copy("\xe2\x82z", "??z");           /* cut by something else */
    assert_copy("\xf0\x9f\x90z\xc3\xa4", "???z\xc3\xa4");
}

static void control_characters_become_spaces(void **state)
{
    char out[20];

    (void)state;
    assert_copy("two\r\nlines\x1b[0m\x7f", "two  lines [0m ");
    ax_text_copy(out, sizeof out, "a\0b", 3);
    assert_string_equal(out, "a b");
}

static void characters_that_terminals_obey_or_hide_become_spaces(void **state)
{
    (void)state;
    assert_copy("a\xc2\x80\xc2\x85\xc2\x9b\xc2\x9fz", "a    z");                 /* C1 */
    assert_copy("a\xe2\x80\xa8\xe2\x80\xa9z", "a  z");                           /* separators of lines */
    assert_copy("a\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8f\xd8\x9cz", "a    z");     /* direction */
    assert_copy("a\xe2\x80\x8b\xef\xbb\xbf\xc2\xad\xf3\xa0\x80\x81z", "a    z"); /* invisible */
    assert_copy("\xc2\xa1\xe2\x80\xa7\xe2\x80\xaf", "\xc2\xa1\xe2\x80\xa7\xe2\x80\xaf");
}

static void a_copy_is_cut_between_characters(void **state)
{
    const char *text = "a\xe2\x82\xac"
                       "b";
    char out[8];

    (void)state;
    ax_text_copy(out, 1, text, 5);
    assert_string_equal(out, "");
    ax_text_copy(out, 4, text, 5);
    assert_string_equal(out, "a");
    ax_text_copy(out, 5, text, 5);
    assert_string_equal(out, "a\xe2\x82\xac");
    ax_text_copy(out, 6, text, 5);
    assert_string_equal(out, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_fits_is_not_cut),
        cmocka_unit_test(a_cut_falls_between_characters),
        cmocka_unit_test(text_that_is_all_continuation_is_cut_to_nothing),
        cmocka_unit_test(valid_text_is_copied_as_it_is),
        cmocka_unit_test(bytes_that_are_no_text_become_question_marks),
        cmocka_unit_test(control_characters_become_spaces),
        cmocka_unit_test(characters_that_terminals_obey_or_hide_become_spaces),
        cmocka_unit_test(a_copy_is_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
