/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/options.h"
#include "daemon/sentence.h"

#define MAX_WORDS 32

/* Parses the words, separated by spaces, after the program's name. */
static int parse(struct ax_options *options, const char *line, char *error)
{
    char words[512];
    char *argv[MAX_WORDS + 2] = {(char[]){"acrossd"}};
    int argc = 1;

    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc <= MAX_WORDS);
        argv[argc++] = word;
    }
    ax_options_init(options);
    error[0] = '\0';
    return ax_options_parse(options, argc, argv, error, AX_SENTENCE_SIZE);
}

static struct ax_options accepted(const char *line)
{
    struct ax_options options;
    char error[AX_SENTENCE_SIZE];

    if (parse(&options, line, error) < 0)
        fail_msg("%s: %s", line, error);
    return options;
}

static void assert_refused(const char *line, const char *part)
{
    struct ax_options options;
    char error[AX_SENTENCE_SIZE];

    if (parse(&options, line, error) == 0)
        fail_msg("%s was accepted", line);
    assert_contains(error, part);
    assert_null(strchr(error, '\n'));
    ax_options_fini(&options);
}

static void test_has_defaults(void **state)
{
    struct ax_options options = accepted("--stdio");
    (void)state;

    assert_true(options.use_stdio);
    assert_int_equal(options.isolation, AX_ISOLATION_SHARED);
    assert_int_equal(options.grace_ms, 10000);
    assert_int_equal(options.handshake_timeout_ms, 10000);
    assert_int_equal(options.timeout_ms, 60000);
    assert_int_equal(options.max_message, 0);
    assert_int_equal(options.socket_mode, 0600);
    assert_int_equal(options.role, AX_PROCESS_MAIN);
    assert_false(options.insecure);
    assert_null(options.venv);
    assert_null(options.preload.items);
    ax_options_fini(&options);
}

static void test_takes_values_after_a_space_or_an_equals_sign(void **state)
{
    struct ax_options options =
        accepted("--listen unix:a --listen=tcp:h:1 --preload x --preload=y.z --venv=a=b --chdir /");
    (void)state;

    assert_int_equal(options.listen.count, 2);
    assert_string_equal(options.listen.items[0], "unix:a");
    assert_string_equal(options.listen.items[1], "tcp:h:1");
    assert_int_equal(options.preload.count, 2);
    assert_string_equal(options.preload.items[1], "y.z");
    assert_null(options.preload.items[2]);
    assert_string_equal(options.venv, "a=b");
    assert_string_equal(options.chdir, "/");
    ax_options_fini(&options);
}

static void test_the_last_value_counts(void **state)
{
    struct ax_options options = accepted("--stdio --venv a --venv b --grace 1 --grace 2");
    (void)state;

    assert_string_equal(options.venv, "b");
    assert_int_equal(options.grace_ms, 2000);
    ax_options_fini(&options);
}

static uint32_t grace(const char *text)
{
    char line[64];
    struct ax_options options;
    uint32_t result;

    snprintf(line, sizeof line, "--stdio --grace %s", text);
    options = accepted(line);
    result = options.grace_ms;
    ax_options_fini(&options);
    return result;
}

static void test_reads_seconds(void **state)
{
    (void)state;
    assert_int_equal(grace("0"), 0);
    assert_int_equal(grace("1"), 1000);
    assert_int_equal(grace("0.25"), 250);
    assert_int_equal(grace("1.0009"), 1000);
    assert_int_equal(grace("0.0001"), 1);
    assert_int_equal(grace("86400"), 86400000);
}

static void test_refuses_what_is_no_time(void **state)
{
    static const char *const texts[] = {
        "-1", "1s", ".5", "1e3", "inf", "nan", "0x10", "86400.001", "18446744073709551617", "+1", "1.2.3", "none"};
    char line[64];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        snprintf(line, sizeof line, "--stdio --grace=%s", texts[i]);
        assert_refused(line, "write seconds");
    }
    assert_refused("--stdio --timeout=never", "or none");
}

static void test_some_times_may_be_unlimited(void **state)
{
    struct ax_options options = accepted("--stdio --timeout none --handshake-timeout 0");
    (void)state;

    assert_int_equal(options.timeout_ms, AX_DURATION_NONE);
    assert_int_equal(options.handshake_timeout_ms, AX_DURATION_NONE);
    ax_options_fini(&options);
}

static uint64_t size_of(const char *text)
{
    char line[64];
    struct ax_options options;
    uint64_t result;

    snprintf(line, sizeof line, "--stdio --max-message %s", text);
    options = accepted(line);
    result = options.max_message;
    ax_options_fini(&options);
    return result;
}

static void test_reads_sizes(void **state)
{
    (void)state;
    assert_int_equal(size_of("1"), 1);
    assert_int_equal(size_of("4k"), 4096);
    assert_int_equal(size_of("3M"), 3 * 1024 * 1024);
    assert_true(size_of("2G") == (uint64_t)2 << 30);
    assert_refused("--stdio --max-message 0", "is no size");
    assert_refused("--stdio --max-message 1.5G", "is no size");
    assert_refused("--stdio --max-message 1T", "is no size");
    assert_refused("--stdio --max-message 1KK", "is no size");
    assert_refused("--stdio --max-message 9999999999999999G", "is no size");
    assert_refused("--stdio --max-message 99999999999999999999999999", "is no size");
}

static void test_reads_modes(void **state)
{
    struct ax_options options = accepted("--stdio --socket-mode 0660");
    (void)state;

    assert_int_equal(options.socket_mode, 0660);
    ax_options_fini(&options);
    assert_refused("--stdio --socket-mode 888", "three octal digits");
    assert_refused("--stdio --socket-mode 1777", "three octal digits");
    assert_refused("--stdio --socket-mode u=rw", "three octal digits");
}

static void test_says_what_to_write_instead(void **state)
{
    (void)state;
    assert_refused("", "--listen unix:PATH");
    assert_refused("--grace 1", "nowhere to listen");
    assert_refused("--stdio --listen unix:x", "write one of them");
    assert_refused("--listen", "write --listen ADDRESS");
    assert_refused("--listen --stdio", "write --listen ADDRESS");
    assert_refused("--listen=", "write --listen ADDRESS");
    assert_refused("--listen /x", "write unix:/x");
    assert_refused("--lisen unix:x", "did you mean --listen?");
    assert_refused("--handshaketimeout 3", "did you mean --handshake-timeout?");
    assert_refused("--frobnicate", "acrossd --help");
    assert_refused("--this-is-no-option-and-longer-than-all-of-them", "acrossd --help");
    assert_refused("--rol worker", "acrossd --help"); /* hidden ones are not suggested */
    assert_refused("-x", "acrossd --help");
    assert_refused("unix:/x", "write --listen unix:/x");
    assert_refused("--stdio=maybe", "write --stdio");
    assert_refused("--isolation thread --stdio", "write --isolation shared or --isolation process");
    assert_refused("--stdio --worker-memory 1T", "--worker-memory 1T is no size");
    assert_refused("--stdio --worker-memory lots", "or none");
    assert_refused("--stdio --spare-workers 65", "from 0 to 64");
    assert_refused("--stdio --max-handshakes 0", "from 1 to");
    assert_refused("--stdio --max-connections many", "is no number");
    assert_refused("--stdio --max-connections 9999999999", "is no number");
    assert_refused("--venv= --stdio", "write --venv DIR");
}

static void test_help_and_version_need_nothing_else(void **state)
{
    struct ax_options options = accepted("-h");
    (void)state;

    assert_true(options.help);
    ax_options_fini(&options);
    options = accepted("--version");
    assert_true(options.version);
    ax_options_fini(&options);
}

/* A worker that gets the arguments made of its supervisor's settings has the same settings. */
static void test_settings_survive_as_arguments(void **state)
{
    struct ax_options before = accepted("--listen unix:x --venv v --preload a --preload b --timeout none --grace 3 "
                                        "--handshake-timeout 0.125 --max-message 5K --verbose --chdir=/tmp");
    struct ax_options after;
    struct ax_texts arguments = {0};
    char error[AX_SENTENCE_SIZE];
    (void)state;

    before.role = AX_PROCESS_WORKER;
    before.control_fd = 3;
    assert_int_equal(ax_texts_add(&arguments, "acrossd"), 0);
    assert_int_equal(ax_options_to_arguments(&before, AX_OPTION_WORKER, &arguments), 0);
    ax_options_init(&after);
    assert_int_equal(ax_options_parse(&after, (int)arguments.count, arguments.items, error, sizeof error), 0);
    assert_int_equal(after.role, AX_PROCESS_WORKER);
    assert_int_equal(after.control_fd, 3);
    assert_int_equal(after.listen.count, 0); /* not a worker's business */
    assert_string_equal(after.venv, "v");
    assert_string_equal(after.chdir, "/tmp");
    assert_int_equal(after.preload.count, 2);
    assert_int_equal(after.timeout_ms, AX_DURATION_NONE);
    assert_int_equal(after.handshake_timeout_ms, 125);
    assert_int_equal(after.max_message, 5120);
    assert_true(after.verbose);
    ax_texts_fini(&arguments);
    ax_options_fini(&before);
    ax_options_fini(&after);
}

static void test_help_names_every_option_but_the_hidden_ones(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    (void)state;

    ax_options_print_help(stream);
    fclose(stream);
    assert_contains(text, "--listen ADDRESS");
    assert_contains(text, "--handshake-timeout SECONDS");
    assert_contains(text, "(default: 60)");
    assert_null(strstr(text, "--role"));
    assert_null(strstr(text, "--control-fd"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_has_defaults),
        cmocka_unit_test(test_takes_values_after_a_space_or_an_equals_sign),
        cmocka_unit_test(test_the_last_value_counts),
        cmocka_unit_test(test_reads_seconds),
        cmocka_unit_test(test_refuses_what_is_no_time),
        cmocka_unit_test(test_some_times_may_be_unlimited),
        cmocka_unit_test(test_reads_sizes),
        cmocka_unit_test(test_reads_modes),
        cmocka_unit_test(test_says_what_to_write_instead),
        cmocka_unit_test(test_help_and_version_need_nothing_else),
        cmocka_unit_test(test_settings_survive_as_arguments),
        cmocka_unit_test(test_help_names_every_option_but_the_hidden_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
