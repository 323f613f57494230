/* SPDX-License-Identifier: MIT */
/*
 * Where settings come from: the command line, over the environment, over a file, over the defaults.
 *
 * The file has one setting on each line, `name = value`, with the names of the long options; lines that begin with `#`
 * are comments. It is the one that --config names; without that
 *
 *     /etc/acrossd/acrossd.conf                    for root,
 *     $XDG_CONFIG_HOME/acrossd/acrossd.conf        for anybody else; without that variable
 *     $HOME/.config/acrossd/acrossd.conf
 *
 * which need not exist. A variable is ACROSSD_ and the name in capitals, with underscores for hyphens.
 *
 * Called by main(), and again by the supervisor when it is told to reload; may be called in any thread.
 */
#ifndef AX_DAEMON_CONFIG_CONFIG_H
#define AX_DAEMON_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/config/options.h"

#define AX_CONFIG_FILE_MAX 65536 /* bytes: hundreds of times what all settings take */
#define AX_CONFIG_LINE_MAX 4352  /* bytes: the longest path of the system, and a name */

/*
 * Reads all levels into *options, which needs no init before, and checks what they mean together. A process with a
 * role of acrossd's own reads the command line alone. `has_sockets`: there may be sockets to listen on that the
 * environment does not tell of: when they are open already. 0, or -1 with a sentence in `error` that begins with
 * FILE:LINE for a mistake in a file; ax_options_fini() in any case.
 */
int ax_config_load(struct ax_options *options, int argc, char *const *argv, char *const *environment, bool has_sockets,
                   char *error, size_t error_size);

/* Reads what a file of this name holds into an empty layer. Errors as above. */
int ax_config_read(struct ax_options *layer, const char *file, const char *text, size_t size, char *error,
                   size_t error_size);

/* The name of the file to look for, which the caller frees; NULL when there is none. 0, or -1 when there is no memory. */
int ax_config_find(char **name, char *const *environment, bool is_root);

#endif
