/* SPDX-License-Identifier: MIT */
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/error_format.h"

#define SYSTEM_FILE "/etc/acrossd/acrossd.conf"
#define USER_FILE "acrossd/acrossd.conf"

/* ---- lines ---- */

static bool is_blank(char letter)
{
    return letter == ' ' || letter == '\t';
}

/* Removes blanks at both ends. */
static char *strip(char *text)
{
    size_t length;

    while (is_blank(*text))
        text++;
    length = strlen(text);
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

/* Quotes around a value preserve blanks at its ends. */
static char *unquote(char *value)
{
    size_t length = strlen(value);

    if (length < 2 || value[0] != '"' || value[length - 1] != '"')
        return value;
    value[length - 1] = '\0';
    return value + 1;
}

/* A line without its newline. Modifies it. */
static int read_line(struct ax_options *layer, char *line, unsigned number, char *error, size_t size)
{
    struct ax_source source = {AX_LEVEL_FILE, number};
    char *name = strip(line);
    char *equals = strchr(name, '=');

    if (name[0] == '\0' || name[0] == '#')
        return 0;
    if (equals == NULL || equals == name)
        return ax_error_format(error, size, "\"%s\" is no setting: write NAME = VALUE", name);
    *equals = '\0';
    return ax_options_set(layer, strip(name), unquote(strip(equals + 1)), source, error, size);
}

/* Copies a line, without a carriage return at its end; fails if it is too long. */
static int copy_line(char line[AX_CONFIG_LINE_MAX + 1], const char *text, size_t length, char *error, size_t size)
{
    if (length > AX_CONFIG_LINE_MAX)
        return ax_error_format(error, size, "the line has more than %d bytes: write a shorter one", AX_CONFIG_LINE_MAX);
    if (memchr(text, '\0', length) != NULL)
        return ax_error_format(error, size, "the line has a NUL byte in it: leave that out");
    memcpy(line, text, length);
    if (length > 0 && line[length - 1] == '\r')
        length--;
    line[length] = '\0';
    return 0;
}

int ax_config_read(struct ax_options *layer, const char *file, const char *text, size_t size, char *error,
                   size_t error_size)
{
    static const char mark[] = "\xEF\xBB\xBF"; /* the byte order mark that some editors write */
    char line[AX_CONFIG_LINE_MAX + 1];
    char reason[AX_ERROR_TEXT_SIZE];
    const char *end = text + size;
    unsigned number = 0;

    if (size >= strlen(mark) && memcmp(text, mark, strlen(mark)) == 0)
        text += strlen(mark);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline != NULL ? newline : end) - text);

        number++;
        if (copy_line(line, text, length, reason, sizeof reason) < 0 ||
            read_line(layer, line, number, reason, sizeof reason) < 0)
            return ax_error_format(error, error_size, "%s:%u: %s", file, number, reason);
        text += newline != NULL ? length + 1 : length;
    }
    return 0;
}

/* ---- files ---- */

/* Reads until the end or until the buffer is full. Returns the number of bytes, or a negative errno. */
static ssize_t read_all(int fd, char *buffer, size_t capacity)
{
    size_t size = 0;

    while (size < capacity) {
        ssize_t count = read(fd, buffer + size, capacity - size);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            break;
        size += (size_t)count;
    }
    return (ssize_t)size;
}

static int read_open_file(struct ax_options *layer, const char *file, int fd, char *error, size_t size)
{
    char *text = malloc(AX_CONFIG_FILE_MAX + 1);
    ssize_t length = text != NULL ? read_all(fd, text, AX_CONFIG_FILE_MAX + 1) : -ENOMEM;
    int result;

    if (length < 0)
        result =
            ax_error_format(error, size, "the configuration file %s cannot be read: %s", file, strerror((int)-length));
    else if (length > AX_CONFIG_FILE_MAX)
        result = ax_error_format(error, size,
                                 "the configuration file %s has more than %d bytes: it is probably the wrong file",
                                 file, AX_CONFIG_FILE_MAX);
    else
        result = ax_config_read(layer, file, text, (size_t)length, error, size);
    free(text);
    return result;
}

/*
 * 1 if it was read, 0 if it does not exist and need not, or -1. A pipe could block the daemon, and could not be read
 * again; /dev/null can, and counts as an empty file.
 */
static int read_file(struct ax_options *layer, const char *file, bool must_exist, char *error, size_t size)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    int result;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR) && !must_exist)
        return 0;
    if (fd < 0)
        return ax_error_format(error, size,
                               "the configuration file %s cannot be read: %s: name another one with --config", file,
                               strerror(errno));
    if (fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISCHR(status.st_mode)))
        result = read_open_file(layer, file, fd, error, size);
    else
        result = ax_error_format(error, size, "the configuration file %s is no file", file);
    close(fd);
    return result < 0 ? -1 : 1;
}

/* ---- the environment ---- */

static const char *look_up(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* One NAME=VALUE. An empty value counts as unset. */
static int read_variable(struct ax_options *layer, const char *variable, char *error, size_t size)
{
    static const struct ax_source source = {AX_LEVEL_ENVIRONMENT, 0};
    size_t length = strcspn(variable, "=");
    char *name;
    int result;

    if (strncmp(variable, AX_OPTIONS_VARIABLE, strlen(AX_OPTIONS_VARIABLE)) != 0 || variable[length] == '\0' ||
        variable[length + 1] == '\0')
        return 0;
    name = strndup(variable, length);
    if (name == NULL)
        return ax_error_format(error, size, "out of memory");
    result = ax_options_set(layer, name, variable + length + 1, source, error, size);
    free(name);
    return result;
}

static int read_environment(struct ax_options *layer, char *const *environment, char *error, size_t size)
{
    for (; *environment != NULL; environment++)
        if (read_variable(layer, *environment, error, size) < 0)
            return -1;
    return 0;
}

/* Whether a service manager passes sockets to this process. Which ones is examined later. */
static bool tells_of_sockets(char *const *environment)
{
    const char *pid = look_up(environment, "LISTEN_PID");

    return pid != NULL && strtol(pid, NULL, 10) == (long)getpid() && look_up(environment, "LISTEN_FDS") != NULL;
}

/* The XDG specification says that relative paths are to be ignored; unprintable ones could not be reported. */
static bool is_usable(const char *folder)
{
    return folder != NULL && folder[0] == '/' && strchr(folder, '\n') == NULL;
}

int ax_config_find(char **name, char *const *environment, bool is_root)
{
    const char *config = look_up(environment, "XDG_CONFIG_HOME");
    const char *home = look_up(environment, "HOME");
    int length = 0;

    *name = NULL;
    if (is_root)
        length = asprintf(name, "%s", SYSTEM_FILE);
    else if (is_usable(config))
        length = asprintf(name, "%s/" USER_FILE, config);
    else if (is_usable(home))
        length = asprintf(name, "%s/.config/" USER_FILE, home);
    if (length >= 0)
        return 0;
    *name = NULL; /* counts as unset */
    return -1;
}

/* ---- all sources ---- */

struct layers {
    struct ax_options file, environment, command_line;
};

/*
 * The given file, or else the default one if it may exist. 0, or -1 without memory: an existing file must not be
 * ignored.
 */
static int find_name(char **name, const char *given, char *const *environment)
{
    if (given == NULL)
        return ax_config_find(name, environment, geteuid() == 0);
    *name = strdup(given);
    return *name != NULL ? 0 : -1;
}

/* Reads the given or the default file. *name is the one that was read, or NULL; the caller frees it. */
static int read_named_file(struct layers *layers, char *const *environment, char **name, char *error, size_t size)
{
    const char *given = layers->command_line.config != NULL ? layers->command_line.config : layers->environment.config;
    int result;

    if (find_name(name, given, environment) < 0)
        return ax_error_format(error, size, "out of memory");
    if (*name == NULL)
        return 0;
    result = read_file(&layers->file, *name, given != NULL, error, size);
    if (result <= 0) {
        free(*name);
        *name = NULL;
    }
    return result < 0 ? -1 : 0;
}

static int read_layers(struct layers *layers, int argc, char *const *argv, char *const *environment, char **name,
                       char *error, size_t size)
{
    const struct ax_options *given = &layers->command_line;

    if (ax_options_read_arguments(&layers->command_line, argc, argv, error, size) < 0)
        return -1;
    if (given->help || given->version || given->role != AX_PROCESS_MAIN)
        return 0;
    if (read_environment(&layers->environment, environment, error, size) < 0)
        return -1;
    return read_named_file(layers, environment, name, error, size);
}

int ax_config_load(struct ax_options *options, int argc, char *const *argv, char *const *environment, bool has_sockets,
                   char *error, size_t error_size)
{
    struct layers layers = {0};
    char *file = NULL;
    int result = read_layers(&layers, argc, argv, environment, &file, error, error_size);

    ax_options_init(options);
    ax_options_override(options, &layers.file);
    ax_options_override(options, &layers.environment);
    ax_options_override(options, &layers.command_line);
    ax_options_settle(options);
    free(options->config);
    options->config = file;
    if (result < 0)
        return -1;
    return ax_options_check(options, has_sockets || tells_of_sockets(environment), error, error_size);
}
