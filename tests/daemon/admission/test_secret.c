/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/admission/secret.h"
#include "daemon/base/error_format.h"

static char *folder;
static char path[128];
static char error[AX_ERROR_TEXT_SIZE];

static int make(void **state)
{
    (void)state;
    folder = make_folder();
    snprintf(path, sizeof path, "%s/secret", folder);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    unlink(path);
    rmdir(path);
    rmdir(folder);
    free(folder);
    return 0;
}

static void write_file(const void *bytes, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void write_many(char byte, size_t size, const char *end)
{
    char bytes[AX_SECRET_MAX + 16];

    memset(bytes, byte, size);
    memcpy(bytes + size, end, strlen(end));
    write_file(bytes, size + strlen(end), 0600);
}

static void assert_secret(const void *bytes, size_t size)
{
    struct ax_secret *secret = ax_secret_read(path, error, sizeof error);

    if (secret == NULL)
        fail_msg("%s", error);
    assert_int_equal(secret->size, size);
    assert_memory_equal(secret->bytes, bytes, size);
    ax_secret_free(secret);
}

static void assert_refused(const char *part)
{
    assert_null(ax_secret_read(path, error, sizeof error));
    assert_contains(error, path);
    assert_contains(error, part);
}

/* ---- files ---- */

static void test_line_ends_are_no_part_of_a_secret(void **state)
{
    static const char text[] = "0123456789abcdef0123";

    (void)state;
    write_file("0123456789abcdef0123", 20, 0600);
    assert_secret(text, 20);
    write_file("0123456789abcdef0123\n", 21, 0400);
    assert_secret(text, 20);
    write_file("0123456789abcdef0123\r\n", 22, 0600);
    assert_secret(text, 20);
    write_file("0123456789abcdef\0\n23", 20, 0600);
    assert_secret("0123456789abcdef\0\n23", 20);
}

static void test_a_secret_is_neither_short_nor_long(void **state)
{
    char bytes[AX_SECRET_MAX];

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    write_many('x', AX_SECRET_MIN, "\n");
    assert_secret(bytes, AX_SECRET_MIN);
    write_many('x', AX_SECRET_MAX, "\r\n");
    assert_secret(bytes, AX_SECRET_MAX);
    write_many('x', AX_SECRET_MIN - 1, "\n\n\n");
    assert_refused("too short: a secret has at least 16 bytes");
    write_file("", 0, 0600);
    assert_refused("too short");
    write_many('x', AX_SECRET_MAX + 1, "");
    assert_refused("too long: a secret has at most 1024 bytes");
    write_many('x', AX_SECRET_MAX, "\n\n\n");
    assert_refused("too long");
}

static void test_a_file_that_is_open_to_others_is_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0444};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        char mode[16];

        write_file("0123456789abcdef", 16, modes[i]);
        snprintf(mode, sizeof mode, "mode %03o", (unsigned)modes[i]);
        assert_refused(mode);
        assert_contains(error, "chmod 600");
    }
}

/* As with systemd's credentials: root may share a file deliberately. */
static void test_a_file_of_root_may_be_shared_with_a_group(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(folder, 0755), 0);
    write_file("0123456789abcdef", 16, 0640);
    assert_int_equal(chown(path, 0, 54321), 0);
    assert_refused("mode 640: chmod 600");
    assert_int_equal(setegid(54321), 0);
    assert_int_equal(seteuid(54321), 0);
    assert_secret("0123456789abcdef", 16);
    assert_int_equal(seteuid(0), 0);
    write_file("0123456789abcdef", 16, 0644);
    assert_int_equal(seteuid(54321), 0);
    assert_refused("mode 644: chmod 640");
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(setegid(0), 0);
}

static void test_what_is_no_regular_file_is_refused(void **state)
{
    (void)state;
    assert_refused("No such file or directory");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused("is not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused("is not a regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_refused("is not a regular file");
}

static void test_a_file_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    write_file("0123456789abcdef", 16, 0600);
    assert_int_equal(chown(path, 54321, (gid_t)-1), 0);
    assert_refused("belongs to user 54321, and must belong to user 0 or root");
}

/* ---- proofs ---- */

static struct ax_secret *read_text(const char *text)
{
    struct ax_secret *secret;

    write_file(text, strlen(text), 0600);
    secret = ax_secret_read(path, error, sizeof error);
    assert_non_null(secret);
    return secret;
}

static void fill(struct ax_nonces *nonces)
{
    for (int i = 0; i < AX_NONCE_SIZE; i++) {
        nonces->client[i] = (unsigned char)i;
        nonces->server[i] = (unsigned char)(0x80 + i);
    }
}

/* The same bytes as in docs/access.md, so that other implementations can be tested against them. */
static void test_proofs_are_those_of_the_documentation(void **state)
{
    static const unsigned char expected[2][AX_PROOF_SIZE] = {
        {0x16, 0x94, 0xbf, 0xba, 0x4e, 0x33, 0x04, 0x66, 0x1c, 0x48, 0x88, 0x2c, 0x15, 0xd4, 0x31, 0x01,
         0xa9, 0xf9, 0x84, 0x6d, 0x82, 0x20, 0x09, 0x53, 0x2a, 0x80, 0xf1, 0xa8, 0xb3, 0x25, 0x96, 0x5c},
        {0x6d, 0x05, 0xf4, 0x64, 0xc2, 0x29, 0xd6, 0x82, 0x29, 0xa5, 0xaf, 0x3b, 0x57, 0x70, 0xf6, 0xc8,
         0xf0, 0x2d, 0x19, 0xbf, 0x69, 0xfa, 0xc8, 0x7c, 0x69, 0x2a, 0x4c, 0x19, 0x61, 0x8f, 0xb4, 0x19}};
    struct ax_secret *secret = read_text("correct horse battery staple\n");
    unsigned char proof[AX_PROOF_SIZE];
    struct ax_nonces nonces;

    (void)state;
    fill(&nonces);
    for (int prover = AX_PROVER_CLIENT; prover <= AX_PROVER_SERVER; prover++) {
        assert_int_equal(ax_secret_prove(secret, (enum ax_prover)prover, &nonces, proof), 0);
        assert_memory_equal(proof, expected[prover], sizeof expected[prover]);
    }
    ax_secret_free(secret);
}

static void test_a_proof_is_good_for_one_role_and_one_exchange(void **state)
{
    struct ax_secret *secret = read_text("0123456789abcdef");
    struct ax_secret *other = read_text("0123456789abcdeg");
    unsigned char proof[AX_PROOF_SIZE];
    struct ax_nonces nonces, swapped;

    (void)state;
    fill(&nonces);
    memcpy(swapped.client, nonces.server, AX_NONCE_SIZE);
    memcpy(swapped.server, nonces.client, AX_NONCE_SIZE);
    assert_int_equal(ax_secret_prove(secret, AX_PROVER_CLIENT, &nonces, proof), 0);
    assert_true(ax_secret_is_proof(secret, AX_PROVER_CLIENT, &nonces, proof));
    assert_false(ax_secret_is_proof(secret, AX_PROVER_SERVER, &nonces, proof));
    assert_false(ax_secret_is_proof(secret, AX_PROVER_CLIENT, &swapped, proof));
    assert_false(ax_secret_is_proof(secret, AX_PROVER_SERVER, &swapped, proof));
    assert_false(ax_secret_is_proof(other, AX_PROVER_CLIENT, &nonces, proof));
    for (int i = 0; i < 2 * AX_NONCE_SIZE; i++) {
        struct ax_nonces changed = nonces;

        ((unsigned char *)&changed)[i] ^= 1;
        assert_false(ax_secret_is_proof(secret, AX_PROVER_CLIENT, &changed, proof));
    }
    for (int i = 0; i < AX_PROOF_SIZE; i++) {
        proof[i] ^= 0x10;
        assert_false(ax_secret_is_proof(secret, AX_PROVER_CLIENT, &nonces, proof));
        proof[i] ^= 0x10;
    }
    ax_secret_free(secret);
    ax_secret_free(other);
}

static const struct ax_crypto *real;
static int comparisons;

static bool count_comparison(const void *left, const void *right, size_t size)
{
    comparisons++;
    assert_int_equal(size, AX_PROOF_SIZE);
    return real->is_equal(left, right, size);
}

/* Constant time is what ax_crypto.is_equal promises, and nothing else compares proofs. */
static void test_proofs_are_compared_in_constant_time(void **state)
{
    struct ax_secret *secret = read_text("0123456789abcdef");
    struct ax_crypto counting = *secret->crypto;
    unsigned char proof[AX_PROOF_SIZE];
    struct ax_nonces nonces;

    (void)state;
    fill(&nonces);
    real = secret->crypto;
    counting.is_equal = count_comparison;
    secret->crypto = &counting;
    assert_int_equal(ax_secret_prove(secret, AX_PROVER_CLIENT, &nonces, proof), 0);
    assert_true(ax_secret_is_proof(secret, AX_PROVER_CLIENT, &nonces, proof));
    proof[0] ^= 1;
    assert_false(ax_secret_is_proof(secret, AX_PROVER_CLIENT, &nonces, proof));
    assert_int_equal(comparisons, 2);
    secret->crypto = real;
    ax_secret_free(secret);
}

static void test_nonces_differ(void **state)
{
    unsigned char nonces[2][AX_NONCE_SIZE] = {{0}};

    (void)state;
    assert_int_equal(ax_secret_make_nonce(nonces[0]), 0);
    assert_int_equal(ax_secret_make_nonce(nonces[1]), 0);
    assert_memory_not_equal(nonces[0], nonces[1], AX_NONCE_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line_ends_are_no_part_of_a_secret, make, drop),
        cmocka_unit_test_setup_teardown(test_a_secret_is_neither_short_nor_long, make, drop),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_open_to_others_is_refused, make, drop),
        cmocka_unit_test_setup_teardown(test_a_file_of_root_may_be_shared_with_a_group, make, drop),
        cmocka_unit_test_setup_teardown(test_what_is_no_regular_file_is_refused, make, drop),
        cmocka_unit_test_setup_teardown(test_a_file_of_another_user_is_refused, make, drop),
        cmocka_unit_test_setup_teardown(test_proofs_are_those_of_the_documentation, make, drop),
        cmocka_unit_test_setup_teardown(test_a_proof_is_good_for_one_role_and_one_exchange, make, drop),
        cmocka_unit_test_setup_teardown(test_proofs_are_compared_in_constant_time, make, drop),
        cmocka_unit_test(test_nonces_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
