/* SPDX-License-Identifier: MIT */
#include "protocol/error.h"

const char *ax_error_text(int code)
{
    switch (code) {
#define AX_ERROR_CASE(name, value, text)                                                                               \
    case name:                                                                                                         \
        return text;
        AX_ERRORS(AX_ERROR_CASE)
#undef AX_ERROR_CASE
    default:
        return "Unknown error";
    }
}
