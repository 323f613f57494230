/* SPDX-License-Identifier: MIT */
/* Reading files that settings name, which may turn out to be something else. Any thread; reading may wait for a disk. */
#ifndef AX_DAEMON_FILE_H
#define AX_DAEMON_FILE_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Opens a file for reading. Of a pipe it does not wait for the other end, and a terminal does not become ours: what it is,
 * fstat() tells. A descriptor that is closed on exec, or -1 with errno.
 */
int ax_file_open(const char *path);

/* Reads what there is, up to `size` bytes. How many there were, or -1 with errno. */
ssize_t ax_file_read(int fd, void *bytes, size_t size);

#endif
