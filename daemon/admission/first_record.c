/* SPDX-License-Identifier: MIT */
#include "daemon/admission/first_record.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TYPE_HANDSHAKE 22
#define VERSION_MAJOR 3

/* The length in a complete header. */
static size_t get_length(const unsigned char *bytes)
{
    return (size_t)bytes[3] << 8 | bytes[4];
}

/* Whether a record with a ClientHello may begin with these bytes. */
static bool is_plausible(const unsigned char *bytes, size_t size)
{
    if (size >= 1 && bytes[0] != TYPE_HANDSHAKE)
        return false;
    if (size >= 2 && bytes[1] != VERSION_MAJOR)
        return false;
    return size < AX_FIRST_RECORD_HEADER || (get_length(bytes) > 0 && get_length(bytes) <= AX_TLS_RECORD_MAX);
}

/* The size of the whole record that begins with these bytes, as far as is known. */
static size_t get_whole(const unsigned char *bytes, size_t size)
{
    return AX_FIRST_RECORD_HEADER + (size >= AX_FIRST_RECORD_HEADER ? get_length(bytes) : 0);
}

static int append(struct ax_first_record *record, const unsigned char *bytes, size_t size)
{
    unsigned char *larger = realloc(record->bytes, record->size + size);

    if (larger == NULL)
        return -1;
    memcpy(larger + record->size, bytes, size);
    record->bytes = larger;
    record->size += size;
    return 0;
}

static enum ax_first_record_result find_result(const struct ax_first_record *record, ssize_t received)
{
    if (received < 0)
        return errno == EAGAIN || errno == EINTR ? AX_FIRST_RECORD_WANTS_READ : AX_FIRST_RECORD_FAILED;
    return record->size > 0 ? AX_FIRST_RECORD_READY : AX_FIRST_RECORD_NOTHING;
}

/* What one call reads is on the stack: no memory is reserved before the bytes arrive. */
static enum ax_first_record_result read_more(struct ax_first_record *record, int fd)
{
    unsigned char piece[AX_FIRST_RECORD_MAX];
    size_t wanted = get_whole(record->bytes, record->size) - record->size;
    ssize_t received = recv(fd, piece, wanted, 0);

    if (received <= 0)
        return find_result(record, received);
    if (append(record, piece, (size_t)received) < 0)
        return AX_FIRST_RECORD_FAILED; /* errno: ENOMEM */
    if (!is_plausible(record->bytes, record->size))
        return AX_FIRST_RECORD_READY;
    if ((size_t)received < wanted)
        return AX_FIRST_RECORD_WANTS_READ; /* without asking once more: most peers that send a part send no more */
    return record->size == get_whole(record->bytes, record->size) ? AX_FIRST_RECORD_READY : read_more(record, fd);
}

/* The first bytes: all that are there, in two calls. */
static enum ax_first_record_result read_first(struct ax_first_record *record, int fd)
{
    unsigned char piece[AX_FIRST_RECORD_MAX];
    ssize_t there = recv(fd, piece, sizeof piece, MSG_PEEK);
    ssize_t received;
    size_t whole;

    if (there <= 0)
        return find_result(record, there);
    if (!is_plausible(piece, (size_t)there))
        return AX_FIRST_RECORD_READY;
    whole = get_whole(piece, (size_t)there);
    received = recv(fd, piece, (size_t)there < whole ? (size_t)there : whole, 0);
    if (received <= 0)
        return find_result(record, received);
    if (append(record, piece, (size_t)received) < 0)
        return AX_FIRST_RECORD_FAILED;
    return (size_t)there < whole ? AX_FIRST_RECORD_WANTS_READ : AX_FIRST_RECORD_READY;
}

enum ax_first_record_result ax_first_record_read(struct ax_first_record *record, int fd)
{
    return record->size == 0 ? read_first(record, fd) : read_more(record, fd);
}

void ax_first_record_fini(struct ax_first_record *record)
{
    free(record->bytes);
    *record = (struct ax_first_record){0};
}
