/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/account.h"

#define OTHER "nobody" /* a user that every system has */

/* ---- finding ---- */

static void test_finds_names(void **state)
{
    char error[AX_ERROR_TEXT_SIZE];
    uid_t uid = 99;
    gid_t gid = 99;
    (void)state;

    assert_int_equal(ax_account_find_user("root", &uid, error, sizeof error), 0);
    assert_int_equal(uid, 0);
    assert_int_equal(ax_account_find_group("root", &gid, error, sizeof error), 0);
    assert_int_equal(gid, 0);
    assert_int_equal(ax_account_find_user(OTHER, &uid, error, sizeof error), 0);
    assert_int_equal(uid, getpwnam(OTHER)->pw_uid);
}

static void test_a_number_need_not_belong_to_anybody(void **state)
{
    char error[AX_ERROR_TEXT_SIZE];
    uid_t uid;
    gid_t gid;
    (void)state;

    assert_int_equal(ax_account_find_user("4294967294", &uid, error, sizeof error), 0);
    assert_int_equal(uid, 4294967294u);
    assert_int_equal(ax_account_find_group("0070", &gid, error, sizeof error), 0);
    assert_int_equal(gid, 70);
}

static void assert_unknown(const char *text, const char *part)
{
    char error[AX_ERROR_TEXT_SIZE] = "";
    uid_t uid = 4711;
    gid_t gid = 4711;

    assert_int_equal(ax_account_find_user(text, &uid, error, sizeof error), -1);
    assert_contains(error, part);
    assert_contains(error, "user");
    assert_int_equal(uid, 4711);
    assert_int_equal(ax_account_find_group(text, &gid, error, sizeof error), -1);
    assert_contains(error, part);
    assert_contains(error, "group");
    assert_int_equal(gid, 4711);
}

static void test_says_what_is_unknown(void **state)
{
    (void)state;
    assert_unknown("", "\"\"");
    assert_unknown("no-such-name", "\"no-such-name\"");
    assert_unknown("-1", "\"-1\"");
    assert_unknown("1x", "\"1x\"");
    assert_unknown(" 1", "\" 1\"");
    assert_unknown("4294967295", "the largest one is 4294967294");
    assert_unknown("99999999999999999999999", "the largest one is 4294967294");
}

/* ---- switching ---- */

/* Runs this in a process of its own, and fails with its complaint if there is one. */
static void in_a_process(void (*run)(char *complaint, size_t size))
{
    char complaint[1024] = "";
    ssize_t size;
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run(complaint, sizeof complaint);
        _exit(write(fds[1], complaint, strlen(complaint)) < 0);
    }
    close(fds[1]);
    size = read(fds[0], complaint, sizeof complaint - 1);
    close(fds[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(size >= 0);
    complaint[size] = '\0';
    if (complaint[0] != '\0')
        fail_msg("%s", complaint);
}

#define COMPLAIN_UNLESS(condition)                                                                                     \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            snprintf(complaint, size, "not so: %s (%s)", #condition, strerror(errno));                                 \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

static bool environment_has(const char *name, const char *value)
{
    const char *found = getenv(name);

    return found != NULL && strcmp(found, value) == 0;
}

static void become_somebody(char *complaint, size_t size)
{
    const gid_t too_much[] = {0, 1, 2};
    gid_t groups[64];
    struct passwd other = *getpwnam(OTHER);
    int count;

    COMPLAIN_UNLESS(setgroups(3, too_much) == 0);
    if (ax_account_become(OTHER, complaint, size) < 0)
        return;
    COMPLAIN_UNLESS(getuid() == other.pw_uid && geteuid() == other.pw_uid);
    COMPLAIN_UNLESS(getgid() == other.pw_gid && getegid() == other.pw_gid);
    COMPLAIN_UNLESS(setuid(0) < 0 && seteuid(0) < 0 && setgid(0) < 0 && setgroups(3, too_much) < 0);
    count = getgroups(64, groups);
    COMPLAIN_UNLESS(count >= 0);
    for (int i = 0; i < count; i++)
        COMPLAIN_UNLESS(groups[i] > 2);
    COMPLAIN_UNLESS(environment_has("USER", OTHER) && environment_has("LOGNAME", OTHER));
    COMPLAIN_UNLESS(environment_has("HOME", other.pw_dir) && environment_has("SHELL", other.pw_shell));
}

static void may_look_at_itself_afterwards(char *complaint, size_t size)
{
    if (ax_account_become(OTHER, complaint, size) < 0)
        return;
    COMPLAIN_UNLESS(prctl(PR_GET_DUMPABLE) == 1);
    COMPLAIN_UNLESS(open("/proc/self/environ", O_RDONLY | O_CLOEXEC) >= 0);
}

static void stay_the_same(char *complaint, size_t size)
{
    char number[16];
    int groups = getgroups(0, NULL);

    snprintf(number, sizeof number, "%lu", (unsigned long)getuid());
    setenv("HOME", "/somewhere", 1);
    if (ax_account_become(number, complaint, size) < 0)
        return;
    COMPLAIN_UNLESS(environment_has("HOME", "/somewhere"));
    COMPLAIN_UNLESS(getgroups(0, NULL) == groups);
}

/* Whatever the system knows about that number: nothing is looked up, and the environment stays. */
static void become_a_number(char *complaint, size_t size)
{
    const gid_t wanted[] = {4711, 4712};
    gid_t groups[8];

    setenv("HOME", "/somewhere", 1);
    if (ax_account_become_exactly(54321, 4710, wanted, 2, complaint, size) < 0)
        return;
    COMPLAIN_UNLESS(getuid() == 54321 && geteuid() == 54321 && getgid() == 4710 && getegid() == 4710);
    COMPLAIN_UNLESS(getgroups(8, groups) == 2 && memcmp(groups, wanted, sizeof wanted) == 0);
    COMPLAIN_UNLESS(setuid(0) < 0 && seteuid(0) < 0 && setgid(0) < 0 && setgroups(0, NULL) < 0);
    COMPLAIN_UNLESS(environment_has("HOME", "/somewhere"));
    COMPLAIN_UNLESS(prctl(PR_GET_DUMPABLE) == 1);
}

/* A process that may not set the requested groups gets nothing else, either. */
static void become_a_number_without_rights(char *complaint, size_t size)
{
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (geteuid() == 0 && ax_account_become(OTHER, complaint, size) < 0)
        return;
    COMPLAIN_UNLESS(ax_account_become_exactly(54321, 4710, NULL, 0, error, sizeof error) == -1);
    COMPLAIN_UNLESS(strstr(error, "cannot have the groups of user 54321") != NULL);
}

static void become_twice(char *complaint, size_t size)
{
    if (ax_account_become(OTHER, complaint, size) == 0)
        ax_account_become(OTHER, complaint, size);
}

/* Only root may: the test drops root first. */
static void try_without_rights(char *complaint, size_t size)
{
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (geteuid() == 0 && ax_account_become(OTHER, complaint, size) < 0)
        return;
    COMPLAIN_UNLESS(ax_account_become("root", error, sizeof error) == -1);
    COMPLAIN_UNLESS(strstr(error, "only root may become user root") != NULL);
    COMPLAIN_UNLESS(geteuid() != 0);
}

/* A real user id of root does not count as being that user. */
static void be_half_of_it(char *complaint, size_t size)
{
    struct passwd other = *getpwnam(OTHER);
    char error[AX_ERROR_TEXT_SIZE] = "";

    COMPLAIN_UNLESS(setresuid(0, other.pw_uid, 0) == 0);
    COMPLAIN_UNLESS(ax_account_become(OTHER, error, sizeof error) == -1);
    COMPLAIN_UNLESS(strstr(error, "only root") != NULL);
}

static void test_becomes_somebody_for_good(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    in_a_process(become_somebody);
    in_a_process(may_look_at_itself_afterwards);
    in_a_process(become_twice);
    in_a_process(be_half_of_it);
}

static void test_becomes_a_number_with_its_groups_for_good(void **state)
{
    (void)state;
    in_a_process(become_a_number_without_rights);
    if (geteuid() != 0)
        skip();
    in_a_process(become_a_number);
}

static void test_describes_a_user(void **state)
{
    char error[AX_ERROR_TEXT_SIZE];
    struct ax_account account;
    (void)state;

    assert_int_equal(ax_account_describe(&account, 0, error, sizeof error), 0);
    assert_string_equal(account.name, "root");
    assert_string_equal(account.home, getpwuid(0)->pw_dir);
    assert_true(account.shell[0] == '/');
    ax_account_fini(&account);
    assert_int_equal(ax_account_describe(&account, 4294967293u, error, sizeof error), 0);
    assert_string_equal(account.name, "4294967293");
    assert_string_equal(account.home, "/");
    assert_string_equal(account.shell, "/bin/sh");
    ax_account_fini(&account);
}

static void test_who_one_is_already_is_no_change(void **state)
{
    (void)state;
    if (getpwuid(getuid()) == NULL)
        skip();
    in_a_process(stay_the_same);
}

static void test_only_root_may_become_somebody(void **state)
{
    (void)state;
    in_a_process(try_without_rights);
}

static void test_becomes_nobody_who_is_unknown(void **state)
{
    static const char *const texts[] = {"no-such-name", "4294967293", "4294967295", ""};
    char error[AX_ERROR_TEXT_SIZE] = "";
    (void)state;

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_int_equal(ax_account_become(texts[i], error, sizeof error), -1);
        assert_contains(error, "no user");
        assert_contains(error, texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_names),
        cmocka_unit_test(test_a_number_need_not_belong_to_anybody),
        cmocka_unit_test(test_says_what_is_unknown),
        cmocka_unit_test(test_becomes_somebody_for_good),
        cmocka_unit_test(test_becomes_a_number_with_its_groups_for_good),
        cmocka_unit_test(test_describes_a_user),
        cmocka_unit_test(test_who_one_is_already_is_no_change),
        cmocka_unit_test(test_only_root_may_become_somebody),
        cmocka_unit_test(test_becomes_nobody_who_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
