/* SPDX-License-Identifier: MIT */
/*
 * The settings of acrossd, and the table that names them.
 *
 * Every setting is one row of the table in options.c: its name, the kind of its value, its default, its help, and
 * where it is stored. A value is always text, set by ax_options_set(), wherever the text comes from; so the command
 * line, a file or the environment are read by different functions over the same table, and a worker is told its
 * settings by the text that ax_options_to_arguments() makes of them.
 */
#ifndef AX_DAEMON_OPTIONS_H
#define AX_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define AX_DURATION_NONE 0u /* milliseconds: no limit */

enum ax_isolation {
    AX_ISOLATION_PROCESS, /* a worker for each connection */
    AX_ISOLATION_SHARED,  /* one for all */
};

/* What kind of process this is. All but the first are started by acrossd itself. */
enum ax_process { AX_PROCESS_MAIN, AX_PROCESS_WORKER, AX_PROCESS_ZYGOTE };

/* A list of texts, owned; NULL-terminated once it has one. */
struct ax_texts {
    char **items;
    size_t count;
};

struct ax_options {
    struct ax_texts listen;
    bool use_stdio;
    enum ax_isolation isolation;
    uint32_t spare_workers;
    uint32_t max_connections; /* 0: as many as suit the isolation */
    uint32_t max_handshakes;  /* at least 1 */
    uint32_t grace_ms;
    uint32_t handshake_timeout_ms; /* or AX_DURATION_NONE */
    uint32_t timeout_ms;           /* or AX_DURATION_NONE */
    uint64_t max_message;          /* bytes; 0: the engine's default */
    uint64_t worker_memory;        /* bytes; 0: no limit */
    struct ax_texts allow_uid;     /* names or numbers of users; empty: everyone whom the socket's mode lets in */
    struct ax_texts allow_gid;     /* the same of groups */
    mode_t socket_mode;
    char *socket_group; /* owned; NULL: the process's own */
    bool insecure;
    char *venv; /* owned; NULL: none */
    struct ax_texts preload;
    char *chdir; /* owned; NULL: none */
    char *user;  /* owned: a name or number; NULL: whoever started acrossd */
    bool verbose;
    bool help;
    bool version;
    /* Hidden: what acrossd tells the processes that it starts. */
    enum ax_process role;
    uint32_t control_fd;
};

/* Who needs a setting. */
#define AX_OPTION_SUPERVISOR 0x1u
#define AX_OPTION_WORKER 0x2u /* the zygote, and the workers that it forks */

/* Sets every default. */
void ax_options_init(struct ax_options *options);
void ax_options_fini(struct ax_options *options);

/*
 * Sets one setting from text. A repeatable one gains a value, another one is replaced. 0, or -1 with a sentence in
 * `error` which says what to write instead.
 */
int ax_options_set(struct ax_options *options, const char *name, const char *value, char *error, size_t error_size);

/*
 * Reads a command line, argv[0] being the program's name: `--name=value`, `--name value`, `--flag`, `-h`. Stops at
 * the first mistake. Then checks what settings mean together. Errors as for ax_options_set().
 */
int ax_options_parse(struct ax_options *options, int argc, char *const *argv, char *error, size_t error_size);

/*
 * The settings that `who` needs as a command line that ax_options_parse() understands, from index 0 of `arguments` on.
 * 0, or -1 when there is no memory.
 */
int ax_options_to_arguments(const struct ax_options *options, unsigned who, struct ax_texts *arguments);

/* Prints the help text. */
void ax_options_print_help(FILE *stream);

/* Appends a copy of the text. 0, or -1 when there is no memory. */
int ax_texts_add(struct ax_texts *texts, const char *text);
void ax_texts_fini(struct ax_texts *texts);

#endif
