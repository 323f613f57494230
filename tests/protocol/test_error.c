/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "protocol/error.h"

static const int codes[] = {
#define CODE(name, value, text) name,
    AX_ERRORS(CODE)
#undef CODE
};

static void every_code_has_its_own_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        assert_true(codes[i] < 0);
        assert_string_not_equal(ax_error_text(codes[i]), "Unknown error");
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(ax_error_text(codes[i]), ax_error_text(codes[j]));
    }
}

static void texts_are_sentences_for_people(void **state)
{
    (void)state;
    assert_string_equal(ax_error_text(AX_ENOMEM), "Out of memory");
    assert_string_equal(ax_error_text(AX_EPROTOCOL), "The peer broke the protocol");
}

static void a_number_that_is_no_code_is_unknown(void **state)
{
    (void)state;
    assert_string_equal(ax_error_text(0), "Unknown error");
    assert_string_equal(ax_error_text(1), "Unknown error");
    assert_string_equal(ax_error_text(-1000), "Unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_own_text),
        cmocka_unit_test(texts_are_sentences_for_people),
        cmocka_unit_test(a_number_that_is_no_code_is_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
