/* SPDX-License-Identifier: MIT */
/*
 * Finds the Python interpreter, and the copy of the package `across`, that workers use.
 *
 * Only looks at files and starts nothing: the supervisor checks at its start what its workers will need.
 */
#ifndef AX_DAEMON_PROCESS_INTERPRETER_H
#define AX_DAEMON_PROCESS_INTERPRETER_H

#include <stddef.h>

#include "daemon/config/options.h"
#include "embed/host.h"

struct ax_interpreter {
    char *python;      /* owned: path of the executable */
    char *package_dir; /* owned */
};

enum ax_interpreter_result {
    AX_INTERPRETER_OK = 0,
    AX_INTERPRETER_REFUSED = -1, /* the options name something unusable */
    AX_INTERPRETER_FAILED = -2,  /* acrossd's own files are missing */
};

/* Finds both, as absolute paths. On an error `error` holds a message, and there is nothing to _fini. */
enum ax_interpreter_result ax_interpreter_find(struct ax_interpreter *interpreter, const struct ax_options *options,
                                               char *error, size_t error_size);
void ax_interpreter_fini(struct ax_interpreter *interpreter);

/* The configuration of a host with this interpreter and these options, borrowing from both. */
struct ax_host_config ax_interpreter_host_config(const struct ax_interpreter *interpreter,
                                                 const struct ax_options *options);

/*
 * Whether `folder` holds a virtual environment of Python version `wanted` (major.minor). 0, or -1 with an error message
 * that names the version needed.
 */
int ax_interpreter_check_venv(const char *folder, const char *wanted, char *error, size_t error_size);

#endif
