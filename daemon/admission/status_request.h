/* SPDX-License-Identifier: MIT */
/*
 * The request for the status of a running acrossd: 16 bytes that a client sends instead of a superblock.
 *
 *   0-3   magic, big-endian
 *   4     format
 *   5     version of this request
 *   6-15  zeros, which are ignored
 *
 * Used by the handshake of the supervisor and by `acrossd status`; status/status.h has the answer. Pure functions: any
 * thread may call them.
 */
#ifndef AX_DAEMON_ADMISSION_STATUS_REQUEST_H
#define AX_DAEMON_ADMISSION_STATUS_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/superblock.h"

#define AX_STATUS_MAGIC 0x5bb58a44u /* the CRC-32 of "acrossdstatus" */
#define AX_STATUS_REQUEST_VERSION 1u

enum ax_status_format { AX_STATUS_TEXT, AX_STATUS_JSON };

void ax_status_request_encode(unsigned char out[AX_SUPERBLOCK_SIZE], enum ax_status_format format);

/* Whether these bytes begin a request for the status: `size` of 16, of which at least four are needed. */
bool ax_status_request_is_begun(const unsigned char *received, size_t size);

/*
 * 0, or -1 with the reason when it is no request, one of another version, or for another format. Such a request gets no
 * answer: the connection is closed, as by an acrossd that does not know the request at all.
 */
int ax_status_request_decode(enum ax_status_format *format, const unsigned char in[AX_SUPERBLOCK_SIZE], char *reason,
                             size_t reason_size);

#endif
