/* SPDX-License-Identifier: MIT */
/*
 * Whose code calls: only what acrossd, its libraries and libuv call is counted and made to fail. What CPython and the
 * C library do for themselves is their business.
 */
#ifndef AX_TESTS_TORTURE_PLACE_H
#define AX_TESTS_TORTURE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"

enum module {
    MODULE_NONE,
    MODULE_DAEMON,    /* the executable acrossd */
    MODULE_EXTENSION, /* across/_across.*.so */
    MODULE_OPENSSL,   /* acrossd-openssl.so, our part of it */
    MODULE_LIBUV,     /* as a shared library */
};

/* Looks where they are: at the start, and after each dlopen(). */
void place_find_modules(void);

/* The last part of a path. */
const char *place_base_name(const char *path);

enum module place_module(const void *address);

/* Who called, innermost first, as far as they are ours. */
void place_frames(uint64_t frames[LEDGER_FRAMES]);

#endif
