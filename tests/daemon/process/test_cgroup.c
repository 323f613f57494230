/* SPDX-License-Identifier: MIT */
/* The files of control groups, in an ordinary folder; tests/e2e/test_cgroups.py tests them with the kernel. */
#include "testing.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/process/cgroup.h"

static struct ax_cgroup base;
static char name[AX_CGROUP_NAME];

static const char *path_of(const char *group, const char *file)
{
    static char path[2 * PATH_MAX];

    snprintf(path, sizeof path, "%s/%s%s%s", base.path, group, file[0] != '\0' ? "/" : "", file);
    return path;
}

static void make_file(const char *file)
{
    FILE *stream = fopen(path_of(name, file), "w");

    assert_non_null(stream);
    fclose(stream);
}

static const char *read_file(const char *file)
{
    static char text[64];
    FILE *stream = fopen(path_of(name, file), "r");

    assert_non_null(stream);
    text[fread(text, 1, sizeof text - 1, stream)] = '\0';
    fclose(stream);
    return text;
}

static int set_up(void **state)
{
    (void)state;
    base = (struct ax_cgroup){.path = "/tmp/ax-cgroup-XXXXXX"};
    assert_non_null(mkdtemp(base.path));
    ax_cgroup_name(name, getpid(), 7);
    assert_int_equal(mkdir(path_of(name, ""), 0700), 0);
    return 0;
}

static int tear_down(void **state)
{
    char command[PATH_MAX + 8];
    (void)state;

    snprintf(command, sizeof command, "rm -r %s", base.path);
    return system(command);
}

static void test_limits_are_written_as_far_as_there_are_controllers(void **state)
{
    (void)state;
    make_file("memory.max");
    make_file("pids.max");
    assert_int_equal(ax_cgroup_limit(&base, name, 4096, 10), 0);
    assert_string_equal(read_file("memory.max"), "");
    assert_string_equal(read_file("pids.max"), "");

    base.has_memory = true;
    assert_int_equal(ax_cgroup_limit(&base, name, (uint64_t)64 << 30, 10), 0);
    assert_string_equal(read_file("memory.max"), "68719476736");
    assert_string_equal(read_file("pids.max"), "");

    base.has_pids = true;
    assert_int_equal(truncate(path_of(name, "memory.max"), 0), 0);
    assert_int_equal(ax_cgroup_limit(&base, name, 0, 10), 0);
    assert_string_equal(read_file("memory.max"), "max");
    assert_string_equal(read_file("pids.max"), "10");
}

static void test_a_limit_that_cannot_be_set_is_told(void **state)
{
    (void)state;
    base.has_memory = true;
    assert_int_equal(ax_cgroup_limit(&base, name, 4096, 0), -ENOENT);
}

static void test_groups_of_supervisors_that_run_are_left_alone(void **state)
{
    char gone[AX_CGROUP_NAME], running[AX_CGROUP_NAME];
    pid_t pid = fork();
    (void)state;

    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    ax_cgroup_name(gone, pid, 1);
    ax_cgroup_name(running, getppid(), 1);
    assert_int_equal(mkdir(path_of(gone, ""), 0700), 0);
    assert_int_equal(mkdir(path_of(running, ""), 0700), 0);
    assert_int_equal(mkdir(path_of("acrossd.worker-x", ""), 0700), 0);
    ax_cgroup_remove_stale(&base, getpid());
    assert_int_equal(access(path_of(gone, ""), F_OK), -1);
    assert_int_equal(access(path_of(name, ""), F_OK), -1);
    assert_int_equal(access(path_of(running, ""), F_OK), 0);
    assert_int_equal(access(path_of("acrossd.worker-x", ""), F_OK), 0);
}

static void test_a_group_without_processes_to_enter_by_is_not_left_behind(void **state)
{
    (void)state;
    ax_cgroup_name(name, getpid(), 8);
    assert_int_equal(ax_cgroup_make(&base, name), -ENOENT); /* the kernel does not create cgroup.procs in this folder */
    assert_int_equal(access(path_of(name, ""), F_OK), -1);
    assert_int_equal(ax_cgroup_remove(&base, name), 0); /* it has been removed already */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limits_are_written_as_far_as_there_are_controllers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_limit_that_cannot_be_set_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_groups_of_supervisors_that_run_are_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_group_without_processes_to_enter_by_is_not_left_behind, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
