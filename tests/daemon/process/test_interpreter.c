/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/process/interpreter.h"

static const struct ax_source command_line = {AX_LEVEL_COMMAND_LINE, 0};

static char *folder;
static char error[AX_ERROR_TEXT_SIZE];

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    folder = make_folder();
    error[0] = '\0';
    if (chdir(folder) != 0 || mkdir("bin", 0700) != 0)
        return -1;
    write_file("bin/python", "");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink("bin/python");
    unlink("pyvenv.cfg");
    rmdir("bin");
    if (chdir("/") != 0 || rmdir(folder) != 0)
        return -1;
    free(folder);
    return 0;
}

static void test_accepts_a_venv_of_the_wanted_version(void **state)
{
    static const char *const texts[] = {
        "home = /usr/bin\nversion = 3.11.2\n",
        "version_info = 3.11.2.final.0\n",
        "VERSION=3.11\n",
        "home = /usr/bin\n",
    };
    (void)state;

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        write_file("pyvenv.cfg", texts[i]);
        assert_int_equal(ax_interpreter_check_venv(".", "3.11", error, sizeof error), 0);
    }
}

static void test_says_which_version_is_needed(void **state)
{
    (void)state;
    write_file("pyvenv.cfg", "version = 3.1.1\n");
    assert_int_equal(ax_interpreter_check_venv(".", "3.11", error, sizeof error), -1);
    assert_contains(error, "is of Python 3.1, and this acrossd runs Python 3.11: make one with python3.11 -m venv");
}

static void test_a_folder_that_is_no_venv_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ax_interpreter_check_venv(".", "3.11", error, sizeof error), -1);
    assert_contains(error, "make one with python3.11 -m venv");
    write_file("pyvenv.cfg", "version = 3.11.2\n");
    assert_int_equal(unlink("bin/python"), 0);
    assert_int_equal(ax_interpreter_check_venv(".", "3.11", error, sizeof error), -1);
}

static void test_a_folder_to_run_in_must_be_there(void **state)
{
    struct ax_interpreter interpreter;
    struct ax_options options;
    (void)state;

    ax_options_init(&options);
    assert_int_equal(ax_options_set(&options, "--chdir", "no such folder", command_line, error, sizeof error), 0);
    assert_int_equal(ax_interpreter_find(&interpreter, &options, error, sizeof error), AX_INTERPRETER_REFUSED);
    assert_contains(error, "write the name of a folder");
    assert_int_equal(ax_options_set(&options, "--chdir", "bin/python", command_line, error, sizeof error), 0);
    assert_int_equal(ax_interpreter_find(&interpreter, &options, error, sizeof error), AX_INTERPRETER_REFUSED);
    assert_contains(error, "is no folder");
    ax_options_fini(&options);
}

static void test_a_venv_is_used_by_its_absolute_path(void **state)
{
    struct ax_interpreter interpreter;
    struct ax_options options;
    struct ax_host_config config;
    char wanted[256];
    (void)state;

    write_file("pyvenv.cfg", "version = " AX_PYTHON_VERSION ".0\n");
    ax_options_init(&options);
    assert_int_equal(ax_options_set(&options, "--venv", ".", command_line, error, sizeof error), 0);
    assert_int_equal(ax_options_set(&options, "--preload", "json", command_line, error, sizeof error), 0);
    assert_int_equal(ax_interpreter_find(&interpreter, &options, error, sizeof error), AX_INTERPRETER_OK);
    config = ax_interpreter_host_config(&interpreter, &options);
    snprintf(wanted, sizeof wanted, "%s/bin/python", folder);
    assert_string_equal(config.python, wanted);
    assert_int_equal(config.package_dir[0], '/');
    assert_string_equal(config.preload[0], "json");
    assert_null(config.preload[1]);
    assert_int_equal(config.timeout_ms, 60000);
    assert_true(config.accept_exports); /* a worker for each connection is the default */
    ax_interpreter_fini(&interpreter);
    ax_options_fini(&options);
}

static void test_the_one_process_of_stdio_does_not_prepare_to_fork(void **state)
{
    const struct ax_interpreter interpreter = {.python = "python", .package_dir = "/"};
    struct ax_options options;
    (void)state;

    ax_options_init(&options);
    assert_true(ax_interpreter_host_config(&interpreter, &options).forks);
    options.use_stdio = true;
    assert_false(ax_interpreter_host_config(&interpreter, &options).forks);
    ax_options_fini(&options);
}

static void test_exports_need_a_process_of_their_own(void **state)
{
    const struct ax_interpreter interpreter = {.python = "python", .package_dir = "/"};
    struct ax_options options;
    (void)state;

    ax_options_init(&options);
    options.isolation = AX_ISOLATION_SHARED;
    assert_false(ax_interpreter_host_config(&interpreter, &options).accept_exports);
    options.use_stdio = true;
    assert_true(ax_interpreter_host_config(&interpreter, &options).accept_exports);
    options.use_stdio = false;
    options.isolation = AX_ISOLATION_PROCESS;
    assert_true(ax_interpreter_host_config(&interpreter, &options).accept_exports);
    ax_options_fini(&options);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_accepts_a_venv_of_the_wanted_version),
        TEST(test_says_which_version_is_needed),
        TEST(test_a_folder_that_is_no_venv_is_refused),
        TEST(test_a_folder_to_run_in_must_be_there),
        TEST(test_a_venv_is_used_by_its_absolute_path),
        TEST(test_exports_need_a_process_of_their_own),
        TEST(test_the_one_process_of_stdio_does_not_prepare_to_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
