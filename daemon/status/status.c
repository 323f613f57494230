/* SPDX-License-Identifier: MIT */
#include "daemon/status/status.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the answer ---- */

int ax_status_format(struct ax_writer *writer, const struct ax_status *status, enum ax_status_format format)
{
    ax_writer_init(writer, AX_STATUS_SIZE_MAX);
    if (format == AX_STATUS_JSON)
        ax_status_write_json(writer, status);
    else
        ax_status_write_text(writer, status);
    if (!writer->has_failed)
        return 0;
    ax_writer_fini(writer);
    return -1;
}

/* ---- memory ---- */

/* Reads the beginning of a process's file in /proc as text. -1 if it may not be read. */
static int read_about(pid_t pid, const char *file, char *text, size_t size)
{
    char path[64];
    ssize_t got;
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    got = read(fd, text, size - 1);
    close(fd);
    if (got <= 0)
        return -1;
    text[got] = '\0';
    return 0;
}

uint64_t ax_status_memory(pid_t pid)
{
    char text[2048];
    const char *line;

    if (read_about(pid, "smaps_rollup", text, sizeof text) == 0 && (line = strstr(text, "\nPss:")) != NULL)
        return (uint64_t)strtoull(line + strlen("\nPss:"), NULL, 10) * 1024;
    if (read_about(pid, "statm", text, sizeof text) == 0 && (line = strchr(text, ' ')) != NULL)
        return (uint64_t)strtoull(line, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}
