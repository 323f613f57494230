/* SPDX-License-Identifier: MIT */
/* Included by every test of daemon/: cmocka, and the headers that it requires before its own. */
#ifndef AX_TESTS_DAEMON_TESTING_H
#define AX_TESTS_DAEMON_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* cmocka 2 deprecates the first, and uses the name of the second for a macro; cmocka 1 has no replacement. */
#undef assert_in_range
#undef stop

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER true
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER true
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER false
#endif

/* Whether a sanitizer is active: then much memory is not ours, and its terabytes of address space cannot be limited. */
static inline bool has_sanitizer(void)
{
    return HAS_SANITIZER;
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A new, empty folder; the caller frees the name. */
static inline char *make_folder(void)
{
    char *name = strdup("/tmp/acrossd-test-XXXXXX");

    assert_non_null(name);
    assert_non_null(mkdtemp(name));
    return name;
}

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (strstr((text), (part)) == NULL)                                                                            \
            fail_msg("\"%s\" is not in \"%s\"", (part), (text));                                                       \
    } while (0)

#endif
