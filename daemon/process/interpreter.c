/* SPDX-License-Identifier: MIT */
#include "daemon/process/interpreter.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/paths.h"

/* ---- virtual environments ---- */

/* The value of `key = value` in a line, or NULL. */
static const char *value_of(const char *line, const char *key)
{
    size_t length = strlen(key);

    while (isspace((unsigned char)*line))
        line++;
    if (strncasecmp(line, key, length) != 0)
        return NULL;
    line += length;
    while (*line == ' ' || *line == '\t')
        line++;
    if (*line != '=')
        return NULL;
    line++;
    while (*line == ' ' || *line == '\t')
        line++;
    return line;
}

/* Reads major.minor from pyvenv.cfg; "" when it has none. */
static int read_version(const char *folder, char *version, size_t size)
{
    char *path = ax_paths_join(folder, "pyvenv.cfg");
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    char line[512];
    unsigned major, minor;

    free(path);
    if (file == NULL)
        return -1;
    version[0] = '\0';
    while (fgets(line, sizeof line, file) != NULL) {
        const char *value = value_of(line, "version");

        if (value == NULL)
            value = value_of(line, "version_info");
        if (value != NULL && sscanf(value, "%u.%u", &major, &minor) == 2)
            snprintf(version, size, "%u.%u", major, minor);
    }
    fclose(file);
    return 0;
}

int ax_interpreter_check_venv(const char *folder, const char *wanted, char *error, size_t error_size)
{
    char version[32];

    if (read_version(folder, version, sizeof version) < 0 || !ax_paths_has(folder, "bin/python"))
        return ax_error_format(error, error_size,
                               "--venv %s is no virtual environment: make one with python%s -m venv %s", folder, wanted,
                               folder);
    if (version[0] != '\0' && strcmp(version, wanted) != 0)
        return ax_error_format(
            error, error_size,
            "--venv %s is of Python %s, and this acrossd runs Python %s: make one with python%s -m venv", folder,
            version, wanted, wanted);
    return 0;
}

/* ---- interpreter and package ---- */

static char *find_python(const struct ax_options *options, char *error, size_t size)
{
    char *folder, *python;

    if (options->venv == NULL)
        return strdup(AX_PYTHON_EXECUTABLE);
    if (ax_interpreter_check_venv(options->venv, AX_PYTHON_VERSION, error, size) < 0)
        return NULL;
    folder =
        /* only of the folder: bin/python is a symbolic link, by whose path Python finds the environment */
        realpath(options->venv, NULL);
    python = folder != NULL ? ax_paths_join(folder, "bin/python") : NULL;
    free(folder);
    return python;
}

static int check_chdir(const struct ax_options *options, char *error, size_t size)
{
    struct stat status;

    if (options->chdir == NULL)
        return 0;
    if (stat(options->chdir, &status) < 0)
        return ax_error_format(error, size, "--chdir %s: %s: write the name of a folder", options->chdir,
                               strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return ax_error_format(error, size, "--chdir %s is no folder: write the name of one", options->chdir);
    return 0;
}

enum ax_interpreter_result ax_interpreter_find(struct ax_interpreter *interpreter, const struct ax_options *options,
                                               char *error, size_t error_size)
{
    ax_error_format(error, error_size, "out of memory");
    *interpreter = (struct ax_interpreter){0};
    if (check_chdir(options, error, error_size) < 0)
        return AX_INTERPRETER_REFUSED;
    interpreter->python = find_python(options, error, error_size);
    if (interpreter->python == NULL)
        return AX_INTERPRETER_REFUSED;
    interpreter->package_dir = ax_paths_find("python", "../lib/acrossd/python", "across/__init__.py",
                                             "the Python package across", error, error_size);
    if (interpreter->package_dir == NULL) {
        ax_interpreter_fini(interpreter);
        return AX_INTERPRETER_FAILED;
    }
    return AX_INTERPRETER_OK;
}

void ax_interpreter_fini(struct ax_interpreter *interpreter)
{
    free(interpreter->python);
    free(interpreter->package_dir);
    *interpreter = (struct ax_interpreter){0};
}

struct ax_host_config ax_interpreter_host_config(const struct ax_interpreter *interpreter,
                                                 const struct ax_options *options)
{
    return (struct ax_host_config){
        .python = interpreter->python,
        .package_dir = interpreter->package_dir,
        .preload = (const char *const *)options->preload.items,
        .accept_exports = options->use_stdio || options->isolation == AX_ISOLATION_PROCESS,
        .forks = !options->use_stdio,
        .timeout_ms = options->timeout_ms,
        .handshake_timeout_ms = options->handshake_timeout_ms,
        .max_message = options->max_message,
        .spin_us = options->spin_us,
    };
}
