/* SPDX-License-Identifier: MIT */
#include "daemon/process/shared_stats.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t stats_size(uint32_t slots)
{
    return sizeof(struct ax_shared_stats) + slots * sizeof(ax_wire_state);
}

static struct ax_shared_stats *map(int fd, size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return memory != MAP_FAILED ? memory : NULL;
}

/*
 * Sealed, so that the other side cannot shrink it: an access would be a SIGBUS. Allocated up front, since a lack of
 * shared memory would be a SIGBUS, too.
 */
struct ax_shared_stats *ax_shared_stats_new(uint32_t slots, int *fd)
{
    size_t size = stats_size(slots);
    struct ax_shared_stats *stats = NULL;
    int error;

    *fd = memfd_create("acrossd-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return NULL;
    error = posix_fallocate(*fd, 0, (off_t)size);
    if (error == 0 && fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        stats = map(*fd, size);
    else if (error == 0)
        error = errno;
    if (stats == NULL) {
        int code = error != 0 ? error : errno;

        close(*fd);
        *fd = -1;
        errno = code;
        return NULL;
    }
    stats->slots = slots;
    return stats;
}

struct ax_shared_stats *ax_shared_stats_map(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return NULL;
    return map(fd, (size_t)status.st_size);
}

void ax_shared_stats_free(struct ax_shared_stats *stats, uint32_t slots)
{
    munmap(stats, stats_size(slots));
}
