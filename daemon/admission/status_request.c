/* SPDX-License-Identifier: MIT */
#include "daemon/admission/status_request.h"

#include <string.h>

#include "daemon/base/error_format.h"
#include "protocol/head.h"

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

bool ax_status_request_is_begun(const unsigned char *received, size_t size)
{
    return size >= MAGIC_SIZE && ax_get_u32(received) == AX_STATUS_MAGIC;
}

int ax_status_request_decode(enum ax_status_format *format, const unsigned char in[AX_SUPERBLOCK_SIZE], char *reason,
                             size_t reason_size)
{
    if (!ax_status_request_is_begun(in, AX_SUPERBLOCK_SIZE))
        return ax_error_format(reason, reason_size, "Invalid magic: 0x%x", ax_get_u32(in));
    if (in[VERSION_AT] != AX_STATUS_REQUEST_VERSION)
        return ax_error_format(reason, reason_size, "Unknown version of a request for the status: %u", in[VERSION_AT]);
    if (in[FORMAT_AT] != AX_STATUS_TEXT && in[FORMAT_AT] != AX_STATUS_JSON)
        return ax_error_format(reason, reason_size, "Unknown format of the status: %u", in[FORMAT_AT]);
    *format = (enum ax_status_format)in[FORMAT_AT];
    return 0;
}
