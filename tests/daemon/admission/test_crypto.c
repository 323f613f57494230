/* SPDX-License-Identifier: MIT */
#include "daemon/admission/crypto.h"

#include <dlfcn.h>
#include <string.h>

#include "daemon/base/error_format.h"
#include "testing.h"

static const struct ax_crypto *load(void)
{
    char error[AX_ERROR_TEXT_SIZE] = "";
    const struct ax_crypto *crypto = ax_crypto_load(error, sizeof error);

    assert_string_equal(error, "");
    assert_non_null(crypto);
    return crypto;
}

/* The second case of RFC 4231. */
static void test_computes_an_hmac(void **state)
{
    static const unsigned char expected[AX_CRYPTO_DIGEST_SIZE] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
        0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43,
    };
    static const char data[] = "what do ya want for nothing?";
    unsigned char digest[AX_CRYPTO_DIGEST_SIZE];

    (void)state;
    assert_int_equal(load()->hmac(digest, "Jefe", 4, data, strlen(data)), 0);
    assert_memory_equal(digest, expected, sizeof expected);
}

static void test_compares(void **state)
{
    (void)state;
    assert_true(load()->is_equal("same", "same", 4));
    assert_false(load()->is_equal("same", "Same", 4));
    assert_false(load()->is_equal("same", "samE", 4));
}

/* Libraries loaded later, with an OpenSSL of their own, do not resolve symbols to this one. */
static void test_nobody_else_finds_openssl(void **state)
{
    (void)state;
    load();
    assert_null(dlsym(RTLD_DEFAULT, "HMAC"));
    assert_null(dlsym(RTLD_DEFAULT, AX_CRYPTO_TABLE_NAME));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_computes_an_hmac),
        cmocka_unit_test(test_compares),
        cmocka_unit_test(test_nobody_else_finds_openssl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
