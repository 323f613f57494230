/* SPDX-License-Identifier: MIT */
/*
 * What every test of protocol/ includes: cmocka, and the headers that it wants before its own.
 */
#ifndef AX_TESTS_PROTOCOL_TESTING_H
#define AX_TESTS_PROTOCOL_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Version 2 deprecates the first, and uses the name of the second for a macro; version 1 has no replacement. */
#undef assert_in_range
#undef stop

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
