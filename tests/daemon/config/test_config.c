/* SPDX-License-Identifier: MIT */
/* The layers of the configuration, as functions, and as acrossd shows them with --check-config and --print-config. */
#include "testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/config/config.h"
#include "program.h"

#define WORDS_MAX 16

static char *folder;
static char error[AX_ERROR_TEXT_SIZE];

static int enter_folder(void **state)
{
    (void)state;
    folder = make_folder();
    error[0] = '\0';
    return chdir(folder);
}

static int leave_folder(void **state)
{
    static const char *const names[] = {"file", "other", "config/acrossd/acrossd.conf"};
    static const char *const folders[] = {"config/acrossd", "config"};
    int result;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        unlink(names[i]);
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        rmdir(folders[i]);
    result = rmdir(folder);
    free(folder);
    return result;
}

static void write_bytes(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(name, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_file(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

/* ---- lines ---- */

static struct ax_options read_bytes(const char *bytes, size_t size)
{
    struct ax_options layer = {0};

    if (ax_config_read(&layer, "file", bytes, size, error, sizeof error) < 0)
        fail_msg("%s", error);
    return layer;
}

static struct ax_options read_text(const char *text)
{
    return read_bytes(text, strlen(text));
}

static void assert_bytes_refused(const char *bytes, size_t size, const char *message)
{
    struct ax_options layer = {0};

    if (ax_config_read(&layer, "file", bytes, size, error, sizeof error) == 0)
        fail_msg("%s was accepted", bytes);
    assert_string_equal(error, message);
    ax_options_fini(&layer);
}

static void assert_text_refused(const char *text, const char *message)
{
    assert_bytes_refused(text, strlen(text), message);
}

static void test_reads_lines(void **state)
{
    struct ax_options layer = read_text("# a comment\n"
                                        "\n"
                                        "  \t\n"
                                        "\t# another = comment\n"
                                        "grace=3\n"
                                        " \tverbose\t =  yes \n"
                                        "preload = b = c # d\n"
                                        "preload = e\n"
                                        "venv = \" a folder \"\n"
                                        "chdir = \"\n"
                                        "timeout = none");
    (void)state;

    assert_int_equal(layer.grace_ms, 3000);
    assert_true(layer.verbose);
    assert_int_equal(layer.preload.count, 2);
    assert_string_equal(layer.preload.items[0], "b = c # d");
    assert_string_equal(layer.preload.items[1], "e");
    assert_string_equal(layer.venv, " a folder ");
    assert_string_equal(layer.chdir, "\"");
    assert_int_equal(layer.timeout_ms, AX_DURATION_NONE);
    ax_options_fini(&layer);
}

static void test_tolerates_what_editors_do(void **state)
{
    struct ax_options layer = read_text("\xEF\xBB\xBFgrace = 3\r\n\r\n# x\r\nvenv = \xC3\xA9\r\n");
    (void)state;

    assert_int_equal(layer.grace_ms, 3000);
    assert_string_equal(layer.venv, "\xC3\xA9");
    ax_options_fini(&layer);
    layer = read_text("");
    assert_int_equal(layer.grace_ms, 0);
    ax_options_fini(&layer);
}

static void test_a_mistake_has_its_line(void **state)
{
    (void)state;
    assert_text_refused("\n# x\ngrase = 3\n", "file:3: there is no setting grase: did you mean grace?");
    assert_text_refused("frobnicate = 1", "file:1: there is no setting frobnicate: acrossd --help lists them");
    assert_text_refused("grace = soon\n",
                        "file:1: grace soon is no time: write seconds up to one day (86400), like 10 or 0.5");
    assert_text_refused("grace = \n", "file:1: grace  is no time: write seconds up to one day (86400), like 10 or 0.5");
    assert_text_refused("grace = 1\npreload = a\npreload = b\ngrace = 2\n",
                        "file:4: grace is set on line 1 already: leave one of them out");
    assert_text_refused("verbose\n", "file:1: \"verbose\" is no setting: write NAME = VALUE");
    assert_text_refused("[acrossd]\n", "file:1: \"[acrossd]\" is no setting: write NAME = VALUE");
    assert_text_refused("= 3\n", "file:1: \"= 3\" is no setting: write NAME = VALUE");
    assert_text_refused("verbose = true\n", "file:1: verbose takes no value but yes or no");
    assert_text_refused("venv = \"\"\n", "file:1: venv is empty: give it a value, or leave it out");
    assert_text_refused("venv = a\rb\n", "file:1: venv has a control character in its value: leave that out");
    assert_text_refused("listen = /x\n", "file:1: /x is no address: write unix:/x");
    assert_text_refused("config = x\n", "file:1: there is no setting config: acrossd --help lists them");
}

static void test_refuses_nul_bytes(void **state)
{
    static const char text[] = "grace = 3\nvenv = a\0b\n";
    static const char comment[] = "# \0";
    (void)state;

    assert_bytes_refused(text, sizeof text - 1, "file:2: the line has a NUL byte in it: leave that out");
    assert_bytes_refused(comment, sizeof comment - 1, "file:1: the line has a NUL byte in it: leave that out");
}

static void test_lines_have_a_bound(void **state)
{
    char text[AX_CONFIG_LINE_MAX + 8];
    struct ax_options layer;
    (void)state;

    memset(text, 'x', sizeof text);
    memcpy(text, "venv = ", 7);
    text[AX_CONFIG_LINE_MAX] = '\n';
    layer = read_bytes(text, AX_CONFIG_LINE_MAX + 1);
    assert_int_equal(strlen(layer.venv), AX_CONFIG_LINE_MAX - 7);
    ax_options_fini(&layer);
    text[AX_CONFIG_LINE_MAX] = 'x';
    text[AX_CONFIG_LINE_MAX + 1] = '\n';
    assert_bytes_refused(text, AX_CONFIG_LINE_MAX + 2,
                         "file:1: the line has more than 4352 bytes: write a shorter one");
    assert_bytes_refused(text, AX_CONFIG_LINE_MAX + 1, /* also without its newline */
                         "file:1: the line has more than 4352 bytes: write a shorter one");
}

/* ---- which file ---- */

static void assert_found(const char *const *environment, bool is_root, const char *expected)
{
    char *name;

    assert_int_equal(ax_config_find(&name, (char *const *)(uintptr_t)environment, is_root), 0);
    if (expected == NULL)
        assert_null(name);
    else
        assert_string_equal(name, expected);
    free(name);
}

static void test_looks_for_a_file(void **state)
{
    (void)state;
    assert_found((const char *[]){"HOME=/h", "XDG_CONFIG_HOME=/c", NULL}, true, "/etc/acrossd/acrossd.conf");
    assert_found((const char *[]){"HOME=/h", "XDG_CONFIG_HOME=/c", NULL}, false, "/c/acrossd/acrossd.conf");
    assert_found((const char *[]){"HOME=/h", "XDG_CONFIG_HOME=c", NULL}, false, "/h/.config/acrossd/acrossd.conf");
    assert_found((const char *[]){"XDG_CONFIG_HOME=", "HOME=/h", NULL}, false, "/h/.config/acrossd/acrossd.conf");
    assert_found((const char *[]){"HOMER=/x", "HOME=h", NULL}, false, NULL);
    assert_found((const char *[]){"XDG_CONFIG_HOME=/c\nd", NULL}, false, NULL);
    assert_found((const char *[]){NULL}, false, NULL);
}

/* ---- levels ---- */

/* Loads with these words after the program's name, and with these variables; both end with NULL. */
static int load(struct ax_options *options, const char *const *words, const char *const *variables)
{
    const char *argv[WORDS_MAX + 2] = {"acrossd"};
    int argc = 1;

    for (; *words != NULL; words++) {
        assert_true(argc <= WORDS_MAX);
        argv[argc++] = *words;
    }
    error[0] = '\0';
    return ax_config_load(options, argc, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)variables, false,
                          error, sizeof error);
}

#define WORDS(...) ((const char *[]){__VA_ARGS__, NULL})
#define NONE ((const char *[]){NULL})

static struct ax_options loaded(const char *const *words, const char *const *variables)
{
    struct ax_options options;

    if (load(&options, words, variables) < 0)
        fail_msg("%s", error);
    return options;
}

static void assert_load_refused(const char *const *words, const char *const *variables, const char *part)
{
    struct ax_options options;

    assert_int_equal(load(&options, words, variables), -1);
    assert_contains(error, part);
    ax_options_fini(&options);
}

static void test_the_command_line_goes_before_the_environment_and_that_before_the_file(void **state)
{
    struct ax_options options;
    (void)state;

    write_file("file", "listen = unix:file\ngrace = 1\ntimeout = 1\nmax-handshakes = 1\n");
    options = loaded(WORDS("--config", "file", "--grace", "3"), WORDS("ACROSSD_GRACE=2", "ACROSSD_TIMEOUT=2", "X=y"));
    assert_int_equal(options.grace_ms, 3000);
    assert_int_equal(options.timeout_ms, 2000);
    assert_int_equal(options.max_handshakes, 1);
    assert_int_equal(options.handshake_timeout_ms, 10000);
    assert_string_equal(options.listen.items[0], "unix:file");
    assert_string_equal(options.config, "file");
    ax_options_fini(&options);
}

static void test_a_list_of_a_higher_level_replaces_the_lower_one(void **state)
{
    static const char text[] = "stdio = yes\npreload = a\npreload = b\n";
    struct ax_options options;
    (void)state;

    write_file("file", text);
    options = loaded(WORDS("--config=file"), NONE);
    assert_int_equal(options.preload.count, 2);
    ax_options_fini(&options);
    options = loaded(WORDS("--config=file"), WORDS("ACROSSD_PRELOAD=c d e"));
    assert_int_equal(options.preload.count, 3);
    assert_string_equal(options.preload.items[0], "c");
    ax_options_fini(&options);
    options = loaded(WORDS("--config=file", "--preload=f"), WORDS("ACROSSD_PRELOAD=c d e"));
    assert_int_equal(options.preload.count, 1);
    assert_string_equal(options.preload.items[0], "f");
    ax_options_fini(&options);
}

static void test_where_to_serve_is_chosen_at_the_highest_level(void **state)
{
    struct ax_options options;
    (void)state;

    write_file("file", "listen = unix:a\nlisten = unix:b\n");
    options = loaded(WORDS("--config=file", "--stdio"), NONE);
    assert_true(options.use_stdio);
    assert_int_equal(options.listen.count, 0);
    ax_options_fini(&options);
    options = loaded(WORDS("--config=file"), WORDS("ACROSSD_STDIO=yes"));
    assert_true(options.use_stdio);
    assert_int_equal(options.listen.count, 0);
    ax_options_fini(&options);
    options = loaded(WORDS("--config=file", "--listen=unix:c"), WORDS("ACROSSD_STDIO=yes"));
    assert_false(options.use_stdio);
    assert_int_equal(options.listen.count, 1);
    assert_string_equal(options.listen.items[0], "unix:c");
    ax_options_fini(&options);
    write_file("file", "listen = unix:a\nstdio = yes\n");
    assert_load_refused(WORDS("--config=file"), NONE, "write one of them");
    options = loaded(WORDS("--config=file", "--stdio"), NONE);
    ax_options_fini(&options);
}

/* A mistake is reported even if a layer of higher priority overrides the setting. */
static void test_every_level_is_checked(void **state)
{
    (void)state;
    write_file("file", "grace = soon\n");
    assert_load_refused(WORDS("--stdio", "--config=file", "--grace=1"), WORDS("ACROSSD_GRACE=1"), "file:1: grace soon");
    assert_load_refused(WORDS("--stdio", "--grace=1"), WORDS("ACROSSD_CONFIG=/dev/null", "ACROSSD_GRACE=soon"),
                        "ACROSSD_GRACE soon is no time");
    assert_load_refused(WORDS("--stdio", "--grace=soon"), NONE, "--grace soon is no time");
}

static void test_variables_that_mean_nothing_are_mistakes(void **state)
{
    struct ax_options options;
    (void)state;

    assert_load_refused(WORDS("--stdio"), WORDS("ACROSSD_MAX_CONECTIONS=1"),
                        "there is no setting ACROSSD_MAX_CONECTIONS: did you mean ACROSSD_MAX_CONNECTIONS?");
    assert_load_refused(WORDS("--stdio"), WORDS("ACROSSD_=1"), "there is no setting ACROSSD_: acrossd --help");
    assert_load_refused(WORDS("--stdio"), WORDS("ACROSSD_ROLE=worker"), "there is no setting ACROSSD_ROLE");
    options = loaded(WORDS("--stdio"), WORDS("ACROSSD_CONFIG=/dev/null", "ACROSSD_VENV=", "ACROSS_D=1", "ACROSSD=1"));
    assert_null(options.venv); /* an empty one counts as unset */
    ax_options_fini(&options);
}

static void test_the_file_may_be_named_by_a_variable(void **state)
{
    struct ax_options options;
    (void)state;

    write_file("file", "stdio = yes\ngrace = 1\n");
    write_file("other", "stdio = yes\ngrace = 2\n");
    options = loaded(NONE, WORDS("ACROSSD_CONFIG=file"));
    assert_int_equal(options.grace_ms, 1000);
    assert_string_equal(options.config, "file");
    ax_options_fini(&options);
    options = loaded(WORDS("--config", "other"), WORDS("ACROSSD_CONFIG=file"));
    assert_int_equal(options.grace_ms, 2000);
    assert_string_equal(options.config, "other");
    ax_options_fini(&options);
}

static void test_a_file_that_is_named_must_be_readable(void **state)
{
    static char large[AX_CONFIG_FILE_MAX + 1];
    struct ax_options options;
    (void)state;

    assert_load_refused(WORDS("--stdio", "--config", "file"), NONE,
                        "the configuration file file cannot be read: No such file or directory");
    assert_load_refused(WORDS("--stdio"), WORDS("ACROSSD_CONFIG=file"), "No such file or directory");
    assert_load_refused(WORDS("--stdio", "--config", "."), NONE, "the configuration file . is no file");
    assert_int_equal(mkfifo("file", 0600), 0); /* without a writer: opening it must not block */
    assert_load_refused(WORDS("--stdio", "--config", "file"), NONE, "the configuration file file is no file");
    assert_int_equal(unlink("file"), 0);
    memset(large, '\n', sizeof large);
    write_bytes("file", large, sizeof large);
    assert_load_refused(WORDS("--stdio", "--config", "file"), NONE, "has more than 65536 bytes");
    write_bytes("file", large, sizeof large - 1);
    options = loaded(WORDS("--stdio", "--config", "file"), NONE);
    ax_options_fini(&options);
    assert_load_refused(WORDS("--stdio", "--config", "/dev/zero"), NONE, "has more than 65536 bytes");
}

static void test_a_file_without_permission_is_a_mistake(void **state)
{
    uid_t user = geteuid();
    (void)state;

    write_file("file", "stdio = yes\n");
    assert_int_equal(chmod(".", 0711), 0);
    assert_int_equal(chmod("file", 0), 0);
    if (user == 0)
        assert_int_equal(seteuid(65534), 0);
    assert_load_refused(WORDS("--stdio", "--config", "file"), NONE,
                        "the configuration file file cannot be read: "
                        "Permission denied: name another one");
    assert_int_equal(seteuid(user), 0);
}

/* As an ordinary user: root's default file belongs to the system, which a test leaves alone. */
static void test_a_file_that_is_looked_for_need_not_be_there(void **state)
{
    uid_t user = geteuid();
    char variable[64];
    struct ax_options options;
    (void)state;

    assert_int_equal(chmod(".", 0755), 0);
    snprintf(variable, sizeof variable, "XDG_CONFIG_HOME=%s/config", folder);
    if (user == 0)
        assert_int_equal(seteuid(65534), 0);
    options = loaded(WORDS("--stdio"), WORDS(variable));
    assert_null(options.config);
    ax_options_fini(&options);
    assert_int_equal(seteuid(user), 0);

    assert_int_equal(mkdir("config", 0755), 0);
    assert_int_equal(mkdir("config/acrossd", 0755), 0);
    write_file("config/acrossd/acrossd.conf", "grace = 4\n");
    assert_int_equal(chmod("config/acrossd/acrossd.conf", 0644), 0);
    if (user == 0)
        assert_int_equal(seteuid(65534), 0);
    options = loaded(WORDS("--stdio"), WORDS(variable));
    assert_int_equal(options.grace_ms, 4000);
    assert_contains(options.config, "/config/acrossd/acrossd.conf");
    ax_options_fini(&options);
    assert_int_equal(seteuid(user), 0);
}

static void test_processes_of_its_own_read_the_command_line_only(void **state)
{
    struct ax_options options;
    (void)state;

    options = loaded(WORDS("--role=zygote", "--control-fd=3"),
                     WORDS("ACROSSD_GRACE=5", "ACROSSD_FOO=1", "ACROSSD_CONFIG=missing"));
    assert_int_equal(options.role, AX_PROCESS_ZYGOTE);
    assert_int_equal(options.grace_ms, 10000);
    assert_null(options.config);
    ax_options_fini(&options);
}

static void test_help_needs_no_good_configuration(void **state)
{
    struct ax_options options = loaded(WORDS("--help"), WORDS("ACROSSD_FOO=1", "ACROSSD_CONFIG=missing"));
    (void)state;

    assert_true(options.help);
    ax_options_fini(&options);
    options = loaded(WORDS("--version"), WORDS("ACROSSD_FOO=1"));
    assert_true(options.version);
    ax_options_fini(&options);
}

static void test_sockets_of_a_service_manager_need_no_address(void **state)
{
    char pid[32];
    struct ax_options options;
    (void)state;

    snprintf(pid, sizeof pid, "LISTEN_PID=%ld", (long)getpid());
    options = loaded(NONE, WORDS("ACROSSD_CONFIG=/dev/null", pid, "LISTEN_FDS=1"));
    ax_options_fini(&options);
    assert_load_refused(NONE, WORDS("ACROSSD_CONFIG=/dev/null", "LISTEN_PID=1", "LISTEN_FDS=1"), "nowhere to listen");
    assert_load_refused(NONE, WORDS("ACROSSD_CONFIG=/dev/null", pid), "nowhere to listen");
    assert_load_refused(NONE, WORDS("ACROSSD_CONFIG=/dev/null"), "nowhere to listen");
}

/* A file that has changed is read anew. */
static void test_loads_again(void **state)
{
    struct ax_options options;
    (void)state;

    write_file("file", "stdio = yes\npreload = a\n");
    options = loaded(WORDS("--config", "file"), NONE);
    assert_string_equal(options.preload.items[0], "a");
    ax_options_fini(&options);
    write_file("file", "stdio = yes\npreload = b\n");
    options = loaded(WORDS("--config", "file"), NONE);
    assert_int_equal(options.preload.count, 1);
    assert_string_equal(options.preload.items[0], "b");
    ax_options_fini(&options);
}

/* ---- as a file ---- */

static void print_to_file(const struct ax_options *options, const char *name)
{
    FILE *file = fopen(name, "we");

    assert_non_null(file);
    ax_options_print(options, file);
    assert_int_equal(fclose(file), 0);
}

static void test_what_is_printed_can_be_read(void **state)
{
    struct ax_options before, after;
    struct ax_string_list arguments[2] = {{0}, {0}};
    (void)state;

    write_file("file", "listen = unix:a\nlisten = unix:b c\nallow-uid = 1\nallow-gid = 2\nsocket-mode = 007\n");
    before = loaded(WORDS("--config=file", "--chdir= \"x\" ", "--timeout=0.001", "--handshake-timeout=none",
                          "--max-message=3M", "--worker-memory=1G", "--isolation=shared", "--verbose", "--preload=#"),
                    WORDS("ACROSSD_USER=somebody", "ACROSSD_SPARE_WORKERS=0", "ACROSSD_SOCKET_GROUP=staff"));
    print_to_file(&before, "other");
    after = loaded(WORDS("--config=other"), NONE);
    assert_int_equal(ax_options_to_arguments(&before, ~0u, &arguments[0]), 0);
    assert_int_equal(ax_options_to_arguments(&after, ~0u, &arguments[1]), 0);
    for (size_t i = 0; i < arguments[0].count; i++)
        if (strcmp(arguments[0].items[i], "--config=file") != 0)
            assert_string_equal(arguments[0].items[i], arguments[1].items[i]);
    assert_int_equal(arguments[0].count, arguments[1].count);
    assert_string_equal(after.chdir, " \"x\" ");
    assert_string_equal(after.listen.items[1], "unix:b c");
    assert_int_equal(after.socket_mode, 07);
    assert_int_equal(after.spare_workers, 0);
    assert_string_equal(after.socket_group, "staff");
    ax_string_list_fini(&arguments[0]);
    ax_string_list_fini(&arguments[1]);
    ax_options_fini(&before);
    ax_options_fini(&after);
}

/* ---- the program ---- */

/* Runs it and returns its output; its standard error is in program->log. */
static void run(struct program *program, char *output, size_t size, int status, const char *const *words)
{
    size_t used = 0;
    ssize_t count;

    program_start(program, WITH_PIPES, words);
    while ((count = read(program->out, output + used, size - 1 - used)) > 0)
        used += (size_t)count;
    output[used] = '\0';
    if (program_wait(program) != status)
        fail_msg("not status %d: %s", status, program->log);
}

static void test_check_config_says_that_it_is_good(void **state)
{
    struct program program;
    char output[4096];
    (void)state;

    write_file("file", "listen = unix:socket\nallow-uid = 0\nallow-gid = root\nsocket-group = 0\nuser = 0\n");
    run(&program, output, sizeof output, 0, WORDS("--check-config", "--config=file", "--chdir=."));
    assert_string_equal(output, "the configuration is good\n");
    assert_string_equal(program.log, "");
    assert_int_equal(access("socket", F_OK), -1);
}

static void assert_check_fails(const char *line, const char *message)
{
    struct program program;
    char output[4096];

    write_file("file", line);
    run(&program, output, sizeof output, 2, WORDS("--check-config", "--listen=unix:x", "--config=file"));
    assert_string_equal(output, "");
    assert_contains(program.log, message);
}

static void test_check_config_says_what_is_wrong(void **state)
{
    (void)state;
    assert_check_fails("# x\nfoo = 1\n", "acrossd: file:2: there is no setting foo");
    assert_check_fails("chdir = nowhere\n", "--chdir nowhere: No such file or directory");
    assert_check_fails("venv = .\n", "--venv . is no virtual environment");
    assert_check_fails("allow-uid = no-such-user\n", "this system has no user \"no-such-user\"");
    assert_check_fails("allow-gid = no-such-group\n", "this system has no group \"no-such-group\"");
    assert_check_fails("socket-group = no-such-group\n", "this system has no group \"no-such-group\"");
    assert_check_fails("user = no-such-user\n", "this system has no user \"no-such-user\"");
}

static void test_print_config_prints_what_is_in_force(void **state)
{
    struct program program;
    char output[16384];
    (void)state;

    write_file("file", "\ngrace = 7\n");
    setenv("ACROSSD_TIMEOUT", "8", 1);
    run(&program, output, sizeof output, 0, WORDS("--print-config", "--config=file", "--verbose"));
    assert_contains(output, "# The file that was read: file\n");
    assert_contains(output, "# listen is not set\n");
    assert_contains(output, "# file:2\ngrace = 7\n");
    assert_contains(output, "# environment\ntimeout = 8\n");
    assert_contains(output, "# command line\nverbose = yes\n");
    assert_contains(output, "# default\nhandshake-timeout = 10\n");
    run(&program, output, sizeof output, 2, WORDS("--print-config", "--config=file", "--grace=x"));
    assert_string_equal(output, "");
    run(&program, output, sizeof output, 0, WORDS("--print-config", "--check-config", "--config=file", "--stdio"));
    assert_null(strstr(output, "the configuration is good"));
    assert_contains(output, "# command line\nstdio = yes\n");
    run(&program, output, sizeof output, 2, WORDS("--print-config", "--check-config", "--stdio", "--chdir=nowhere"));
    assert_string_equal(output, "");
    run(&program, output, sizeof output, 0, WORDS("--print-config", "--config=/dev/null"));
    assert_contains(output, "# The file that was read: /dev/null\n");
    unsetenv("ACROSSD_TIMEOUT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_lines, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_tolerates_what_editors_do, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_a_mistake_has_its_line, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_refuses_nul_bytes, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_lines_have_a_bound, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_looks_for_a_file, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_the_command_line_goes_before_the_environment_and_that_before_the_file,
                                        enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_a_list_of_a_higher_level_replaces_the_lower_one, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(test_where_to_serve_is_chosen_at_the_highest_level, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_every_level_is_checked, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_variables_that_mean_nothing_are_mistakes, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_the_file_may_be_named_by_a_variable, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_named_must_be_readable, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_a_file_without_permission_is_a_mistake, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_looked_for_need_not_be_there, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_processes_of_its_own_read_the_command_line_only, enter_folder,
                                        leave_folder),
        cmocka_unit_test_setup_teardown(test_help_needs_no_good_configuration, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_sockets_of_a_service_manager_need_no_address, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_loads_again, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_what_is_printed_can_be_read, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_check_config_says_that_it_is_good, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_check_config_says_what_is_wrong, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(test_print_config_prints_what_is_in_force, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
