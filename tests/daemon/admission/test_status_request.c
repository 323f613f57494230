/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/admission/status_request.h"
#include "daemon/base/error_format.h"

static void test_a_request_is_16_bytes_that_nothing_else_starts_with(void **state)
{
    static const unsigned char wanted[AX_SUPERBLOCK_SIZE] = {0x5b, 0xb5, 0x8a, 0x44, 1, 1};
    unsigned char bytes[AX_SUPERBLOCK_SIZE];
    (void)state;

    memset(bytes, 0xff, sizeof bytes);
    ax_status_request_encode(bytes, AX_STATUS_JSON);
    assert_memory_equal(bytes, wanted, sizeof bytes);
    assert_true(AX_STATUS_MAGIC != AX_MAGIC && AX_STATUS_MAGIC != AX_MAGIC_BOOTSTRAP);
}

static void test_a_request_is_known_by_its_first_four_bytes(void **state)
{
    unsigned char bytes[AX_SUPERBLOCK_SIZE];
    (void)state;

    ax_status_request_encode(bytes, AX_STATUS_TEXT);
    for (size_t size = 0; size < 4; size++)
        assert_false(ax_status_request_is_begun(bytes, size));
    for (size_t size = 4; size <= sizeof bytes; size++)
        assert_true(ax_status_request_is_begun(bytes, size));
    bytes[3]++;
    assert_false(ax_status_request_is_begun(bytes, sizeof bytes));
}

static void test_a_request_says_the_format(void **state)
{
    static const enum ax_status_format formats[] = {AX_STATUS_TEXT, AX_STATUS_JSON};
    unsigned char bytes[AX_SUPERBLOCK_SIZE];
    char reason[AX_ERROR_TEXT_SIZE];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        enum ax_status_format format = AX_STATUS_TEXT;

        ax_status_request_encode(bytes, formats[i]);
        bytes[15] = 7; /* reserved for a later version */
        assert_int_equal(ax_status_request_decode(&format, bytes, reason, sizeof reason), 0);
        assert_int_equal(format, formats[i]);
    }
}

static void assert_no_request(size_t at, unsigned char value, const char *part)
{
    unsigned char bytes[AX_SUPERBLOCK_SIZE];
    char reason[AX_ERROR_TEXT_SIZE] = "";
    enum ax_status_format format;

    ax_status_request_encode(bytes, AX_STATUS_TEXT);
    bytes[at] = value;
    assert_int_equal(ax_status_request_decode(&format, bytes, reason, sizeof reason), -1);
    assert_contains(reason, part);
}

static void test_other_requests_are_refused(void **state)
{
    (void)state;
    assert_no_request(0, 0xe3, "Invalid magic: 0xe3b58a44");
    assert_no_request(4, 2, "Unknown format of the status: 2");
    assert_no_request(5, 0, "Unknown version of a request for the status: 0");
    assert_no_request(5, 2, "Unknown version of a request for the status: 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_16_bytes_that_nothing_else_starts_with),
        cmocka_unit_test(test_a_request_is_known_by_its_first_four_bytes),
        cmocka_unit_test(test_a_request_says_the_format),
        cmocka_unit_test(test_other_requests_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
