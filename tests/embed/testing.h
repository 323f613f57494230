/* SPDX-License-Identifier: MIT */
/* What every test of embed/ includes: cmocka, and waiting for a thing to happen. */
#ifndef AX_TESTS_EMBED_TESTING_H
#define AX_TESTS_EMBED_TESTING_H

#include <semaphore.h>
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

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Waits for `count` posts. A test whose event does not come is ended by its ctest time limit. */
static inline void wait_for(sem_t *event, int count)
{
    while (count > 0)
        if (sem_wait(event) == 0)
            count--;
}

#endif
