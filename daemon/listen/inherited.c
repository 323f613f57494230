/* SPDX-License-Identifier: MIT */
#include "daemon/listen/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/error_format.h"

/* Returns -1 if it is not a number. */
static long parse_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits < 10 && text[digits] == '\0' ? strtol(text, NULL, 10) : -1;
}

/* Variables that were meant for a parent process have its pid in LISTEN_PID. */
static bool is_ours(const char *pid, const char *fds)
{
    return pid != NULL && fds != NULL && parse_number(pid) == (long)getpid();
}

static int take_fds(struct ax_inherited *inherited, const char *fds, char *error, size_t size)
{
    long count = parse_number(fds);

    if (count < 0)
        return ax_error_format(error, size, "LISTEN_FDS=%s is no number of descriptors", fds);
    if (count > AX_INHERITED_MAX)
        return ax_error_format(error, size, "LISTEN_FDS=%s is too many: acrossd takes over at most %d sockets", fds,
                               AX_INHERITED_MAX);
    for (long i = 0; i < count; i++) {
        int fd = AX_INHERITED_FIRST_FD + (int)i;

        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return ax_error_format(error, size, "LISTEN_FDS=%s names descriptor %d, which cannot be used: %s", fds, fd,
                                   strerror(errno));
        inherited->items[i].fd = fd;
        inherited->items[i].name = "unknown";
    }
    inherited->count = (size_t)count;
    return 0;
}

static int take_names(struct ax_inherited *inherited, const char *names, char *error, size_t size)
{
    size_t count = 0;
    char *rest;

    if (names == NULL || inherited->count == 0)
        return 0;
    inherited->names = rest = strdup(names);
    if (rest == NULL)
        return ax_error_format(error, size, "out of memory");
    for (char *name; (name = strsep(&rest, ":")) != NULL; count++)
        if (count < inherited->count)
            inherited->items[count].name = name;
    if (count != inherited->count)
        return ax_error_format(error, size, "LISTEN_FDNAMES=%s has %zu names for %zu descriptors", names, count,
                               inherited->count);
    return 0;
}

int ax_inherited_take(struct ax_inherited *inherited, char *error, size_t error_size)
{
    const char *fds = getenv("LISTEN_FDS");
    int result = 0;

    memset(inherited, 0, sizeof *inherited);
    if (is_ours(getenv("LISTEN_PID"), fds)) {
        result = take_fds(inherited, fds, error, error_size);
        if (result == 0)
            result = take_names(inherited, getenv("LISTEN_FDNAMES"), error, error_size);
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (result < 0)
        ax_inherited_fini(inherited);
    return result;
}

void ax_inherited_fini(struct ax_inherited *inherited)
{
    free(inherited->names);
    memset(inherited, 0, sizeof *inherited);
}
