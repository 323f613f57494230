/* SPDX-License-Identifier: MIT */
/*
 * Whether the settings about who may come in, and as whom calls run, can be had on this system by this process.
 *
 * Asked by main() for --check-config, and by the supervisor when it starts and when it reloads: before the loop or, for a
 * reload, in it. It asks the name service, which may take its time.
 */
#ifndef AX_DAEMON_ADMISSION_ACCESS_H
#define AX_DAEMON_ADMISSION_ACCESS_H

#include <stddef.h>

#include "daemon/admission/secret.h"
#include "daemon/config/options.h"

/* 0, or -1 with a sentence that says what to write instead. */
int ax_access_check(const struct ax_options *options, char *error, size_t error_size);

/*
 * The secret of --secret-file, in *secret: the caller's, or NULL when there is none to be demanded. 0, or -1 with a
 * sentence.
 */
int ax_access_read_secret(const struct ax_options *options, struct ax_secret **secret, char *error, size_t error_size);

#endif
