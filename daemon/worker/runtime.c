/* SPDX-License-Identifier: MIT */
#include "daemon/worker/runtime.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/base/account.h"
#include "daemon/process/interpreter.h"
#include "daemon/process/process.h"

static void warn(const char *message)
{
    ax_log(AX_LOG_WARNING, "%s", message);
}

int ax_runtime_start(const struct ax_options *options, int control_fd, void (*out_of_memory)(void))
{
    static struct ax_interpreter interpreter; /* the host borrows its paths until the process exits */
    struct ax_host_config config;
    char error[AX_ERROR_TEXT_SIZE];
    enum ax_interpreter_result result;
    int code;

    ax_process_ignore_write_signals();
    if (options->user != NULL && ax_account_become(options->user, error, sizeof error) < 0) {
        ax_log(AX_LOG_ERROR, "%s", error);
        return 2;
    }
    ax_process_die_with_parent(control_fd); /* after a change of user, which makes the kernel reset it */
    result = ax_interpreter_find(&interpreter, options, error, sizeof error);
    if (result != AX_INTERPRETER_OK) {
        ax_log(AX_LOG_ERROR, "%s", error);
        return result == AX_INTERPRETER_REFUSED ? 2 : 1;
    }
    if (options->chdir != NULL && chdir(options->chdir) < 0) {
        ax_log(AX_LOG_ERROR, "--chdir %s: %s: write the name of a folder", options->chdir, strerror(errno));
        return 2;
    }
    config = ax_interpreter_host_config(&interpreter, options);
    config.out_of_memory = out_of_memory;
    config.warn = warn;
    code = ax_host_init(&config);
    if (code < 0)
        ax_log(AX_LOG_ERROR, "the interpreter did not start, for the reason above");
    return code < 0 ? 1 : 0;
}
