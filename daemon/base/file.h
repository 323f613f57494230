/* SPDX-License-Identifier: MIT */
/*
 * Reading files that are named in settings, which may turn out to be of any type. Any thread; reading may block on disk
 * I/O.
 */
#ifndef AX_DAEMON_BASE_FILE_H
#define AX_DAEMON_BASE_FILE_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * Opens a file for reading, without waiting for the other end of a FIFO or acquiring a controlling terminal; use
 * fstat() to find out its type. A close-on-exec descriptor, or -1 with errno.
 */
int ax_file_open(const char *path);

/* Reads up to `size` bytes, or to the end. Returns their number, or -1 with errno. */
ssize_t ax_file_read(int fd, void *bytes, size_t size);

/*
 * Whether a file may hold a secret: it belongs to this process's user, and its mode grants access to nobody else; or it
 * belongs to root, who may grant a group read access (root cannot give a service's user access to a file without a
 * group, unless that user owns it). 0, or -1 with an error message about `what` (an option, or the file's role) and its
 * path.
 */
int ax_file_check_private(const struct stat *status, const char *what, const char *path, char *error,
                          size_t error_size);

#endif
