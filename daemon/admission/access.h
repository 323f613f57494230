/* SPDX-License-Identifier: MIT */
/*
 * Checks the settings for access control and for the user that calls run as against this system.
 *
 * Called by main() for --check-config, and by the supervisor when it starts (before its loop) and when it reloads (in
 * the loop). It queries the name service, which may block.
 */
#ifndef AX_DAEMON_ADMISSION_ACCESS_H
#define AX_DAEMON_ADMISSION_ACCESS_H

#include <stddef.h>

#include "daemon/admission/secret.h"
#include "daemon/config/options.h"

/* 0, or -1 with an error message that says what to write instead. */
int ax_access_check(const struct ax_options *options, char *error, size_t error_size);

/*
 * Reads the secret of --secret-file into *secret, which the caller owns; NULL when no secret is configured. 0, or -1
 * with an error message.
 */
int ax_access_read_secret(const struct ax_options *options, struct ax_secret **secret, char *error, size_t error_size);

#endif
