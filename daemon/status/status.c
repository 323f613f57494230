/* SPDX-License-Identifier: MIT */
#include "daemon/status/status.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "protocol/head.h"

/* ---- the request ---- */

#define MAGIC_SIZE 4
#define FORMAT_AT 4
#define VERSION_AT 5

void ax_status_request_encode(unsigned char out[AX_SUPERBLOCK_SIZE], enum ax_status_format format)
{
    memset(out, 0, AX_SUPERBLOCK_SIZE);
    ax_put_u32(out, AX_STATUS_MAGIC);
    out[FORMAT_AT] = (unsigned char)format;
    out[VERSION_AT] = AX_STATUS_REQUEST_VERSION;
}

bool ax_status_is_request(const unsigned char *received, size_t size)
{
    return size >= MAGIC_SIZE && ax_get_u32(received) == AX_STATUS_MAGIC;
}

int ax_status_request_decode(enum ax_status_format *format, const unsigned char in[AX_SUPERBLOCK_SIZE], char *reason,
                             size_t reason_size)
{
    if (!ax_status_is_request(in, AX_SUPERBLOCK_SIZE))
        return ax_error_format(reason, reason_size, "Invalid magic: 0x%x", ax_get_u32(in));
    if (in[VERSION_AT] != AX_STATUS_REQUEST_VERSION)
        return ax_error_format(reason, reason_size, "Unknown version of a request for the status: %u", in[VERSION_AT]);
    if (in[FORMAT_AT] != AX_STATUS_TEXT && in[FORMAT_AT] != AX_STATUS_JSON)
        return ax_error_format(reason, reason_size, "Unknown format of the status: %u", in[FORMAT_AT]);
    *format = (enum ax_status_format)in[FORMAT_AT];
    return 0;
}

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

/* Reads the beginning of a file of a process, as text. -1 when that may not be read. */
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
