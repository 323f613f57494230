/* SPDX-License-Identifier: MIT */
/*
 * The settings of acrossd, and the table that defines them.
 *
 * Every setting is one row of the table in options.c: its name, the kind of its value, its default, its help text, and
 * where it is stored. Values are always set from text by ax_options_set(), whatever their source. The settings of one
 * source are a layer: a struct ax_options that holds nothing else. config.c reads the layers, and merges them with
 * ax_options_override(). A process that acrossd starts gets its settings as a command line made by
 * ax_options_to_arguments().
 */
#ifndef AX_DAEMON_CONFIG_OPTIONS_H
#define AX_DAEMON_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "daemon/base/string_list.h"
#include "daemon/config/value.h"

#define AX_OPTIONS_MAX 48      /* rows of the table */
#define AX_OPTION_NAME_SIZE 48 /* bytes of a name as written, with the final NUL: longer ones are unknown */

#define AX_STATUS_COMMAND "status" /* argv[1] of the command `acrossd status` (status/status_command.h) */

#define AX_OPTIONS_VARIABLE "ACROSSD_" /* prefix of environment variables */

/* The source of a setting, in increasing priority. */
enum ax_level { AX_LEVEL_DEFAULT, AX_LEVEL_FILE, AX_LEVEL_ENVIRONMENT, AX_LEVEL_COMMAND_LINE };

struct ax_source {
    enum ax_level level;
    unsigned line; /* FILE: from 1; for a list its first line */
};

/* All zero is an empty layer. */
struct ax_options {
    struct ax_string_list listen;
    bool use_stdio;
    enum ax_isolation isolation;
    uint32_t spare_workers;
    uint32_t max_connections;            /* 0: the default for the isolation */
    uint32_t max_handshakes;             /* at least 1 */
    uint32_t max_connections_per_source; /* 0: no limit of its own */
    uint32_t max_handshakes_per_source;  /* 0: all but an eighth */
    uint32_t grace_ms;
    uint32_t handshake_timeout_ms; /* or AX_DURATION_NONE */
    uint32_t timeout_ms;           /* or AX_DURATION_NONE */
    uint32_t spin_us;              /* how long a thread that waits for a client polls before it sleeps; 0: never */
    uint64_t max_message;          /* bytes; 0: the engine's default */
    uint64_t worker_memory;        /* bytes; 0: no limit */
    uint32_t worker_tasks;         /* processes and threads; 0: no limit */
    /* names or numbers of users; empty: everyone whom the socket's permissions allow */
    struct ax_string_list allow_uid;
    struct ax_string_list allow_gid; /* the same of groups */
    bool run_as_peer;
    bool no_new_privileges; /* for workers; default: the value of run_as_peer */
    mode_t socket_mode;
    char *socket_group; /* owned; NULL: the process's own */
    char *secret_file;  /* owned; NULL: none is required over TCP */
    bool insecure;
    char *tls_cert; /* owned, like the others: paths; NULL: none */
    char *tls_key;
    char *tls_client_ca;
    struct ax_string_list tls_allow_name; /* empty: every client with a certificate of the authorities */
    char *venv;                           /* owned; NULL: none */
    struct ax_string_list preload;
    char *chdir; /* owned; NULL: none */
    char *user;  /* owned: a name or number; NULL: the user who started acrossd */
    bool verbose;
    char *config; /* owned: path of the file that was read; NULL: none */
    bool check_config;
    bool print_config;
    bool help;
    bool version;
    /* Internal: set by acrossd for the processes that it starts. */
    enum ax_process role;
    uint32_t control_fd;

    struct ax_source sources[AX_OPTIONS_MAX]; /* by row of the table; DEFAULT: not set */
};

#define AX_OPTION_WORKER 0x1u /* needed by: the zygote, and the workers that it forks */

/* Sets all defaults. */
void ax_options_init(struct ax_options *options);
void ax_options_fini(struct ax_options *options);

/* Frees options from malloc() with all that they own; NULL: nothing. */
void ax_options_free(struct ax_options *options);

/* Sets the defaults that depend on other settings, after all layers have been merged. */
void ax_options_settle(struct ax_options *options);

/*
 * Sets one setting of a layer from text; all settings of a layer come from the same source. The name is written as in
 * that source: `--max-message`, `ACROSSD_MAX_MESSAGE`, or `max-message` in a file. A repeatable setting gains a value,
 * from a variable one per word; another one is replaced, except in a file, where it may occur only once. 0, or -1 with
 * a message in `error` which says what to write instead.
 */
int ax_options_set(struct ax_options *layer, const char *name, const char *value, struct ax_source source, char *error,
                   size_t error_size);

/*
 * Parses a command line into a layer, argv[0] being the program's name: `--name=value`, `--name value`, `--flag`, `-h`.
 * Stops at the first mistake. Errors as for ax_options_set().
 */
int ax_options_read_arguments(struct ax_options *layer, int argc, char *const *argv, char *error, size_t error_size);

/*
 * Settings of the layer replace those in `options`, lists as a whole; a choice between --listen and --stdio replaces
 * both. Moves the layer's values; it is empty afterwards.
 */
void ax_options_override(struct ax_options *options, struct ax_options *layer);

/*
 * Checks that the settings are consistent; those of internal processes were checked before. `has_sockets`: there may be
 * sockets to listen on without --listen. Errors as for ax_options_set().
 */
int ax_options_check(const struct ax_options *options, bool has_sockets, char *error, size_t error_size);

/* Whether a TLS identity is configured: a certificate with its key, and the authorities of clients. */
bool ax_options_have_identity(const struct ax_options *options);

/*
 * The settings that `who` needs as a command line for ax_options_read_arguments(), from index 0 of `arguments` on. 0,
 * or -1 when there is no memory.
 */
int ax_options_to_arguments(const struct ax_options *options, unsigned who, struct ax_string_list *arguments);

/* Prints all settings as a file for --config, with comments that name their sources. */
void ax_options_print(const struct ax_options *options, FILE *stream);

/* Prints the help text. */
void ax_options_print_help(FILE *stream);

#endif
