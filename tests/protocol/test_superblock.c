/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "protocol/superblock.h"

static void a_plain_superblock_is_magic_version_and_zeros(void **state)
{
    const struct ax_superblock superblock = {.magic = AX_MAGIC, .version = {0, 1, 0}};
    const unsigned char expected[] = {0xe3, 0x5b, 0x9e, 0x78, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    unsigned char out[AX_SUPERBLOCK_SIZE];

    (void)state;
    memset(out, 0xaa, sizeof out);
    ax_superblock_encode(out, &superblock);
    assert_memory_equal(out, expected, sizeof expected);
}

static void level_and_features_have_their_places(void **state)
{
    const struct ax_superblock superblock = {AX_MAGIC_BOOTSTRAP, {1, 2, 3}, 4, 0x12345678};
    const unsigned char expected[] = {0xe5, 0x4e, 0x6d, 0x01, 1, 2, 3, 4, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0};
    unsigned char out[AX_SUPERBLOCK_SIZE];

    (void)state;
    ax_superblock_encode(out, &superblock);
    assert_memory_equal(out, expected, sizeof expected);
}

static void decoding_reads_what_encoding_wrote(void **state)
{
    const struct ax_superblock superblock = {0xfedcba98, {255, 254, 253}, 252, 0xffeeddcc};
    unsigned char out[AX_SUPERBLOCK_SIZE];
    struct ax_superblock decoded;

    (void)state;
    ax_superblock_encode(out, &superblock);
    ax_superblock_decode(&decoded, out);
    assert_true(decoded.magic == superblock.magic);
    assert_int_equal(decoded.version.major, 255);
    assert_int_equal(decoded.version.minor, 254);
    assert_int_equal(decoded.version.patch, 253);
    assert_int_equal(decoded.level, 252);
    assert_true(decoded.features == superblock.features);
}

static void the_last_four_bytes_are_ignored(void **state)
{
    unsigned char bytes[AX_SUPERBLOCK_SIZE] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9};
    struct ax_superblock decoded;

    (void)state;
    ax_superblock_decode(&decoded, bytes);
    assert_true(decoded.magic == AX_MAGIC);
    assert_int_equal(decoded.version.minor, 2);
    assert_int_equal(decoded.features, 0);
}

/* CRC-32 as in zlib, bit by bit. */
static uint32_t crc32_of(const char *text)
{
    uint32_t crc = 0xffffffff;

    for (; *text != '\0'; text++) {
        crc ^= (unsigned char)*text;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

static void magics_are_the_checksums_of_names(void **state)
{
    (void)state;
    assert_true(AX_MAGIC == crc32_of("across"));
    assert_true(AX_MAGIC_BOOTSTRAP == crc32_of("acrossbios"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_superblock_is_magic_version_and_zeros),
        cmocka_unit_test(level_and_features_have_their_places),
        cmocka_unit_test(decoding_reads_what_encoding_wrote),
        cmocka_unit_test(the_last_four_bytes_are_ignored),
        cmocka_unit_test(magics_are_the_checksums_of_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
