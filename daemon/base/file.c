/* SPDX-License-Identifier: MIT */
#include "daemon/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daemon/base/error_format.h"

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

int ax_file_check_private(const struct stat *status, const char *what, const char *path, char *error, size_t error_size)
{
    uid_t own = geteuid();
    mode_t wrong = status->st_uid == 0 && own != 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;

    if (status->st_uid != own && status->st_uid != 0)
        return ax_error_format(error, error_size, "%s %s belongs to user %lu, and must belong to user %lu or root",
                               what, path, (unsigned long)status->st_uid, (unsigned long)own);
    if ((status->st_mode & wrong) != 0)
        return ax_error_format(error, error_size, "%s %s is open to others, with mode %03o: chmod %s %s", what, path,
                               (unsigned)(status->st_mode & 0777), (wrong & S_IRGRP) != 0 ? "600" : "640", path);
    return 0;
}
