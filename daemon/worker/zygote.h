/* SPDX-License-Identifier: MIT */
/*
 * The zygote: a process with a started interpreter, from which workers are forked.
 *
 * It has imported across and the modules of --preload, and runs nothing else: it has one thread, and waits for the
 * supervisor's requests (control.h). Workers share its memory copy-on-write. It dies with its supervisor; its workers
 * do not die with it.
 */
#ifndef AX_DAEMON_WORKER_ZYGOTE_H
#define AX_DAEMON_WORKER_ZYGOTE_H

#include "daemon/config/options.h"

/* Serves until the supervisor closes the socket or tells it to stop. Returns an exit status, or does not return. */
int ax_zygote_run(const struct ax_options *options);

#endif
