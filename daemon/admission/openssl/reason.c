/* SPDX-License-Identifier: MIT */
#include "daemon/admission/openssl/reason.h"

#include <openssl/err.h>

const char *ax_openssl_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);

    if (ERR_GET_LIB(code) == ERR_LIB_SYS || text == NULL)
        return "an error without a name";
    return text;
}
