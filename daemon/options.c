/* SPDX-License-Identifier: MIT */
#include "daemon/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/address.h"
#include "daemon/sentence.h"

#define DAY_MS 86400000u
#define KIB ((uint64_t)1024)
#define NUMBER_MAX 1000000u

/* The kinds of values: how each is read from text, written as text, and what its place in struct ax_options is. */
enum kind {
    FLAG,      /* bool */
    TEXT,      /* char *, not empty */
    TEXTS,     /* struct ax_texts */
    ADDRESSES, /* struct ax_texts, each an address */
    DURATION,  /* uint32_t milliseconds; seconds in text */
    LIMIT,     /* the same, where `none` and 0 mean that there is no limit */
    SIZE,      /* uint64_t bytes; K, M, G in text */
    BOUND,     /* the same, where `none` and 0 mean that there is no limit */
    MODE,      /* mode_t; octal in text */
    NUMBER,    /* uint32_t, from `least` to `most` */
    ISOLATION,
    ROLE,
};

struct option {
    const char *name;
    const char *value_name; /* NULL for a flag */
    enum kind kind;
    size_t offset;
    unsigned who;
    const char *fallback; /* the default, as text; NULL: the zero of its type */
    const char *help;     /* NULL: hidden */
    uint32_t least, most; /* of a NUMBER */
};

#define AT(field) offsetof(struct ax_options, field)

#define BOTH (AX_OPTION_SUPERVISOR | AX_OPTION_WORKER)

static const struct option table[] = {
    {"listen", "ADDRESS", ADDRESSES, AT(listen), AX_OPTION_SUPERVISOR, NULL,
     "serve on unix:PATH, tcp:HOST:PORT or tcp:[IPv6]:PORT; repeatable; port 0: any"},
    {"stdio", NULL, FLAG, AT(use_stdio), AX_OPTION_SUPERVISOR, NULL,
     "serve one connection over standard input and output, then exit"},
    {"isolation", "MODE", ISOLATION, AT(isolation), BOTH, "shared",
     "process: a worker process for each connection; shared: all connections in one"},
    {"spare-workers", "N", NUMBER, AT(spare_workers), AX_OPTION_SUPERVISOR, "1",
     "how many workers wait ahead of demand, with --isolation process", 0, 64},
    {"max-connections", "N", NUMBER, AT(max_connections), AX_OPTION_SUPERVISOR, NULL,
     "refuse connections beyond so many; 0: 1024 with --isolation process, 16384 with shared", 0, NUMBER_MAX},
    {"max-handshakes", "N", NUMBER, AT(max_handshakes), AX_OPTION_SUPERVISOR, "1024",
     "of more handshakes at a time than this, the oldest goes", 1, NUMBER_MAX},
    {"grace", "SECONDS", DURATION, AT(grace_ms), BOTH, "10",
     "how long running calls may go on when acrossd is told to stop, or their client is gone"},
    {"handshake-timeout", "SECONDS", LIMIT, AT(handshake_timeout_ms), BOTH, "10",
     "how long a handshake may take; none: for ever"},
    {"timeout", "SECONDS", LIMIT, AT(timeout_ms), BOTH, "60",
     "a peer that is silent for so long is gone; none: it never is"},
    {"max-message", "SIZE", SIZE, AT(max_message), BOTH, NULL,
     "the largest message that is received, in bytes or with K, M or G"},
    {"worker-memory", "SIZE", BOUND, AT(worker_memory), BOTH, NULL,
     "the most memory that a worker may have; none: no limit"},
    {"allow-uid", "USER", TEXTS, AT(allow_uid), AX_OPTION_SUPERVISOR, NULL,
     "serve this user, by name or number, and no other that is not allowed, too; repeatable; unix sockets only"},
    {"allow-gid", "GROUP", TEXTS, AT(allow_gid), AX_OPTION_SUPERVISOR, NULL,
     "the same for the members of a group; repeatable"},
    {"socket-mode", "MODE", MODE, AT(socket_mode), AX_OPTION_SUPERVISOR, "600",
     "permissions of unix sockets, in octal"},
    {"socket-group", "GROUP", TEXT, AT(socket_group), AX_OPTION_SUPERVISOR, NULL,
     "the group that unix sockets belong to, by name or number"},
    {"insecure", NULL, FLAG, AT(insecure), AX_OPTION_SUPERVISOR, NULL,
     "allow TCP addresses that other hosts can reach: whoever connects may run anything"},
    {"user", "NAME", TEXT, AT(user), BOTH, NULL, "run calls as this user; only root may say so"},
    {"venv", "DIR", TEXT, AT(venv), BOTH, NULL, "run calls in this virtual environment"},
    {"preload", "MODULE", TEXTS, AT(preload), BOTH, NULL, "import this module at the start; repeatable"},
    {"chdir", "DIR", TEXT, AT(chdir), BOTH, NULL, "run calls in this folder"},
    {"verbose", NULL, FLAG, AT(verbose), BOTH, NULL, "log each connection's coming and going"},
    {"help", NULL, FLAG, AT(help), AX_OPTION_SUPERVISOR, NULL, "print this and exit"},
    {"version", NULL, FLAG, AT(version), AX_OPTION_SUPERVISOR, NULL, "print the version and exit"},
    {"role", "ROLE", ROLE, AT(role), AX_OPTION_WORKER, NULL, NULL},
    {"control-fd", "FD", NUMBER, AT(control_fd), AX_OPTION_WORKER, NULL, NULL, 0, NUMBER_MAX},
};

#define TABLE_SIZE (sizeof table / sizeof table[0])

/* ---- lists of texts ---- */

int ax_texts_add(struct ax_texts *texts, const char *text)
{
    char **items = realloc(texts->items, (texts->count + 2) * sizeof *items);

    if (items == NULL)
        return -1;
    texts->items = items;
    items[texts->count] = strdup(text);
    if (items[texts->count] == NULL)
        return -1;
    items[++texts->count] = NULL;
    return 0;
}

void ax_texts_fini(struct ax_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct ax_texts){0};
}

/* ---- values ---- */

/* Decimal digits, with a fraction of which three digits count; no sign, no exponent. */
static int read_seconds(const char *text, uint32_t *milliseconds)
{
    uint64_t value = 0;
    uint64_t unit = 1000;
    bool rest = false;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    for (; isdigit((unsigned char)*text) && value <= DAY_MS; text++)
        value = value * 10 + (uint64_t)(*text - '0') * 1000;
    if (*text == '.')
        for (text++; isdigit((unsigned char)*text); text++) {
            unit /= 10;
            value += (uint64_t)(*text - '0') * unit;
            rest = rest || *text != '0';
        }
    if (*text != '\0' || value > DAY_MS)
        return -1;
    *milliseconds = value == 0 && rest ? 1 : (uint32_t)value; /* the shortest time is not "none" */
    return 0;
}

static int set_duration(uint32_t *place, const struct option *option, const char *value, char *error, size_t size)
{
    bool may_be_none = option->kind == LIMIT;

    if (may_be_none && strcmp(value, "none") == 0) {
        *place = AX_DURATION_NONE;
        return 0;
    }
    if (read_seconds(value, place) < 0)
        return ax_sentence(error, size, "--%s %s is no time: write seconds up to one day (86400), like 10 or 0.5%s",
                           option->name, value, may_be_none ? ", or none" : "");
    return 0;
}

/* 0 if it is no size. */
static uint64_t read_size(const char *value)
{
    static const char units[] = "KMG";
    const char *end = value;
    const char *unit;
    uint64_t bytes = 0;

    for (; isdigit((unsigned char)*end) && bytes < KIB * KIB * KIB * KIB; end++)
        bytes = bytes * 10 + (uint64_t)(*end - '0');
    unit = *end != '\0' ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit != NULL) {
        for (; unit >= units; unit--)
            bytes = bytes > INT64_MAX / KIB ? 0 : bytes * KIB;
        end++;
    }
    return *end == '\0' ? bytes : 0;
}

static int set_size(uint64_t *place, const struct option *option, const char *value, char *error, size_t size)
{
    bool may_be_none = option->kind == BOUND;
    uint64_t bytes = read_size(value);

    if (may_be_none && (strcmp(value, "none") == 0 || strcmp(value, "0") == 0)) {
        *place = 0;
        return 0;
    }
    if (bytes == 0)
        return ax_sentence(error, size, "--%s %s is no size: write bytes, or a number with K, M or G, like 64M%s",
                           option->name, value, may_be_none ? ", or none" : "");
    *place = bytes;
    return 0;
}

static int set_mode(mode_t *place, const char *value, char *error, size_t size)
{
    if (value[0] == '\0' || strlen(value) > 4 || strspn(value, "01234567") != strlen(value) ||
        strtoul(value, NULL, 8) > 0777)
        return ax_sentence(error, size, "--socket-mode %s is no file mode: write three octal digits, like 600 or 660",
                           value);
    *place = (mode_t)strtoul(value, NULL, 8);
    return 0;
}

/* The texts of enum ax_isolation and enum ax_process, by their values. */
static const char *const isolations[] = {"process", "shared"};
static const char *const roles[] = {"main", "worker", "zygote"};

static int set_isolation(enum ax_isolation *place, const char *value, char *error, size_t size)
{
    if (strcmp(value, isolations[AX_ISOLATION_PROCESS]) == 0)
        *place = AX_ISOLATION_PROCESS;
    else if (strcmp(value, isolations[AX_ISOLATION_SHARED]) == 0)
        *place = AX_ISOLATION_SHARED;
    else
        return ax_sentence(error, size, "--isolation %s is not known: write --isolation shared or --isolation process",
                           value);
    return 0;
}

static int set_role(enum ax_process *place, const char *value, char *error, size_t size)
{
    if (strcmp(value, roles[AX_PROCESS_WORKER]) == 0)
        *place = AX_PROCESS_WORKER;
    else if (strcmp(value, roles[AX_PROCESS_ZYGOTE]) == 0)
        *place = AX_PROCESS_ZYGOTE;
    else
        return ax_sentence(error, size, "--role is for acrossd's own use: leave it out");
    return 0;
}

static int set_number(uint32_t *place, const struct option *option, const char *value, char *error, size_t size)
{
    unsigned long number = strtoul(value, NULL, 10);

    if (value[0] == '\0' || strlen(value) > 9 || strspn(value, "0123456789") != strlen(value) ||
        number < option->least || number > option->most)
        return ax_sentence(error, size, "--%s %s is no number that will do: write one from %u to %u", option->name,
                           value, option->least, option->most);
    *place = (uint32_t)number;
    return 0;
}

static int set_flag(bool *place, const struct option *option, const char *value, char *error, size_t size)
{
    bool yes = strcmp(value, "yes") == 0;

    if (!yes && strcmp(value, "no") != 0)
        return ax_sentence(error, size, "--%s takes no value but yes or no: write --%s", option->name, option->name);
    *place = yes;
    return 0;
}

static int set_text(char **place, const struct option *option, const char *value, char *error, size_t size)
{
    char *copy;

    if (value[0] == '\0')
        return ax_sentence(error, size, "--%s is empty: write --%s %s", option->name, option->name, option->value_name);
    copy = strdup(value);
    if (copy == NULL)
        return ax_sentence(error, size, "out of memory");
    free(*place);
    *place = copy;
    return 0;
}

static int add_text(struct ax_texts *place, const struct option *option, const char *value, char *error, size_t size)
{
    struct ax_address ignored;

    if (value[0] == '\0')
        return ax_sentence(error, size, "--%s is empty: write --%s %s", option->name, option->name, option->value_name);
    if (option->kind == ADDRESSES && ax_address_parse(&ignored, value, error, size) < 0)
        return -1;
    return ax_texts_add(place, value) < 0 ? ax_sentence(error, size, "out of memory") : 0;
}

static int set(struct ax_options *options, const struct option *option, const char *value, char *error, size_t size)
{
    void *place = (char *)options + option->offset;

    switch (option->kind) {
    case FLAG:
        return set_flag(place, option, value, error, size);
    case TEXT:
        return set_text(place, option, value, error, size);
    case TEXTS:
    case ADDRESSES:
        return add_text(place, option, value, error, size);
    case DURATION:
    case LIMIT:
        return set_duration(place, option, value, error, size);
    case SIZE:
    case BOUND:
        return set_size(place, option, value, error, size);
    case MODE:
        return set_mode(place, value, error, size);
    case NUMBER:
        return set_number(place, option, value, error, size);
    case ISOLATION:
        return set_isolation(place, value, error, size);
    case ROLE:
        return set_role(place, value, error, size);
    }
    return -1;
}

/* ---- life ---- */

void ax_options_init(struct ax_options *options)
{
    char error[AX_SENTENCE_SIZE];

    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (table[i].fallback != NULL)
            set(options, &table[i], table[i].fallback, error, sizeof error);
}

void ax_options_fini(struct ax_options *options)
{
    ax_texts_fini(&options->listen);
    ax_texts_fini(&options->allow_uid);
    ax_texts_fini(&options->allow_gid);
    ax_texts_fini(&options->preload);
    free(options->socket_group);
    free(options->user);
    free(options->venv);
    free(options->chdir);
    memset(options, 0, sizeof *options);
}

/* ---- names ---- */

static const struct option *find(const char *name, size_t length)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;

    return least < c ? least : c;
}

/* How many letters must be added, removed or replaced to make one name the other; for names of up to 31 letters. */
static size_t distance(const char *left, const char *right, size_t right_length)
{
    size_t row[32];

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

static int fail_unknown(const char *name, size_t length, char *error, size_t size)
{
    const struct option *nearest = NULL;
    size_t least = 3; /* more than two mistakes make another word */

    for (size_t i = 0; i < TABLE_SIZE && length < 32; i++) {
        size_t mistakes = table[i].help != NULL ? distance(table[i].name, name, length) : least;

        if (mistakes < least) {
            least = mistakes;
            nearest = &table[i];
        }
    }
    if (nearest != NULL)
        return ax_sentence(error, size, "there is no option --%.*s: did you mean --%s?", (int)length, name,
                           nearest->name);
    return ax_sentence(error, size, "there is no option --%.*s: acrossd --help lists them", (int)length, name);
}

int ax_options_set(struct ax_options *options, const char *name, const char *value, char *error, size_t error_size)
{
    const struct option *option = find(name, strlen(name));

    if (option == NULL)
        return fail_unknown(name, strlen(name), error, error_size);
    return set(options, option, value, error, error_size);
}

/* ---- the command line ---- */

static int fail_positional(const char *word, char *error, size_t size)
{
    struct ax_address ignored;
    char unused[AX_SENTENCE_SIZE];

    if (ax_address_parse(&ignored, word, unused, sizeof unused) == 0)
        return ax_sentence(error, size, "an address needs its option: write --listen %s", word);
    return ax_sentence(error, size, "\"%s\" is no option: acrossd --help lists them", word);
}

/* Handles argv[index]. Returns how many words it used, or -1. */
static int parse_word(struct ax_options *options, char *const *argv, int index, char *error, size_t size)
{
    const char *word = strcmp(argv[index], "-h") == 0 ? "--help" : argv[index];
    const char *next = argv[index + 1];
    const struct option *option;
    size_t length;

    if (strncmp(word, "--", 2) != 0)
        return fail_positional(word, error, size);
    word += 2;
    length = strcspn(word, "=");
    option = find(word, length);
    if (option == NULL)
        return fail_unknown(word, length, error, size);
    if (word[length] == '=')
        return set(options, option, word + length + 1, error, size) < 0 ? -1 : 1;
    if (option->value_name == NULL)
        return set(options, option, "yes", error, size) < 0 ? -1 : 1;
    /* A value that starts with two hyphens is written --name=value. */
    if (next == NULL || strncmp(next, "--", 2) == 0)
        return ax_sentence(error, size, "--%s has no value: write --%s %s", option->name, option->name,
                           option->value_name);
    return set(options, option, next, error, size) < 0 ? -1 : 2;
}

/* What settings mean together. */
static int check(const struct ax_options *options, char *error, size_t size)
{
    if (options->help || options->version || options->role != AX_PROCESS_MAIN)
        return 0;
    if (options->use_stdio && options->listen.count > 0)
        return ax_sentence(error, size, "--stdio serves one connection and --listen many: write one of them");
    if (!options->use_stdio && options->listen.count == 0)
        return ax_sentence(error, size,
                           "nowhere to listen: write --listen unix:PATH, --listen tcp:HOST:PORT or --stdio");
    return 0;
}

int ax_options_parse(struct ax_options *options, int argc, char *const *argv, char *error, size_t error_size)
{
    for (int i = 1; i < argc;) {
        int used = parse_word(options, argv, i, error, error_size);

        if (used < 0)
            return -1;
        i += used;
    }
    return check(options, error, error_size);
}

/* ---- as text ---- */

static int add_argument(struct ax_texts *arguments, const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 4;
    char *text = malloc(size);
    int result;

    if (text == NULL)
        return -1;
    snprintf(text, size, "--%s=%s", name, value);
    result = ax_texts_add(arguments, text);
    free(text);
    return result;
}

static int add_texts(struct ax_texts *arguments, const char *name, const struct ax_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        if (add_argument(arguments, name, texts->items[i]) < 0)
            return -1;
    return 0;
}

static int add_option(struct ax_texts *arguments, const struct option *option, const void *place)
{
    char text[32];
    uint32_t number;
    const char *value;

    switch (option->kind) {
    case FLAG:
        return add_argument(arguments, option->name, *(const bool *)place ? "yes" : "no");
    case TEXT:
        value = *(char *const *)place;
        return value != NULL ? add_argument(arguments, option->name, value) : 0;
    case TEXTS:
    case ADDRESSES:
        return add_texts(arguments, option->name, place);
    case DURATION:
    case LIMIT:
        number = *(const uint32_t *)place;
        snprintf(text, sizeof text, "%u.%03u", number / 1000, number % 1000);
        break;
    case SIZE:
    case BOUND:
        if (*(const uint64_t *)place == 0)
            return 0;
        snprintf(text, sizeof text, "%llu", (unsigned long long)*(const uint64_t *)place);
        break;
    case MODE:
        snprintf(text, sizeof text, "%o", (unsigned)*(const mode_t *)place);
        break;
    case NUMBER:
        snprintf(text, sizeof text, "%u", *(const uint32_t *)place);
        break;
    case ISOLATION:
        snprintf(text, sizeof text, "%s", isolations[*(const enum ax_isolation *)place]);
        break;
    case ROLE:
        if (*(const enum ax_process *)place == AX_PROCESS_MAIN)
            return 0;
        snprintf(text, sizeof text, "%s", roles[*(const enum ax_process *)place]);
        break;
    }
    return add_argument(arguments, option->name, text);
}

int ax_options_to_arguments(const struct ax_options *options, unsigned who, struct ax_texts *arguments)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if ((table[i].who & who) != 0 && add_option(arguments, &table[i], (const char *)options + table[i].offset) < 0)
            return -1;
    return 0;
}

void ax_options_print_help(FILE *stream)
{
    fputs("Usage: acrossd --listen ADDRESS [--listen ADDRESS ...] [OPTION ...]\n"
          "       acrossd --stdio [OPTION ...]\n"
          "\n"
          "Runs Python functions for programs that use the package across, on this host or on others.\n"
          "\n",
          stream);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        const struct option *option = &table[i];
        char left[48];

        if (option->help == NULL)
            continue;
        snprintf(left, sizeof left, "--%s%s%s", option->name, option->value_name ? " " : "",
                 option->value_name ? option->value_name : "");
        fprintf(stream, "  %-27s %s", left, option->help);
        if (option->fallback != NULL)
            fprintf(stream, " (default: %s)", option->fallback);
        fputc('\n', stream);
    }
    fputs("\nExit status: 0 after an orderly stop, 1 for a failure at run time, 2 for wrong arguments.\n", stream);
}
