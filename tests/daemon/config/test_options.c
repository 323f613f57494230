/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/base/error_format.h"
#include "daemon/config/options.h"

#define MAX_WORDS 32

/* Parses the words, separated by spaces, after the program's name, on top of the defaults. */
static int parse(struct ax_options *options, const char *line, char *error)
{
    struct ax_options layer = {0};
    int result;
    char words[512];
    char *argv[MAX_WORDS + 2] = {(char[]){"acrossd"}};
    int argc = 1;

    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc <= MAX_WORDS);
        argv[argc++] = word;
    }
    error[0] = '\0';
    result = ax_options_read_arguments(&layer, argc, argv, error, AX_ERROR_TEXT_SIZE);
    ax_options_init(options);
    ax_options_override(options, &layer);
    return result < 0 ? -1 : ax_options_check(options, false, error, AX_ERROR_TEXT_SIZE);
}

static struct ax_options accepted(const char *line)
{
    struct ax_options options;
    char error[AX_ERROR_TEXT_SIZE];

    if (parse(&options, line, error) < 0)
        fail_msg("%s: %s", line, error);
    return options;
}

static void assert_refused(const char *line, const char *part)
{
    struct ax_options options;
    char error[AX_ERROR_TEXT_SIZE];

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
    assert_int_equal(options.isolation, AX_ISOLATION_PROCESS);
    assert_int_equal(options.spare_workers, 1);
    assert_int_equal(options.max_connections, 0);
    assert_int_equal(options.max_handshakes, 1024);
    assert_int_equal(options.worker_memory, 0);
    assert_int_equal(options.grace_ms, 10000);
    assert_int_equal(options.spin_us, 100);
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
    assert_true(size_of("110532G") == (uint64_t)110532 << 30);
    assert_true(size_of("118682831290368") == (uint64_t)110532 << 30); /* the same, as a zygote gets it */
    assert_true(size_of("9223372036854775807") == INT64_MAX);
    assert_refused("--stdio --max-message 9223372036854775808", "is no size");
    assert_refused("--stdio --max-message 8589934592G", "is no size");
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

static void test_reads_numbers(void **state)
{
    struct ax_options options = accepted("--stdio --spare-workers 64 --max-connections 0 --max-handshakes 1");
    (void)state;

    assert_int_equal(options.spare_workers, 64);
    assert_int_equal(options.max_connections, 0);
    assert_int_equal(options.max_handshakes, 1);
    ax_options_fini(&options);
    assert_refused("--stdio --spare-workers 65", "--spare-workers 65 is not valid: write a number from 0 to 64");
    assert_refused("--stdio --max-handshakes 0", "write a number from 1 to 1000000");
    assert_refused("--stdio --max-handshakes=", "write a number");
    assert_refused("--stdio --max-connections many", "write a number from 0 to 1000000");
    assert_refused("--stdio --max-connections -1", "write a number");
    assert_refused("--stdio --max-connections 1000001", "write a number");
    assert_refused("--stdio --max-connections 18446744073709551617", "write a number");
}

static void test_the_memory_of_a_worker_may_be_unlimited(void **state)
{
    struct ax_options options = accepted("--stdio --worker-memory 2G");
    (void)state;

    assert_true(options.worker_memory == (uint64_t)2 << 30);
    ax_options_fini(&options);
    options = accepted("--stdio --worker-memory 1M --worker-memory none");
    assert_int_equal(options.worker_memory, 0);
    ax_options_fini(&options);
    options = accepted("--stdio --worker-memory 1M --worker-memory 0");
    assert_int_equal(options.worker_memory, 0);
    ax_options_fini(&options);
}

static void test_reads_isolations(void **state)
{
    struct ax_options options = accepted("--stdio --isolation process");
    (void)state;

    assert_int_equal(options.isolation, AX_ISOLATION_PROCESS);
    ax_options_fini(&options);
    options = accepted("--stdio --isolation shared");
    assert_int_equal(options.isolation, AX_ISOLATION_SHARED);
    ax_options_fini(&options);
}

static void test_users_are_known_on_unix_sockets_only(void **state)
{
    struct ax_options options = accepted("--listen unix:a --allow-uid 0 --allow-uid nobody --allow-gid 7");
    (void)state;

    assert_int_equal(options.allow_uid.count, 2);
    assert_string_equal(options.allow_uid.items[1], "nobody");
    assert_int_equal(options.allow_gid.count, 1);
    ax_options_fini(&options);
    assert_refused("--listen unix:a --listen tcp:localhost:1 --allow-uid 0",
                   "tcp:localhost:1 does not identify its users");
    assert_refused("--listen tcp:localhost:1 --allow-gid 0", "tcp:localhost:1 does not identify its users");
    assert_refused("--stdio --allow-uid 0", "leave them out");
    assert_refused("--stdio --allow-gid 0", "leave them out");
}

static void test_what_has_no_use_does_no_harm(void **state)
{
    struct ax_options options = accepted("--stdio --spare-workers 3 --socket-group 7 --socket-mode 666");
    (void)state;

    assert_string_equal(options.socket_group, "7");
    ax_options_fini(&options);
}

static void test_says_what_to_write_instead(void **state)
{
    (void)state;
    assert_refused("", "--listen unix:PATH");
    assert_refused("--grace 1", "nowhere to listen");
    assert_refused("--stdio --listen unix:x", "write one of them");
    assert_refused("--listen", "write --listen ADDRESS");
    assert_refused("--listen --stdio", "write --listen ADDRESS");
    assert_refused("--listen=", "--listen is empty: give it a value");
    assert_refused("--listen /x", "write unix:/x");
    assert_refused("--lisen unix:x", "did you mean --listen?");
    assert_refused("--handshaketimeout 3", "did you mean --handshake-timeout?");
    assert_refused("--frobnicate", "acrossd --help");
    assert_refused("--this-is-no-option-and-longer-than-all-of-them", "acrossd --help");
    assert_refused("--rol zygote", "acrossd --help"); /* internal ones are not suggested */
    assert_refused("-x", "acrossd --help");
    assert_refused("unix:/x", "write --listen unix:/x");
    assert_refused("--stdio=maybe", "--stdio takes no value but yes or no");
    assert_refused("--isolation thread --stdio", "--isolation thread is not known: write process or shared");
    assert_refused("--stdio --worker-memory 1T", "--worker-memory 1T is no size");
    assert_refused("--stdio --worker-memory lots", "or none");
    assert_refused("--venv= --stdio", "--venv is empty: give it a value");
    assert_refused("--venv=a\tb --stdio", "--venv has a control character");
    assert_refused("--preload=a\x7f --stdio", "--preload has a control character");
    assert_refused("--role main", "leave it out");
    assert_refused("--role worker", "leave it out");
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

static struct ax_options from_arguments(struct ax_string_list *arguments)
{
    struct ax_options options;
    struct ax_options layer = {0};
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (ax_options_read_arguments(&layer, (int)arguments->count, arguments->items, error, sizeof error) < 0)
        fail_msg("%s", error);
    ax_options_init(&options);
    ax_options_override(&options, &layer);
    assert_int_equal(ax_options_check(&options, false, error, sizeof error), 0);
    return options;
}

/* A zygote that gets the arguments made of its supervisor's settings has the same settings. */
static void test_settings_survive_as_arguments(void **state)
{
    struct ax_options before =
        accepted("--listen unix:x --venv v --preload a --preload b --timeout none --grace 3 "
                 "--handshake-timeout 0.125 --max-message 5K --verbose --chdir=/tmp "
                 "--spin 7 --isolation shared --worker-memory 64M --user somebody --config /dev/null");
    struct ax_options after;
    struct ax_string_list arguments = {0};
    (void)state;

    before.role = AX_PROCESS_ZYGOTE;
    before.control_fd = 3;
    assert_int_equal(ax_string_list_add(&arguments, "acrossd"), 0);
    assert_int_equal(ax_options_to_arguments(&before, AX_OPTION_WORKER, &arguments), 0);
    after = from_arguments(&arguments);
    assert_int_equal(after.role, AX_PROCESS_ZYGOTE);
    assert_int_equal(after.control_fd, 3);
    assert_int_equal(after.listen.count, 0); /* workers do not need it */
    assert_null(after.config);
    assert_int_equal(after.isolation, AX_ISOLATION_SHARED);
    assert_int_equal(after.grace_ms, 3000);
    assert_int_equal(after.worker_memory, 64 << 20);
    assert_int_equal(after.spin_us, 7);
    assert_string_equal(after.user, "somebody");
    assert_string_equal(after.venv, "v");
    assert_string_equal(after.chdir, "/tmp");
    assert_int_equal(after.preload.count, 2);
    assert_int_equal(after.timeout_ms, AX_DURATION_NONE);
    assert_int_equal(after.handshake_timeout_ms, 125);
    assert_int_equal(after.max_message, 5120);
    assert_true(after.verbose);
    ax_string_list_fini(&arguments);
    ax_options_fini(&before);
    ax_options_fini(&after);
}

static void test_defaults_survive_as_arguments(void **state)
{
    struct ax_options before = accepted("--stdio");
    struct ax_options after;
    struct ax_string_list arguments = {0};
    (void)state;

    before.role = AX_PROCESS_ZYGOTE;
    assert_int_equal(ax_string_list_add(&arguments, "acrossd"), 0);
    assert_int_equal(ax_options_to_arguments(&before, AX_OPTION_WORKER, &arguments), 0);
    after = from_arguments(&arguments);
    assert_int_equal(after.role, AX_PROCESS_ZYGOTE);
    assert_int_equal(after.isolation, before.isolation);
    assert_int_equal(after.grace_ms, before.grace_ms);
    assert_int_equal(after.timeout_ms, before.timeout_ms);
    assert_int_equal(after.max_message, 0);
    assert_int_equal(after.worker_memory, 0);
    assert_null(after.user);
    ax_string_list_fini(&arguments);
    ax_options_fini(&before);
    ax_options_fini(&after);
}

/* ---- layers ---- */

static void say(struct ax_options *layer, enum ax_level level, const char *name, const char *value)
{
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (ax_options_set(layer, name, value, (struct ax_source){level, 1}, error, sizeof error) < 0)
        fail_msg("%s: %s", name, error);
}

static void assert_refused_at(enum ax_level level, const char *name, const char *value, const char *part)
{
    struct ax_options layer = {0};
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (ax_options_set(&layer, name, value, (struct ax_source){level, 1}, error, sizeof error) == 0)
        fail_msg("%s = %s was accepted", name, value);
    assert_contains(error, part);
    ax_options_fini(&layer);
}

static void test_each_level_has_its_own_names(void **state)
{
    struct ax_options layer = {0};
    (void)state;

    say(&layer, AX_LEVEL_FILE, "max-handshakes", "5");
    assert_int_equal(layer.max_handshakes, 5);
    say(&layer, AX_LEVEL_ENVIRONMENT, "ACROSSD_MAX_HANDSHAKES", "6");
    assert_int_equal(layer.max_handshakes, 6);
    say(&layer, AX_LEVEL_COMMAND_LINE, "--max-handshakes", "7");
    assert_int_equal(layer.max_handshakes, 7);
    ax_options_fini(&layer);
    assert_refused_at(AX_LEVEL_FILE, "--grace", "1", "there is no setting --grace: did you mean grace?");
    assert_refused_at(AX_LEVEL_FILE, "max_message", "1", "did you mean max-message?");
    assert_refused_at(AX_LEVEL_FILE, "", "1", "there is no setting ");
    assert_refused_at(AX_LEVEL_ENVIRONMENT, "ACROSSD_GRAC", "1",
                      "there is no setting ACROSSD_GRAC: did you mean ACROSSD_GRACE?");
    assert_refused_at(AX_LEVEL_ENVIRONMENT, "ACROSSD_grace", "1", "there is no setting ACROSSD_grace");
    assert_refused_at(AX_LEVEL_ENVIRONMENT, "ACROSSD_", "1", "there is no setting ACROSSD_");
    assert_refused_at(AX_LEVEL_COMMAND_LINE, "grace", "1", "there is no option grace: did you mean --grace?");
}

static void test_messages_use_the_names_of_their_level(void **state)
{
    (void)state;
    assert_refused_at(AX_LEVEL_FILE, "grace", "soon", "grace soon is no time");
    assert_refused_at(AX_LEVEL_ENVIRONMENT, "ACROSSD_GRACE", "soon", "ACROSSD_GRACE soon is no time");
    assert_refused_at(AX_LEVEL_FILE, "verbose", "on", "verbose takes no value but yes or no");
    assert_refused_at(AX_LEVEL_FILE, "socket-mode", "rw", "socket-mode rw is no file mode");
    assert_refused_at(AX_LEVEL_FILE, "worker-memory", "much", "worker-memory much is no size");
}

static void test_some_options_are_of_the_command_line_only(void **state)
{
    static const char *const names[] = {"help", "version", "check-config", "print-config", "role", "control-fd"};
    static const char *const variables[] = {"ACROSSD_HELP",         "ACROSSD_VERSION", "ACROSSD_CHECK_CONFIG",
                                            "ACROSSD_PRINT_CONFIG", "ACROSSD_ROLE",    "ACROSSD_CONTROL_FD"};
    struct ax_options layer = {0};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_refused_at(AX_LEVEL_FILE, names[i], "yes", "there is no setting");
        assert_refused_at(AX_LEVEL_ENVIRONMENT, variables[i], "yes", "there is no setting");
    }
    assert_refused_at(AX_LEVEL_FILE, "config", "x", "there is no setting config");
    say(&layer, AX_LEVEL_ENVIRONMENT, "ACROSSD_CONFIG", "x");
    assert_string_equal(layer.config, "x");
    ax_options_fini(&layer);
}

static void test_a_variable_holds_a_list_in_words(void **state)
{
    struct ax_options layer = {0};
    (void)state;

    say(&layer, AX_LEVEL_ENVIRONMENT, "ACROSSD_PRELOAD", "  one two,three\tfour ");
    assert_int_equal(layer.preload.count, 3);
    assert_string_equal(layer.preload.items[1], "two,three");
    say(&layer, AX_LEVEL_ENVIRONMENT, "ACROSSD_CHDIR", "/a folder");
    assert_string_equal(layer.chdir, "/a folder");
    ax_options_fini(&layer);
    assert_refused_at(AX_LEVEL_ENVIRONMENT, "ACROSSD_LISTEN", "unix:a b", "\"b\" is no address");
}

static void test_a_file_says_a_setting_once_unless_it_is_repeatable(void **state)
{
    struct ax_options layer = {0};
    char error[AX_ERROR_TEXT_SIZE];
    (void)state;

    assert_int_equal(ax_options_set(&layer, "grace", "1", (struct ax_source){AX_LEVEL_FILE, 3}, error, sizeof error),
                     0);
    assert_int_equal(ax_options_set(&layer, "grace", "1", (struct ax_source){AX_LEVEL_FILE, 5}, error, sizeof error),
                     -1);
    assert_contains(error, "grace is set on line 3 already");
    say(&layer, AX_LEVEL_FILE, "preload", "a");
    say(&layer, AX_LEVEL_FILE, "preload", "b");
    assert_int_equal(layer.preload.count, 2);
    ax_options_fini(&layer);
}

/*
 * The result of merging this setting over `listen = unix:a`, `preload = a`, `preload = b`, `venv = v`, `verbose = yes`.
 */
static struct ax_options on_top(enum ax_level level, const char *name, const char *value)
{
    struct ax_options options;
    struct ax_options lower = {0};
    struct ax_options upper = {0};

    say(&lower, AX_LEVEL_FILE, "listen", "unix:a");
    say(&lower, AX_LEVEL_FILE, "preload", "a");
    say(&lower, AX_LEVEL_FILE, "preload", "b");
    say(&lower, AX_LEVEL_FILE, "venv", "v");
    say(&lower, AX_LEVEL_FILE, "verbose", "yes");
    say(&upper, level, name, value);
    ax_options_init(&options);
    ax_options_override(&options, &lower);
    ax_options_override(&options, &upper);
    assert_null(upper.listen.items);
    assert_int_equal(upper.sources[0].level, AX_LEVEL_DEFAULT);
    return options;
}

static void test_a_higher_layer_replaces_values_of_every_kind(void **state)
{
    struct ax_options options = on_top(AX_LEVEL_COMMAND_LINE, "--preload", "c");
    (void)state;

    assert_int_equal(options.preload.count, 1); /* the whole list */
    assert_string_equal(options.preload.items[0], "c");
    assert_string_equal(options.venv, "v");
    assert_true(options.verbose);
    assert_int_equal(options.grace_ms, 10000);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_ENVIRONMENT, "ACROSSD_VENV", "w");
    assert_string_equal(options.venv, "w");
    assert_int_equal(options.preload.count, 2);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_ENVIRONMENT, "ACROSSD_VERBOSE", "no");
    assert_false(options.verbose);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_COMMAND_LINE, "--grace", "2");
    assert_int_equal(options.grace_ms, 2000);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_COMMAND_LINE, "--worker-memory", "1K");
    assert_int_equal(options.worker_memory, 1024);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_COMMAND_LINE, "--isolation", "shared");
    assert_int_equal(options.isolation, AX_ISOLATION_SHARED);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_COMMAND_LINE, "--socket-mode", "666");
    assert_int_equal(options.socket_mode, 0666);
    ax_options_fini(&options);
}

static void test_where_to_serve_is_one_choice(void **state)
{
    struct ax_options options = on_top(AX_LEVEL_ENVIRONMENT, "ACROSSD_LISTEN", "unix:b unix:c");
    (void)state;

    assert_int_equal(options.listen.count, 2);
    assert_string_equal(options.listen.items[0], "unix:b");
    assert_false(options.use_stdio);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_COMMAND_LINE, "--stdio", "yes");
    assert_int_equal(options.listen.count, 0);
    assert_true(options.use_stdio);
    ax_options_fini(&options);
    options = on_top(AX_LEVEL_COMMAND_LINE, "--stdio", "no"); /* selects nothing */
    assert_int_equal(options.listen.count, 1);
    assert_false(options.use_stdio);
    ax_options_fini(&options);
}

static void test_an_address_removes_a_lower_stdio(void **state)
{
    struct ax_options options;
    struct ax_options lower = {0};
    struct ax_options upper = {0};
    (void)state;

    say(&lower, AX_LEVEL_FILE, "stdio", "yes");
    say(&upper, AX_LEVEL_ENVIRONMENT, "ACROSSD_LISTEN", "unix:b");
    ax_options_init(&options);
    ax_options_override(&options, &lower);
    assert_true(options.use_stdio);
    ax_options_override(&options, &upper);
    assert_false(options.use_stdio);
    assert_int_equal(options.listen.count, 1);
    ax_options_fini(&options);
}

static void test_sockets_that_are_there_need_no_address(void **state)
{
    struct ax_options options;
    char error[AX_ERROR_TEXT_SIZE];
    (void)state;

    ax_options_init(&options);
    assert_int_equal(ax_options_check(&options, true, error, sizeof error), 0);
    assert_int_equal(ax_options_check(&options, false, error, sizeof error), -1);
    options.print_config = true; /* even of the settings so far */
    assert_int_equal(ax_options_check(&options, false, error, sizeof error), 0);
    ax_options_fini(&options);
}

/* ---- as text ---- */

static char *printed(const struct ax_options *options)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    assert_non_null(stream);
    ax_options_print(options, stream);
    fclose(stream);
    return text;
}

static void test_prints_settings_with_their_sources(void **state)
{
    struct ax_options options = on_top(AX_LEVEL_ENVIRONMENT, "ACROSSD_TIMEOUT", "none");
    struct ax_options upper = {0};
    char *text;
    (void)state;

    text = printed(&options);
    assert_contains(text, "# No file was read.\n");
    free(text);
    say(&upper, AX_LEVEL_COMMAND_LINE, "--chdir", " a\"");
    say(&upper, AX_LEVEL_COMMAND_LINE, "--config", "the file");
    ax_options_override(&options, &upper);
    text = printed(&options);
    assert_contains(text, "# the file:1\nlisten = unix:a\n");
    assert_contains(text, "# default\nstdio = no\n");
    assert_contains(text, "# the file:1\npreload = a\npreload = b\n");
    assert_contains(text, "# environment\ntimeout = none\n");
    assert_contains(text, "# command line\nchdir = \" a\"\"\n");
    assert_contains(text, "# default\nsocket-mode = 600\n");
    assert_contains(text, "# default\nworker-memory = none\n");
    assert_contains(text, "# max-message is not set\n");
    assert_contains(text, "# allow-uid is not set\n");
    assert_null(strstr(text, "help"));
    assert_null(strstr(text, "config"));
    assert_null(strstr(text, "role"));
    free(text);
    ax_options_fini(&options);
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
    assert_contains(text, "--isolation MODE");
    assert_contains(text, "--print-config");
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
        cmocka_unit_test(test_reads_numbers),
        cmocka_unit_test(test_the_memory_of_a_worker_may_be_unlimited),
        cmocka_unit_test(test_reads_isolations),
        cmocka_unit_test(test_users_are_known_on_unix_sockets_only),
        cmocka_unit_test(test_what_has_no_use_does_no_harm),
        cmocka_unit_test(test_says_what_to_write_instead),
        cmocka_unit_test(test_help_and_version_need_nothing_else),
        cmocka_unit_test(test_settings_survive_as_arguments),
        cmocka_unit_test(test_defaults_survive_as_arguments),
        cmocka_unit_test(test_each_level_has_its_own_names),
        cmocka_unit_test(test_messages_use_the_names_of_their_level),
        cmocka_unit_test(test_some_options_are_of_the_command_line_only),
        cmocka_unit_test(test_a_variable_holds_a_list_in_words),
        cmocka_unit_test(test_a_file_says_a_setting_once_unless_it_is_repeatable),
        cmocka_unit_test(test_a_higher_layer_replaces_values_of_every_kind),
        cmocka_unit_test(test_where_to_serve_is_one_choice),
        cmocka_unit_test(test_an_address_removes_a_lower_stdio),
        cmocka_unit_test(test_sockets_that_are_there_need_no_address),
        cmocka_unit_test(test_prints_settings_with_their_sources),
        cmocka_unit_test(test_help_names_every_option_but_the_hidden_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
