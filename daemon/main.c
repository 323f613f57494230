/* SPDX-License-Identifier: MIT */
/* acrossd: reads its settings, and runs as the kind of process that they select. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/admission/access.h"
#include "daemon/admission/identity.h"
#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/config/config.h"
#include "daemon/config/options.h"
#include "daemon/init.h"
#include "daemon/base/account.h"
#include "daemon/process/interpreter.h"
#include "daemon/process/process.h"
#include "daemon/status/status_command.h"
#include "daemon/stdio.h"
#include "daemon/supervisor.h"
#include "daemon/worker/zygote.h"

/* Reports an error if the output could not be written. */
static int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    ax_log(AX_LOG_ERROR, "cannot write to standard output");
    return 1;
}

/* ---- --check-config ---- */

static int check_users(const struct ax_string_list *names, char *error, size_t size)
{
    uid_t ignored;

    for (size_t i = 0; i < names->count; i++)
        if (ax_account_find_user(names->items[i], &ignored, error, size) < 0)
            return -1;
    return 0;
}

static int check_groups(const struct ax_string_list *names, char *error, size_t size)
{
    gid_t ignored;

    for (size_t i = 0; i < names->count; i++)
        if (ax_account_find_group(names->items[i], &ignored, error, size) < 0)
            return -1;
    return 0;
}

static int check_identity(const struct ax_options *options, char *error, size_t size)
{
    struct ax_identity *identity;

    if (!ax_options_have_identity(options))
        return 0;
    identity = ax_identity_load(options, error, size);
    ax_identity_free(identity);
    return identity != NULL ? 0 : -1;
}

/* Checks that what the settings name exists on this system. A server checks it piece by piece as it starts. */
static int check_names(const struct ax_options *options, char *error, size_t size)
{
    struct ax_interpreter interpreter;
    struct ax_secret *secret;
    gid_t gid;

    if (check_users(&options->allow_uid, error, size) < 0 || check_groups(&options->allow_gid, error, size) < 0)
        return -1;
    if (ax_access_check(options, error, size) < 0 || ax_access_read_secret(options, &secret, error, size) < 0)
        return -1;
    ax_secret_free(secret);
    if (check_identity(options, error, size) < 0)
        return -1;
    if (options->socket_group != NULL && ax_account_find_group(options->socket_group, &gid, error, size) < 0)
        return -1;
    if (ax_interpreter_find(&interpreter, options, error, size) != AX_INTERPRETER_OK)
        return -1;
    ax_interpreter_fini(&interpreter);
    return 0;
}

static int check_config(const struct ax_options *options)
{
    char error[AX_ERROR_TEXT_SIZE];

    if (check_names(options, error, sizeof error) < 0) {
        ax_log(AX_LOG_ERROR, "%s", error);
        return 2;
    }
    if (!options->print_config)
        puts("the configuration is good");
    return finish_output();
}

/* ---- options that print something ---- */

/* -1 if the process is to serve. */
static int answer(const struct ax_options *options)
{
    int status = -1;

    if (options->help) {
        ax_options_print_help(stdout);
        return finish_output();
    }
    if (options->version) {
        printf("acrossd %s (protocol 0.1 and 0.2, Python %s)\n", AX_VERSION, AX_PYTHON_VERSION);
        return finish_output();
    }
    if (options->check_config)
        status = check_config(options);
    if (options->print_config && status <= 0) {
        ax_options_print(options, stdout);
        status = finish_output();
    }
    return status;
}

static int serve(const struct ax_options *options, int argc, char *const *argv)
{
    int code;

    if (options->role == AX_PROCESS_ZYGOTE)
        return ax_zygote_run(options);
    code = ax_init_stay_apart();
    if (code < 0) {
        ax_log(AX_LOG_ERROR, "cannot start a process: %s", strerror(-code));
        return 1;
    }
    return options->use_stdio ? ax_stdio_run(options) : ax_supervisor_run(options, argc, argv);
}

int main(int argc, char **argv)
{
    struct ax_options options;
    char error[AX_ERROR_TEXT_SIZE];
    int status = 2;

    ax_process_open_standard_fds();
    if (argc > 1 && strcmp(argv[1], AX_STATUS_COMMAND) == 0)
        return ax_status_command(argc, argv);
    ax_log_init(STDERR_FILENO, AX_LOG_INFO);
    if (ax_config_load(&options, argc, argv, environ, false, error, sizeof error) < 0) {
        ax_log(AX_LOG_ERROR, "%s", error);
    } else {
        if (options.verbose)
            ax_log_init(STDERR_FILENO, AX_LOG_DEBUG);
        status = answer(&options);
        if (status < 0)
            status = serve(&options, argc, argv);
    }
    ax_options_fini(&options);
    ax_log_fini();
    return status;
}
