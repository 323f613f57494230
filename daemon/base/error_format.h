/* SPDX-License-Identifier: MIT */
/* Sentences for people: what a function that fails tells its caller, who decides where it is printed. */
#ifndef AX_DAEMON_BASE_ERROR_FORMAT_H
#define AX_DAEMON_BASE_ERROR_FORMAT_H

#include <stddef.h>

#define AX_ERROR_TEXT_SIZE 512 /* bytes, with the final NUL; longer ones are cut */

/* Writes the sentence, and returns -1: so a function can say `return ax_error_format(...)`. */
__attribute__((format(printf, 3, 4))) int ax_error_format(char *text, size_t size, const char *format, ...);

#endif
