/* SPDX-License-Identifier: MIT */
/*
 * Locates acrossd's own files relative to the folder of its executable, so that an installation can be moved as a
 * whole.
 */
#ifndef AX_DAEMON_BASE_PATHS_H
#define AX_DAEMON_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

/* `folder/name`; the caller frees it. NULL when there is no memory. */
char *ax_paths_join(const char *folder, const char *name);

/* Whether the file `folder/name` exists. */
bool ax_paths_has(const char *folder, const char *name);

/*
 * The first of two folders, one in a build tree and one of an installation, that has a file of this name. Both are
 * relative to the folder of the executable. The caller frees it; NULL with an error message that calls it `what`.
 */
char *ax_paths_find(const char *built, const char *installed, const char *name, const char *what, char *error,
                    size_t error_size);

#endif
