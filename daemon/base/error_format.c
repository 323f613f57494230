/* SPDX-License-Identifier: MIT */
#include "daemon/base/error_format.h"

#include <stdarg.h>
#include <stdio.h>

int ax_error_format(char *text, size_t size, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(text, size, format, values);
    va_end(values);
    return -1;
}
