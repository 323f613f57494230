/* SPDX-License-Identifier: MIT */
/*
 * Reading of a configuration file: any bytes are either accepted or refused with one error message that names the line;
 * what was accepted can be printed and read again, with the same result.
 *
 * Input: the file.
 */
#include "fuzz.h"

#include "daemon/base/error_format.h"
#include "daemon/config/config.h"

static char *print(const struct ax_options *options, size_t *size)
{
    char *text = NULL;
    FILE *stream = open_memstream(&text, size);

    CHECK(stream != NULL);
    ax_options_print(options, stream);
    CHECK(fclose(stream) == 0);
    return text;
}

/* The comments contain line numbers of the other file: they are left out. */
static void drop_comments(char *text)
{
    char *to = text;

    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        size_t length = strlen(line);

        if (line[0] == '#')
            continue;
        memmove(to, line, length + 1);
        to += length;
        *to++ = '\n';
    }
    *to = '\0';
}

static void check_again(struct ax_options *layer)
{
    struct ax_options options, again = {0};
    char error[AX_ERROR_TEXT_SIZE];
    size_t size, size_again;
    char *text, *text_again;

    ax_options_init(&options);
    ax_options_override(&options, layer);
    text = print(&options, &size);
    if (ax_config_read(&again, "again", text, size, error, sizeof error) < 0) {
        fprintf(stderr, "%s\n%s", error, text);
        abort();
    }
    text_again = print(&again, &size_again);
    drop_comments(text);
    drop_comments(text_again);
    CHECK(strcmp(text, text_again) == 0);
    free(text);
    free(text_again);
    ax_options_fini(&again);
    ax_options_fini(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ax_options layer = {0};
    char error[AX_ERROR_TEXT_SIZE] = "";
    unsigned line;

    if (ax_config_read(&layer, "file", (const char *)data, size, error, sizeof error) < 0)
        CHECK(sscanf(error, "file:%u: ", &line) == 1 && line > 0);
    else
        check_again(&layer);
    ax_options_fini(&layer);
    return 0;
}
