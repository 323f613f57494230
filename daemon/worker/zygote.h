/* SPDX-License-Identifier: MIT */
/*
 * The zygote: a process with a warm interpreter, from which workers are forked.
 *
 * It has imported across and what --preload names, and runs nothing else: it has one thread, and waits for the
 * supervisor's requests (control.h). Workers share its memory until they write to it. It dies with its supervisor, and
 * its workers do not die with it.
 */
#ifndef AX_DAEMON_WORKER_ZYGOTE_H
#define AX_DAEMON_WORKER_ZYGOTE_H

#include "daemon/config/options.h"

/* Serves until the supervisor is done with it. Returns an exit status, or does not return. */
int ax_zygote_run(const struct ax_options *options);

#endif
