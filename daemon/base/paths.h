/* SPDX-License-Identifier: MIT */
/* Where acrossd's own files are: seen from the folder of its executable, so that all of them can be moved together. */
#ifndef AX_DAEMON_BASE_PATHS_H
#define AX_DAEMON_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

/* `folder/name`, which the caller frees; NULL when there is no memory. */
char *ax_paths_join(const char *folder, const char *name);

/* Whether there is a file `folder/name`. */
bool ax_paths_has(const char *folder, const char *name);

/*
 * The first of two folders, one in a build tree and one where acrossd is installed, that has a file of this name. Both
 * are relative to the folder of the executable. The caller frees it; NULL with a sentence that calls it `what`.
 */
char *ax_paths_find(const char *built, const char *installed, const char *name, const char *what, char *error,
                    size_t error_size);

#endif
