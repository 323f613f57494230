/* SPDX-License-Identifier: MIT */
#include "daemon/config/options.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/error_format.h"
#include "daemon/base/address.h"

struct option {
    const char *name;
    const char *value_name; /* NULL for a flag */
    enum ax_value_kind kind;
    size_t offset;
    unsigned flags;
    const char *fallback; /* the default as text; NULL: zero */
    const char *help;     /* NULL: internal */
};

#define AT(field) offsetof(struct ax_options, field)

/* Flags: which process needs it, where it may be set, and what it is. */
#define WORKER AX_OPTION_WORKER
#define NOT_IN_FILE 0x10u
#define COMMAND_LINE_ONLY (0x20u | NOT_IN_FILE)
#define PLACE 0x40u /* one of the mutually exclusive settings for where to serve */

static const struct option table[] = {
    {"listen", "ADDRESS", AX_VALUE_ADDRESSES, AT(listen), PLACE, NULL,
     "serve on unix:PATH, unix:@NAME (abstract), tcp:HOST:PORT, tcp:[IPv6]:PORT or tls:HOST:PORT; repeatable; port 0: "
     "any"},
    {"stdio", NULL, AX_VALUE_FLAG, AT(use_stdio), PLACE, NULL,
     "serve one connection over standard input and output, then exit"},
    {"isolation", "MODE", AX_VALUE_ISOLATION, AT(isolation), WORKER, "process",
     "process: a worker process for each connection; shared: all connections in one"},
    {"spare-workers", "N", AX_VALUE_FEW, AT(spare_workers), 0, "1",
     "at least so many idle workers are kept ready, with --isolation process"},
    {"max-connections", "N", AX_VALUE_NUMBER, AT(max_connections), 0, "0",
     "refuse connections beyond so many; 0: 1024 with --isolation process, 16384 with shared"},
    {"max-handshakes", "N", AX_VALUE_COUNT, AT(max_handshakes), 0, "1024",
     "the most handshakes at a time; for more, one that has made least progress is ended"},
    {"max-connections-per-source", "N", AX_VALUE_NUMBER, AT(max_connections_per_source), 0, "0",
     "refuse connections beyond so many of one user (unix) or address; 0: no limit"},
    {"max-handshakes-per-source", "N", AX_VALUE_NUMBER, AT(max_handshakes_per_source), 0, "0",
     "the most handshakes at a time of one user (unix) or address; 0: all but an eighth of --max-handshakes"},
    {"grace", "SECONDS", AX_VALUE_DURATION, AT(grace_ms), WORKER, "10",
     "how long running calls may continue after acrossd was told to stop, or their client has gone"},
    {"handshake-timeout", "SECONDS", AX_VALUE_LIMIT, AT(handshake_timeout_ms), WORKER, "10",
     "how long a handshake may take; none: for ever"},
    {"timeout", "SECONDS", AX_VALUE_LIMIT, AT(timeout_ms), WORKER, "60",
     "disconnect a peer after this long without traffic; none: never"},
    {"max-message", "SIZE", AX_VALUE_SIZE, AT(max_message), WORKER, NULL,
     "the largest message that is received, in bytes or with K, M or G"},
    {"spin", "MICROSECONDS", AX_VALUE_NUMBER, AT(spin_us), WORKER, "100",
     "poll for up to so long for a client's next call before sleeping, where that pays, at most 1000; 0: never"},
    {"worker-memory", "SIZE", AX_VALUE_BOUND, AT(worker_memory), WORKER, "none",
     "the most memory that a worker may have; none: no limit"},
    {"worker-tasks", "N", AX_VALUE_NUMBER, AT(worker_tasks), 0, "0",
     "the most processes and threads that a worker may have, where it has a control group; 0: no limit"},
    {"allow-uid", "USER", AX_VALUE_STRING_LIST, AT(allow_uid), 0, NULL,
     "accept only this user on unix sockets; repeatable"},
    {"allow-gid", "GROUP", AX_VALUE_STRING_LIST, AT(allow_gid), 0, NULL,
     "the same for the members of a group; repeatable"},
    {"run-as-peer", NULL, AX_VALUE_FLAG, AT(run_as_peer), WORKER, NULL,
     "run each connection's calls as the user who made it; for root, and unix sockets only"},
    {"no-new-privileges", NULL, AX_VALUE_FLAG, AT(no_new_privileges), WORKER, NULL,
     "programs that calls start gain no privileges, as sudo would; the default with --run-as-peer"},
    {"socket-mode", "MODE", AX_VALUE_MODE, AT(socket_mode), 0, "600", "permissions of unix sockets, in octal"},
    {"socket-group", "GROUP", AX_VALUE_STRING, AT(socket_group), 0, NULL, "the group of unix sockets"},
    {"secret-file", "FILE", AX_VALUE_STRING, AT(secret_file), 0, NULL,
     "TCP clients have to prove that they know the secret in this file"},
    {"insecure", NULL, AX_VALUE_FLAG, AT(insecure), 0, NULL,
     "allow TCP addresses that other hosts can reach: whoever connects may run anything; not for root"},
    {"tls-cert", "FILE", AX_VALUE_STRING, AT(tls_cert), 0, NULL,
     "the certificate for tls: addresses, followed by intermediate certificates, in PEM"},
    {"tls-key", "FILE", AX_VALUE_STRING, AT(tls_key), 0, NULL, "its private key, which nobody else may read"},
    {"tls-client-ca", "FILE", AX_VALUE_STRING, AT(tls_client_ca), 0, NULL,
     "accept only clients with a certificate of these authorities, in PEM"},
    {"tls-allow-name", "NAME", AX_VALUE_STRING_LIST, AT(tls_allow_name), 0, NULL,
     "accept only clients with this name in their certificate; repeatable"},
    {"user", "NAME", AX_VALUE_STRING, AT(user), WORKER, NULL, "run calls as this user; for root only"},
    {"venv", "DIR", AX_VALUE_STRING, AT(venv), WORKER, NULL, "run calls in this virtual environment"},
    {"preload", "MODULE", AX_VALUE_STRING_LIST, AT(preload), WORKER, NULL,
     "import this module at the start; repeatable"},
    {"chdir", "DIR", AX_VALUE_STRING, AT(chdir), WORKER, NULL, "run calls in this folder"},
    {"verbose", NULL, AX_VALUE_FLAG, AT(verbose), WORKER, NULL, "log the start and end of each connection"},
    {"config", "FILE", AX_VALUE_STRING, AT(config), NOT_IN_FILE, NULL,
     "read settings from this file instead of the default one"},
    {"check-config", NULL, AX_VALUE_FLAG, AT(check_config), COMMAND_LINE_ONLY, NULL, "check all settings and exit"},
    {"print-config", NULL, AX_VALUE_FLAG, AT(print_config), COMMAND_LINE_ONLY, NULL,
     "print all settings, and where each comes from, as such a file, and exit"},
    {"help", NULL, AX_VALUE_FLAG, AT(help), COMMAND_LINE_ONLY, NULL, "print this and exit"},
    {"version", NULL, AX_VALUE_FLAG, AT(version), COMMAND_LINE_ONLY, NULL, "print the version and exit"},
    {"role", "ROLE", AX_VALUE_ROLE, AT(role), WORKER | COMMAND_LINE_ONLY, NULL, NULL},
    {"control-fd", "FD", AX_VALUE_NUMBER, AT(control_fd), WORKER | COMMAND_LINE_ONLY, NULL, NULL},
};

#define TABLE_SIZE (sizeof table / sizeof table[0])

static_assert(TABLE_SIZE <= AX_OPTIONS_MAX, "each row has its source");

static void *place_of(struct ax_options *options, size_t index)
{
    return (char *)options + table[index].offset;
}

static const void *value_of(const struct ax_options *options, size_t index)
{
    return (const char *)options + table[index].offset;
}

/* ---- life ---- */

void ax_options_init(struct ax_options *options)
{
    char error[AX_ERROR_TEXT_SIZE];

    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (table[i].fallback != NULL)
            ax_value_set(place_of(options, i), table[i].kind, table[i].name, table[i].fallback, error, sizeof error);
}

void ax_options_settle(struct ax_options *options)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (value_of(options, i) == &options->no_new_privileges && options->sources[i].level == AX_LEVEL_DEFAULT)
            options->no_new_privileges = options->run_as_peer;
}

void ax_options_fini(struct ax_options *options)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        ax_value_fini(place_of(options, i), table[i].kind);
    memset(options, 0, sizeof *options);
}

void ax_options_free(struct ax_options *options)
{
    if (options != NULL)
        ax_options_fini(options);
    free(options);
}

/* ---- names ---- */

/* Formats the name as written in this source. "" if it cannot be set there. */
static void spell(char name[AX_OPTION_NAME_SIZE], size_t index, enum ax_level level)
{
    const struct option *option = &table[index];

    name[0] = '\0';
    if (level == AX_LEVEL_COMMAND_LINE) {
        snprintf(name, AX_OPTION_NAME_SIZE, "--%s", option->name);
    } else if (level == AX_LEVEL_FILE && (option->flags & NOT_IN_FILE) == 0) {
        snprintf(name, AX_OPTION_NAME_SIZE, "%s", option->name);
    } else if (level == AX_LEVEL_ENVIRONMENT && (option->flags & COMMAND_LINE_ONLY) != COMMAND_LINE_ONLY) {
        snprintf(name, AX_OPTION_NAME_SIZE, AX_OPTIONS_VARIABLE "%s", option->name);
        for (char *c = name; *c != '\0'; c++)
            *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
}

/* The row whose name is written like this in this source, or -1. */
static int find(const char *word, size_t length, enum ax_level level)
{
    char name[AX_OPTION_NAME_SIZE];

    for (size_t i = 0; i < TABLE_SIZE; i++) {
        spell(name, i, level);
        if (length > 0 && strlen(name) == length && memcmp(name, word, length) == 0)
            return (int)i;
    }
    return -1;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;

    return least < c ? least : c;
}

/* The edit distance of two names; for names shorter than the row. */
static size_t distance(const char *left, const char *right, size_t right_length)
{
    size_t row[AX_OPTION_NAME_SIZE];

    for (size_t j = 0; j <= right_length; j++)
        row[j] = j;
    for (size_t i = 1; left[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= right_length; j++) {
            size_t replaced = diagonal + (left[i - 1] != right[j - 1]);

            diagonal = row[j];
            row[j] = min3(row[j] + 1, row[j - 1] + 1, replaced);
        }
    }
    return row[right_length];
}

static int fail_unknown(const char *word, size_t length, enum ax_level level, char *error, size_t size)
{
    const char *what = level == AX_LEVEL_COMMAND_LINE ? "option" : "setting";
    char name[AX_OPTION_NAME_SIZE];
    char nearest[AX_OPTION_NAME_SIZE] = "";
    size_t least = 3; /* with more than two mistakes it is another word */

    for (size_t i = 0; i < TABLE_SIZE && length < AX_OPTION_NAME_SIZE; i++) {
        size_t mistakes;

        if (table[i].help == NULL)
            continue;
        spell(name, i, level);
        mistakes = distance(name, word, length);
        if (name[0] != '\0' && mistakes < least) {
            least = mistakes;
            memcpy(nearest, name, sizeof nearest);
        }
    }
    if (nearest[0] != '\0')
        return ax_error_format(error, size, "there is no %s %.*s: did you mean %s?", what, (int)length, word, nearest);
    return ax_error_format(error, size, "there is no %s %.*s: acrossd --help lists them", what, (int)length, word);
}

/* ---- setting ---- */

/* A variable holds the items of a list separated by blanks. */
static int set_words(void *place, enum ax_value_kind kind, const char *name, const char *value, char *error,
                     size_t size)
{
    static const char blanks[] = " \t\n";
    char *words = strdup(value);
    char *rest = NULL;
    int result = 0;

    if (words == NULL)
        return ax_error_format(error, size, "out of memory");
    for (char *word = strtok_r(words, blanks, &rest); word != NULL && result == 0; word = strtok_r(NULL, blanks, &rest))
        result = ax_value_set(place, kind, name, word, error, size);
    free(words);
    return result;
}

static int set(struct ax_options *layer, size_t index, const char *value, struct ax_source source, char *error,
               size_t size)
{
    struct ax_source *before = &layer->sources[index];
    enum ax_value_kind kind = table[index].kind;
    void *place = place_of(layer, index);
    char name[AX_OPTION_NAME_SIZE];
    int result;

    spell(name, index, source.level);
    if (source.level == AX_LEVEL_FILE && before->level == AX_LEVEL_FILE && !ax_value_is_list(kind))
        return ax_error_format(error, size, "%s is set on line %u already: leave one of them out", name, before->line);
    if (source.level == AX_LEVEL_ENVIRONMENT && ax_value_is_list(kind))
        result = set_words(place, kind, name, value, error, size);
    else
        result = ax_value_set(place, kind, name, value, error, size);
    if (result == 0 && before->level != source.level)
        *before = source;
    return result;
}

int ax_options_set(struct ax_options *layer, const char *name, const char *value, struct ax_source source, char *error,
                   size_t error_size)
{
    int index = find(name, strlen(name), source.level);

    if (index < 0)
        return fail_unknown(name, strlen(name), source.level, error, error_size);
    return set(layer, (size_t)index, value, source, error, error_size);
}

/* ---- the command line ---- */

static int fail_positional(const char *word, char *error, size_t size)
{
    struct ax_address ignored;
    char unused[AX_ERROR_TEXT_SIZE];

    if (ax_address_parse(&ignored, word, unused, sizeof unused) == 0)
        return ax_error_format(error, size, "an address needs its option: write --listen %s", word);
    return ax_error_format(error, size, "\"%s\" is no option: acrossd --help lists them", word);
}

/* Handles argv[index]. Returns the number of words consumed, or -1. */
static int read_word(struct ax_options *layer, char *const *argv, int index, char *error, size_t size)
{
    static const struct ax_source source = {AX_LEVEL_COMMAND_LINE, 0};
    const char *word = strcmp(argv[index], "-h") == 0 ? "--help" : argv[index];
    const char *next = argv[index + 1];
    size_t length = strcspn(word, "=");
    int row;

    if (strncmp(word, "--", 2) != 0)
        return fail_positional(word, error, size);
    row = find(word, length, AX_LEVEL_COMMAND_LINE);
    if (row < 0)
        return fail_unknown(word, length, AX_LEVEL_COMMAND_LINE, error, size);
    if (word[length] == '=')
        return set(layer, (size_t)row, word + length + 1, source, error, size) < 0 ? -1 : 1;
    if (table[row].value_name == NULL)
        return set(layer, (size_t)row, "yes", source, error, size) < 0 ? -1 : 1;
    /* A value that starts with two hyphens has to be written --name=value. */
    if (next == NULL || strncmp(next, "--", 2) == 0)
        return ax_error_format(error, size, "%s has no value: write %s %s", word, word, table[row].value_name);
    return set(layer, (size_t)row, next, source, error, size) < 0 ? -1 : 2;
}

int ax_options_read_arguments(struct ax_options *layer, int argc, char *const *argv, char *error, size_t error_size)
{
    for (int i = 1; i < argc;) {
        int used = read_word(layer, argv, i, error, error_size);

        if (used < 0)
            return -1;
        i += used;
    }
    return 0;
}

/* ---- layers ---- */

static bool chooses_place(const struct ax_options *layer)
{
    return layer->use_stdio || layer->listen.count > 0;
}

void ax_options_override(struct ax_options *options, struct ax_options *layer)
{
    bool new_place = chooses_place(layer);

    for (size_t i = 0; i < TABLE_SIZE; i++) {
        if (layer->sources[i].level != AX_LEVEL_DEFAULT || (new_place && (table[i].flags & PLACE) != 0)) {
            ax_value_move(place_of(options, i), place_of(layer, i), table[i].kind);
            options->sources[i] = layer->sources[i];
        }
    }
    ax_options_fini(layer);
}

static bool names_users(const struct ax_options *options)
{
    return options->allow_uid.count > 0 || options->allow_gid.count > 0;
}

/* Refuses settings without effect that somebody may rely on. */
static int check_stdio(const struct ax_options *options, char *error, size_t size)
{
    if (options->listen.count > 0)
        return ax_error_format(error, size, "--stdio serves one connection and --listen many: write one of them");
    if (names_users(options))
        return ax_error_format(error, size,
                               "--allow-uid and --allow-gid are for unix sockets, and --stdio serves whoever "
                               "started acrossd: leave them out");
    if (options->run_as_peer)
        return ax_error_format(error, size,
                               "--run-as-peer is for unix sockets, and --stdio serves whoever started acrossd: "
                               "leave it out");
    return 0;
}

/* Number of addresses of this kind. */
static size_t count_addresses(const struct ax_options *options, enum ax_address_kind kind)
{
    struct ax_address address;
    char unused[AX_ERROR_TEXT_SIZE];
    size_t count = 0;

    for (size_t i = 0; i < options->listen.count; i++)
        count +=
            ax_address_parse(&address, options->listen.items[i], unused, sizeof unused) == 0 && address.kind == kind;
    return count;
}

/* Whoever lists allowed names relies on it that nobody else gets access. */
static int check_tls(const struct ax_options *options, bool has_sockets, char *error, size_t size)
{
    bool is_used = count_addresses(options, AX_ADDRESS_TLS) > 0;

    if (is_used && (options->tls_cert == NULL || options->tls_key == NULL || options->tls_client_ca == NULL))
        return ax_error_format(error, size, "a tls: address needs %s FILE: docs/tls.md tells how to make one",
                               options->tls_cert == NULL  ? "--tls-cert"
                               : options->tls_key == NULL ? "--tls-key"
                                                          : "--tls-client-ca");
    if (!is_used && !has_sockets && options->tls_allow_name.count > 0)
        return ax_error_format(error, size,
                               "--tls-allow-name is for tls: addresses, and there is none: write --listen "
                               "tls:HOST:PORT, or leave it out");
    return 0;
}

/* The kernel reports the peer's user for unix sockets only. */
static int check_host(const struct ax_options *options, const char *address, char *error, size_t size)
{
    if (options->run_as_peer)
        return ax_error_format(
            error, size, "--run-as-peer is for unix sockets, and %s does not identify its users: leave out one of them",
            address);
    if (names_users(options))
        return ax_error_format(
            error, size,
            "--allow-uid and --allow-gid are for unix sockets, and %s does not identify its users: leave "
            "out one of them",
            address);
    return 0;
}

static int check_addresses(const struct ax_options *options, bool has_sockets, char *error, size_t size)
{
    bool has_tcp = has_sockets;
    struct ax_address address;

    for (size_t i = 0; i < options->listen.count; i++) {
        if (ax_address_parse(&address, options->listen.items[i], error, size) < 0)
            return -1;
        if (address.kind == AX_ADDRESS_UNIX)
            continue;
        has_tcp = has_tcp || address.kind == AX_ADDRESS_TCP;
        if (check_host(options, options->listen.items[i], error, size) < 0)
            return -1;
    }
    if (options->secret_file != NULL && !has_tcp && !options->print_config)
        return ax_error_format(error, size,
                               "--secret-file guards TCP addresses, and there is none: unix sockets are guarded by "
                               "--socket-mode; leave it out, or add --listen tcp:HOST:PORT");
    return 0;
}

/* These settings all determine the user that calls run as. */
static int check_run_as_peer(const struct ax_options *options, char *error, size_t size)
{
    if (options->isolation == AX_ISOLATION_SHARED)
        return ax_error_format(
            error, size,
            "--run-as-peer needs a worker for each connection, and --isolation shared has one for all: "
            "leave out one of them");
    if (options->user != NULL)
        return ax_error_format(error, size,
                               "--run-as-peer runs calls as whoever connects, and --user as %s: leave out one of them",
                               options->user);
    return 0;
}

int ax_options_check(const struct ax_options *options, bool has_sockets, char *error, size_t error_size)
{
    if (options->help || options->version || options->role != AX_PROCESS_MAIN)
        return 0;
    if (options->use_stdio)
        return check_stdio(options, error, error_size);
    if (options->listen.count == 0 && !has_sockets && !options->print_config)
        return ax_error_format(error, error_size,
                               "nowhere to listen: write --listen unix:PATH, --listen tcp:HOST:PORT or --stdio");
    if (check_tls(options, has_sockets, error, error_size) < 0 ||
        (options->run_as_peer && check_run_as_peer(options, error, error_size) < 0))
        return -1;
    return check_addresses(options, has_sockets, error, error_size);
}

/* ---- as text ---- */

static int add_argument(struct ax_string_list *arguments, const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 4;
    char *text = malloc(size);
    int result;

    if (text == NULL)
        return -1;
    snprintf(text, size, "--%s=%s", name, value);
    result = ax_string_list_add(arguments, text);
    free(text);
    return result;
}

static int add_strings(struct ax_string_list *arguments, const char *name, const struct ax_string_list *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        if (add_argument(arguments, name, texts->items[i]) < 0)
            return -1;
    return 0;
}

bool ax_options_have_identity(const struct ax_options *options)
{
    return options->tls_cert != NULL && options->tls_key != NULL && options->tls_client_ca != NULL;
}

int ax_options_to_arguments(const struct ax_options *options, unsigned who, struct ax_string_list *arguments)
{
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        const void *value = value_of(options, i);
        char buffer[AX_VALUE_TEXT_SIZE];
        const char *text;

        if ((table[i].flags & who) == 0)
            continue;
        if (ax_value_is_list(table[i].kind)) {
            if (add_strings(arguments, table[i].name, value) < 0)
                return -1;
            continue;
        }
        text = ax_value_format(value, table[i].kind, buffer);
        if (text != NULL && add_argument(arguments, table[i].name, text) < 0)
            return -1;
    }
    return 0;
}

static void print_source(const struct ax_options *options, size_t index, FILE *stream)
{
    const struct ax_source *source = &options->sources[index];

    switch (source->level) {
    case AX_LEVEL_DEFAULT:
        fputs("# default\n", stream);
        break;
    case AX_LEVEL_FILE:
        fprintf(stream, "# %s:%u\n", options->config, source->line);
        break;
    case AX_LEVEL_ENVIRONMENT:
        fputs("# environment\n", stream);
        break;
    case AX_LEVEL_COMMAND_LINE:
        fputs("# command line\n", stream);
        break;
    }
}

/* In quotes if reading it back would change it. */
static void print_line(const char *name, const char *value, FILE *stream)
{
    size_t length = strlen(value);
    bool quoted = value[0] == '"' || value[0] == ' ' || (length > 0 && value[length - 1] == ' ');

    fprintf(stream, quoted ? "%s = \"%s\"\n" : "%s = %s\n", name, value);
}

static void print_option(const struct ax_options *options, size_t index, FILE *stream)
{
    const struct option *option = &table[index];
    const void *value = value_of(options, index);
    bool is_list = ax_value_is_list(option->kind);
    const struct ax_string_list *list = is_list ? value : NULL;
    char buffer[AX_VALUE_TEXT_SIZE];
    const char *text = is_list ? NULL : ax_value_format(value, option->kind, buffer);

    if (text == NULL && (list == NULL || list->count == 0)) {
        fprintf(stream, "# %s is not set\n", option->name);
        return;
    }
    print_source(options, index, stream);
    if (text != NULL)
        print_line(option->name, text, stream);
    for (size_t i = 0; list != NULL && i < list->count; i++)
        print_line(option->name, list->items[i], stream);
}

void ax_options_print(const struct ax_options *options, FILE *stream)
{
    if (options->config != NULL)
        fprintf(stream, "# The file that was read: %s\n", options->config);
    else
        fputs("# No file was read.\n", stream);
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if ((table[i].flags & NOT_IN_FILE) == 0)
            print_option(options, i, stream);
}

void ax_options_print_help(FILE *stream)
{
    fputs("Usage: acrossd --listen ADDRESS [--listen ADDRESS ...] [OPTION ...]\n"
          "       acrossd --stdio [OPTION ...]\n"
          "       acrossd " AX_STATUS_COMMAND " ADDRESS [--json]\n"
          "\n"
          "Runs Python functions for programs that use the package across, on this host or on others. The\n"
          "command `" AX_STATUS_COMMAND "` tells how a running acrossd is.\n"
          "\n",
          stream);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        const struct option *option = &table[i];
        char left[48];

        if (option->help == NULL)
            continue;
        snprintf(left, sizeof left, "--%s%s%s", option->name, option->value_name != NULL ? " " : "",
                 option->value_name != NULL ? option->value_name : "");
        fprintf(stream, "  %-27s %s", left, option->help);
        if (option->fallback != NULL)
            fprintf(stream, " (default: %s)", option->fallback);
        fputc('\n', stream);
    }
    fputs("\n"
          "Settings come from the command line, from variables like " AX_OPTIONS_VARIABLE
          "MAX_MESSAGE, from a file with\n"
          "lines like `max-message = 64M`, and from the defaults. What is named first here goes before the others.\n"
          "\n"
          "Exit status: 0 after an orderly stop, 1 for a failure at run time, 2 for wrong settings.\n",
          stream);
}
