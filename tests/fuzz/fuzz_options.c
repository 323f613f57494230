/* SPDX-License-Identifier: MIT */
/*
 * Reading of a command line, of variables and of addresses: any text is either accepted or refused with an error
 * message. What was accepted can be formatted as a command line, and read again with the same result.
 *
 * Input: words, one per line. Those that begin with ACROSSD_ are variables, the others make up the command line.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>

#include "daemon/base/error_format.h"
#include "daemon/config/config.h"
#include "daemon/base/address.h"

#define WORDS_MAX 64

struct words {
    char *items[WORDS_MAX + 1]; /* owned; ends in NULL */
    size_t count;
};

static void add_word(struct words *words, const char *word, size_t length)
{
    if (words->count == WORDS_MAX)
        return;
    words->items[words->count] = strndup(word, length);
    CHECK(words->items[words->count]);
    words->count++;
}

static void free_words(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
}

static void check_message(const char *error)
{
    CHECK(error[0] != '\0' && strlen(error) < AX_ERROR_TEXT_SIZE);
}

/*
 * The contents of this system's files are not part of the input: the linker replaces open() with this (--wrap). The
 * coverage runtime calls it, too, to write.
 */
int __wrap_open(const char *path, int flags, int mode);
int __real_open(const char *path, int flags, int mode);

int __wrap_open(const char *path, int flags, int mode)
{
    if ((flags & O_ACCMODE) != O_RDONLY)
        return __real_open(path, flags, mode);
    errno = ENOENT;
    return -1;
}

/* ---- addresses ---- */

static void check_address(const char *text)
{
    struct ax_address address, again;
    char error[AX_ERROR_TEXT_SIZE] = "";
    char written[AX_ADDRESS_TEXT];

    if (ax_address_parse(&address, text, error, sizeof error) < 0) {
        check_message(error);
        return;
    }
    ax_address_format(written, &address, address.port);
    CHECK(ax_address_parse(&again, written, error, sizeof error) == 0);
    CHECK(again.kind == address.kind && again.port == address.port && strcmp(again.name, address.name) == 0);
}

/* ---- settings ---- */

static char *print(const struct ax_options *options)
{
    size_t size;
    char *text = NULL;
    FILE *stream = open_memstream(&text, &size);

    CHECK(stream != NULL);
    ax_options_print(options, stream);
    CHECK(fclose(stream) == 0);
    return text;
}

/* What acrossd passes to the processes that it starts is what they need of its settings, and they accept it. */
static void check_arguments(const struct ax_options *options)
{
    struct ax_options layer = {0}, read;
    struct ax_string_list first = {0}, second = {0};
    char error[AX_ERROR_TEXT_SIZE];

    CHECK(ax_string_list_add(&first, "acrossd") == 0 && ax_string_list_add(&second, "acrossd") == 0);
    CHECK(ax_options_to_arguments(options, AX_OPTION_WORKER, &first) == 0);
    CHECK(ax_options_read_arguments(&layer, (int)first.count, first.items, error, sizeof error) == 0);
    ax_options_init(&read);
    ax_options_override(&read, &layer);
    CHECK(ax_options_to_arguments(&read, AX_OPTION_WORKER, &second) == 0);
    CHECK(first.count == second.count);
    for (size_t i = 0; i < first.count; i++)
        CHECK(strcmp(first.items[i], second.items[i]) == 0);
    ax_string_list_fini(&first);
    ax_string_list_fini(&second);
    ax_options_fini(&read);
}

static void check_settings(struct words *arguments, struct words *variables)
{
    struct ax_options options;
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (ax_config_load(&options, (int)arguments->count, arguments->items, variables->items, false, error,
                       sizeof error) < 0) {
        check_message(error);
    } else {
        char *text = print(&options);
        CHECK(strlen(text) > 0);
        free(text);
        if (options.role == AX_PROCESS_MAIN)
            check_arguments(&options);
    }
    ax_options_fini(&options);
}

static bool is_variable(const char *word, size_t length)
{
    size_t prefix = strlen(AX_OPTIONS_VARIABLE);

    return length >= prefix && memcmp(word, AX_OPTIONS_VARIABLE, prefix) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct words arguments = {0}, variables = {0};
    const char *text = (const char *)data;
    const char *end = text + size;

    add_word(&arguments, "acrossd", strlen("acrossd"));
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline != NULL ? newline : end) - text);

        add_word(is_variable(text, length) ? &variables : &arguments, text, length);
        text += newline != NULL ? length + 1 : length;
    }
    for (size_t i = 1; i < arguments.count; i++)
        check_address(arguments.items[i]);
    check_settings(&arguments, &variables);
    free_words(&arguments);
    free_words(&variables);
    return 0;
}
