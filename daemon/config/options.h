/* SPDX-License-Identifier: MIT */
/*
 * The settings of acrossd, and the table that names them.
 *
 * Every setting is one row of the table in options.c: its name, the kind of its value, its default, its help, and
 * where it is stored. A value is always text, set by ax_options_set(), wherever the text comes from. What comes from
 * one place is a layer: a struct ax_options that holds nothing else. config.c reads the layers, and puts them on top
 * of each other with ax_options_override(). A process that acrossd starts is told its settings by the text that
 * ax_options_to_arguments() makes of them.
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
#define AX_OPTION_NAME_SIZE 48 /* of a name as it is written, with the final NUL: longer ones are unknown */

#define AX_STATUS_COMMAND "status" /* argv[1] of the command `acrossd status` (status/status_command.h) */

#define AX_OPTIONS_VARIABLE "ACROSSD_" /* what names of variables begin with */

/* Where a setting comes from: each goes before those above it. */
enum ax_level { AX_LEVEL_DEFAULT, AX_LEVEL_FILE, AX_LEVEL_ENVIRONMENT, AX_LEVEL_COMMAND_LINE };

struct ax_source {
    enum ax_level level;
    unsigned line; /* FILE: from 1; of a list the first one */
};

/* All zero is an empty layer. */
struct ax_options {
    struct ax_string_list listen;
    bool use_stdio;
    enum ax_isolation isolation;
    uint32_t spare_workers;
    uint32_t max_connections;            /* 0: as many as suit the isolation */
    uint32_t max_handshakes;             /* at least 1 */
    uint32_t max_connections_per_source; /* 0: no limit but the one of all */
    uint32_t max_handshakes_per_source;  /* 0: all but an eighth */
    uint32_t grace_ms;
    uint32_t handshake_timeout_ms; /* or AX_DURATION_NONE */
    uint32_t timeout_ms;           /* or AX_DURATION_NONE */
    uint32_t spin_us;              /* for how long a thread that waits for a client polls before it sleeps; 0: never */
    uint64_t max_message;          /* bytes; 0: the engine's default */
    uint64_t worker_memory;        /* bytes; 0: no limit */
    uint32_t worker_tasks;         /* processes and threads; 0: no limit */
    struct ax_string_list allow_uid; /* names or numbers of users; empty: everyone whom the socket's mode lets in */
    struct ax_string_list allow_gid; /* the same of groups */
    bool run_as_peer;
    bool no_new_privileges; /* of workers; where nobody says so: as run_as_peer */
    mode_t socket_mode;
    char *socket_group; /* owned; NULL: the process's own */
    char *secret_file;  /* owned; NULL: TCP demands none */
    bool insecure;
    char *tls_cert; /* owned, as are the others: names of files; NULL: none */
    char *tls_key;
    char *tls_client_ca;
    struct ax_string_list tls_allow_name; /* empty: whomever the authorities vouch for */
    char *venv;                           /* owned; NULL: none */
    struct ax_string_list preload;
    char *chdir; /* owned; NULL: none */
    char *user;  /* owned: a name or number; NULL: whoever started acrossd */
    bool verbose;
    char *config; /* owned: the file that settings were read from; NULL: none */
    bool check_config;
    bool print_config;
    bool help;
    bool version;
    /* Hidden: what acrossd tells the processes that it starts. */
    enum ax_process role;
    uint32_t control_fd;

    struct ax_source sources[AX_OPTIONS_MAX]; /* by row of the table; DEFAULT: was not set */
};

#define AX_OPTION_WORKER 0x1u /* who needs a setting: the zygote, and the workers that it forks */

/* Sets every default. */
void ax_options_init(struct ax_options *options);
void ax_options_fini(struct ax_options *options);

/* Sets those defaults that depend on other settings, once all layers are there. */
void ax_options_settle(struct ax_options *options);

/*
 * Sets one setting of a layer from text; all of a layer come from the same level. The name is written as it is there:
 * `--max-message`, `ACROSSD_MAX_MESSAGE`, or `max-message` in a file. A repeatable setting gains a value, and from a
 * variable one for each word; another one is replaced, but for a file, which may say it only once. 0, or -1 with a
 * sentence in `error` which says what to write instead.
 */
int ax_options_set(struct ax_options *layer, const char *name, const char *value, struct ax_source source, char *error,
                   size_t error_size);

/*
 * Reads a command line into a layer, argv[0] being the program's name: `--name=value`, `--name value`, `--flag`, `-h`.
 * Stops at the first mistake. Errors as for ax_options_set().
 */
int ax_options_read_arguments(struct ax_options *layer, int argc, char *const *argv, char *error, size_t error_size);

/*
 * Whatever the layer says replaces what `options` say, lists as a whole; a choice between --listen and --stdio replaces
 * both. The layer gives its values away and is empty after it.
 */
void ax_options_override(struct ax_options *options, struct ax_options *layer);

/*
 * Checks what settings mean together; those of acrossd's own processes were checked before. `has_sockets`: there may
 * be sockets to listen on without --listen. Errors as for ax_options_set().
 */
int ax_options_check(const struct ax_options *options, bool has_sockets, char *error, size_t error_size);

/* Whether there is a certificate with its key, and authorities for those of clients: what TLS needs. */
bool ax_options_have_identity(const struct ax_options *options);

/*
 * The settings that `who` needs as a command line that ax_options_read_arguments() understands, from index 0 of
 * `arguments` on. 0, or -1 when there is no memory.
 */
int ax_options_to_arguments(const struct ax_options *options, unsigned who, struct ax_string_list *arguments);

/* Prints all settings as a file that --config takes, with comments that say where each comes from. */
void ax_options_print(const struct ax_options *options, FILE *stream);

/* Prints the help text. */
void ax_options_print_help(FILE *stream);

#endif
