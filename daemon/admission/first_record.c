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

/* How many bytes are missing, as far as is known. */
static size_t count_missing(const struct ax_first_record *record)
{
    size_t whole = AX_FIRST_RECORD_HEADER;

    if (record->size >= AX_FIRST_RECORD_HEADER)
        whole += get_length(record->bytes);
    return whole - record->size;
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

enum ax_first_record_result ax_first_record_read(struct ax_first_record *record, int fd)
{
    unsigned char piece[AX_TLS_RECORD_MAX]; /* what one call reads: no memory is reserved before the bytes arrive */
    ssize_t received;

    if (record->size == 0) {
        received = recv(fd, piece, AX_FIRST_RECORD_HEADER, MSG_PEEK);
        if (received <= 0)
            return find_result(record, received);
        if (!is_plausible(piece, (size_t)received))
            return AX_FIRST_RECORD_READY;
    }
    while (is_plausible(record->bytes, record->size) && count_missing(record) > 0) {
        received = recv(fd, piece, count_missing(record), 0);
        if (received <= 0)
            return find_result(record, received);
        if (append(record, piece, (size_t)received) < 0)
            return AX_FIRST_RECORD_FAILED; /* errno: ENOMEM */
    }
    return AX_FIRST_RECORD_READY;
}

void ax_first_record_fini(struct ax_first_record *record)
{
    free(record->bytes);
    *record = (struct ax_first_record){0};
}
