/* SPDX-License-Identifier: MIT */
/* Reading files that settings name, which may turn out to be something else. Any thread; reading may wait for a disk. */
#ifndef AX_DAEMON_BASE_FILE_H
#define AX_DAEMON_BASE_FILE_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * Opens a file for reading. Of a pipe it does not wait for the other end, and a terminal does not become ours: what it is,
 * fstat() tells. A descriptor that is closed on exec, or -1 with errno.
 */
int ax_file_open(const char *path);

/* Reads what there is, up to `size` bytes. How many there were, or -1 with errno. */
ssize_t ax_file_read(int fd, void *bytes, size_t size);

/*
 * Whether a file may hold what others must not know. It belongs to us, and its mode gives nobody else any right; or to root,
 * who may let a group read it: root cannot give a file to a service's user alone without making it that user's own.
 * 0, or -1 with a sentence about `what` (an option, or what the file is called) and its path.
 */
int ax_file_check_private(const struct stat *status, const char *what, const char *path, char *error,
                          size_t error_size);

#endif
