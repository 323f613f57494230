/* SPDX-License-Identifier: MIT */
/* acrossd: reads its command line, and becomes the kind of process that it asks for. */
#include <stdio.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/process.h"
#include "daemon/sentence.h"
#include "daemon/stdio.h"
#include "daemon/supervisor.h"
#include "daemon/worker.h"

/* What was asked for on standard output has to arrive there. */
static int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    ax_log(AX_LOG_ERROR, "cannot write to standard output");
    return 1;
}

static int run(const struct ax_options *options)
{
    if (options->help) {
        ax_options_print_help(stdout);
        return finish_output();
    }
    if (options->version) {
        printf("acrossd %s (protocol 0.1 and 0.2, Python %s)\n", AX_VERSION, AX_PYTHON_VERSION);
        return finish_output();
    }
    if (options->role == AX_PROCESS_WORKER)
        return ax_worker_run(options);
    return options->use_stdio ? ax_stdio_run(options) : ax_supervisor_run(options);
}

int main(int argc, char **argv)
{
    struct ax_options options;
    char error[AX_SENTENCE_SIZE];
    int status = 2;

    ax_process_open_standard_fds();
    ax_log_init(STDERR_FILENO, AX_LOG_INFO);
    ax_options_init(&options);
    if (ax_options_parse(&options, argc, argv, error, sizeof error) < 0) {
        ax_log(AX_LOG_ERROR, "%s", error);
    } else {
        if (options.verbose)
            ax_log_init(STDERR_FILENO, AX_LOG_DEBUG);
        status = run(&options);
    }
    ax_options_fini(&options);
    ax_log_fini();
    return status;
}
