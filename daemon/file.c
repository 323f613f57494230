/* SPDX-License-Identifier: MIT */
#include "daemon/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int ax_file_open(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

ssize_t ax_file_read(int fd, void *bytes, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t part = read(fd, (char *)bytes + got, size - got);

        if (part < 0 && errno != EINTR)
            return -1;
        if (part == 0)
            break;
        got += part > 0 ? (size_t)part : 0;
    }
    return (ssize_t)got;
}
