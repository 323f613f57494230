/* SPDX-License-Identifier: MIT */
/* Formats error messages: what a function that fails returns to its caller, who decides where to print them. */
#ifndef AX_DAEMON_BASE_ERROR_FORMAT_H
#define AX_DAEMON_BASE_ERROR_FORMAT_H

#include <stddef.h>

#define AX_ERROR_TEXT_SIZE 512 /* bytes, with the final NUL; longer ones are cut */

/* Writes the message, and returns -1, so that a function can `return ax_error_format(...)`. */
__attribute__((format(printf, 3, 4))) int ax_error_format(char *text, size_t size, const char *format, ...);

#endif
