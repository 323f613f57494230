/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certificates.h"
#include "daemon/admission/identity.h"
#include "daemon/base/error_format.h"
#include "fake_tls.h"

/* ---- client names ---- */

static bool admits(const char *allowed, const char *const *names, size_t count, char name[AX_IDENTITY_NAME])
{
    struct ax_identity identity = {0};
    struct fake_tls fake;
    bool result;

    if (allowed != NULL)
        assert_int_equal(ax_string_list_add(&identity.allowed, allowed), 0);
    fake_tls_init(&fake, -1);
    fake.names = names;
    fake.name_count = count;
    result = ax_identity_admits(&identity, &fake.base, name);
    ax_string_list_fini(&identity.allowed);
    return result;
}

static void test_names_are_compared_by_their_kind(void **state)
{
    static const struct {
        const char *allowed;
        const char *name; /* after the letter of its kind */
        bool expected;
    } cases[] = {
        {"alice", "Dalice", true},           {"alice", "DALICE", true},
        {"ALICE", "Dalice", true},           {"alice", "Dalice.example", false},
        {"alice", "Dalic", false},           {"*", "Dalice", false},
        {"*.example", "Da.example", false},  {"a.example", "D*.example", false},
        {"alice", "Calice", true},           {"alice", "CAlice", false},
        {"a@b.c", "Ea@b.c", true},           {"a@b.c", "EA@b.c", false},
        {"a@b.c", "Da@b.c", false},          {"alice", "Ealice", false},
        {"spiffe://a", "Uspiffe://a", true}, {"spiffe://a", "Uspiffe://a/", false},
        {"alice", "Ualice", false},          {"spiffe://a", "Dspiffe://a", false},
    };
    char name[AX_IDENTITY_NAME];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (admits(cases[i].allowed, &cases[i].name, 1, name) != cases[i].expected)
            fail_msg("%s, %s", cases[i].allowed, cases[i].name);
}

static void test_one_of_several_names_is_enough(void **state)
{
    static const char *const names[] = {"Ealice", "Dfirst", "Dsecond", "Dthird"};
    char name[AX_IDENTITY_NAME];
    (void)state;

    assert_true(admits("second", names, COUNT_OF(names), name));
    assert_string_equal(name, "second");
    assert_false(admits("fourth", names, COUNT_OF(names), name));
    assert_string_equal(name, "first"); /* for the log */
    assert_true(admits(NULL, names, COUNT_OF(names), name));
    assert_string_equal(name, "first");
}

static void test_without_a_name_only_those_come_in_whom_nobody_restricts(void **state)
{
    char name[AX_IDENTITY_NAME];
    (void)state;

    assert_false(admits("alice", NULL, 0, name));
    assert_string_equal(name, "");
    assert_true(admits(NULL, NULL, 0, name));
}

/* ---- files ---- */

static char *folder;
static char paths[3][100];
static struct ax_options options;

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int make_files(void **state)
{
    static const char *const names[] = {"cert", "key", "ca"};
    static const struct certificate_request request = {.name = "server", .lasts = 1};
    struct holder authority, server;
    char text[PEM_MAX];
    (void)state;

    folder = make_folder();
    for (size_t i = 0; i < COUNT_OF(names); i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
    holder_make_authority(&authority, "authority");
    holder_issue(&server, &authority, &request);
    write_certificate(text, &server);
    write_file(paths[0], text, 0644);
    write_key(text, &server, NULL);
    write_file(paths[1], text, 0600);
    write_certificate(text, &authority);
    write_file(paths[2], text, 0644);
    holder_fini(&authority);
    holder_fini(&server);
    options = (struct ax_options){.tls_cert = paths[0], .tls_key = paths[1], .tls_client_ca = paths[2]};
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        unlink(paths[i]);
    rmdir(folder);
    free(folder);
    return 0;
}

static void check_loads(void)
{
    char error[AX_ERROR_TEXT_SIZE] = "";
    struct ax_identity *identity = ax_identity_load(&options, error, sizeof error);

    assert_string_equal(error, "");
    assert_non_null(identity);
    ax_identity_free(identity);
}

static void check_refused(const char *reason)
{
    char error[AX_ERROR_TEXT_SIZE] = "";

    assert_null(ax_identity_load(&options, error, sizeof error));
    assert_contains(error, reason);
}

static void test_is_loaded_from_files(void **state)
{
    char *ca = options.tls_client_ca;
    (void)state;

    assert_true(ax_options_have_identity(&options));
    check_loads();
    options.tls_client_ca = NULL;
    assert_false(ax_options_have_identity(&options));
    options.tls_client_ca = ca;
}

static void test_a_key_that_others_can_read_is_refused(void **state)
{
    (void)state;
    for (mode_t mode = 1; mode <= 077; mode++) {
        assert_int_equal(chmod(paths[1], 0600 | mode), 0);
        check_refused("is open to others, with mode 6");
    }
    assert_int_equal(chmod(paths[1], 0400), 0);
    check_loads();
}

/* As with systemd's credentials, and Debian's group ssl-cert: root may share a key deliberately. */
static void test_a_key_of_root_may_be_shared_with_a_group(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(paths[1], 0640), 0);
    check_refused("is open to others, with mode 640: chmod 600");
    assert_int_equal(chown(paths[1], 0, 54321), 0);
    assert_int_equal(setegid(54321), 0);
    assert_int_equal(seteuid(54321), 0);
    check_loads();
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(paths[1], 0644), 0);
    assert_int_equal(seteuid(54321), 0);
    check_refused("is open to others, with mode 644: chmod 640");
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(setegid(0), 0);
}

static void test_a_key_of_somebody_else_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(paths[1], 54321, (gid_t)-1), 0);
    check_refused("belongs to user 54321, and must belong to user 0");
}

static void test_what_is_no_file_is_refused(void **state)
{
    (void)state;
    options.tls_cert = folder;
    check_refused("is not a regular file");
    options.tls_cert = paths[0];
    unlink(paths[1]);
    check_refused("cannot open --tls-key");
    assert_int_equal(mkfifo(paths[1], 0600), 0);
    check_refused("is not a regular file");
    assert_int_equal(truncate(paths[0], AX_IDENTITY_FILE_MAX + 1), 0);
    check_refused("has more than 1048576 bytes");
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, make_files, remove_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_compared_by_their_kind),
        cmocka_unit_test(test_one_of_several_names_is_enough),
        cmocka_unit_test(test_without_a_name_only_those_come_in_whom_nobody_restricts),
        FILE_TEST(test_is_loaded_from_files),
        FILE_TEST(test_a_key_that_others_can_read_is_refused),
        FILE_TEST(test_a_key_of_root_may_be_shared_with_a_group),
        FILE_TEST(test_a_key_of_somebody_else_is_refused),
        FILE_TEST(test_what_is_no_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
