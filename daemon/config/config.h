/* SPDX-License-Identifier: MIT */
/*
 * The sources of settings: the command line overrides the environment, which overrides a file, which overrides
 * defaults.
 *
 * The file has one setting per line, `name = value`, with the names of the long options; lines that begin with `#` are
 * comments. It is the one that --config names, or else, if it exists,
 *
 *   /etc/acrossd/acrossd.conf                    for root,
 *   $XDG_CONFIG_HOME/acrossd/acrossd.conf        for other users; without that variable
 *   $HOME/.config/acrossd/acrossd.conf
 *
 * The environment variable of a setting is ACROSSD_ and its name in capitals, with underscores for hyphens.
 *
 * Called by main(), and again by the supervisor when it reloads; may be called in any thread.
 */
#ifndef AX_DAEMON_CONFIG_CONFIG_H
#define AX_DAEMON_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/config/options.h"

#define AX_CONFIG_FILE_MAX 65536 /* bytes: hundreds of times what all settings take */
#define AX_CONFIG_LINE_MAX 4352  /* bytes: the system's longest path, and a name */

/*
 * Reads all sources into *options, which needs no init before, and checks that the settings are consistent. A process
 * with an internal role reads the command line alone. `has_sockets`: there may be inherited sockets that the
 * environment does not mention, because they are open already. 0, or -1 with a message in `error` that begins with
 * FILE:LINE for a mistake in a file; call ax_options_fini() in either case.
 */
int ax_config_load(struct ax_options *options, int argc, char *const *argv, char *const *environment, bool has_sockets,
                   char *error, size_t error_size);

/* Reads the contents of a file of this name into an empty layer. Errors as above. */
int ax_config_read(struct ax_options *layer, const char *file, const char *text, size_t size, char *error,
                   size_t error_size);

/* The default file's name, which the caller frees; NULL when there is none. 0, or -1 when there is no memory. */
int ax_config_find(char **name, char *const *environment, bool is_root);

#endif
