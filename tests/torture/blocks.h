/* SPDX-License-Identifier: MIT */
/* Which blocks of memory our code has allocated in this process and nobody has freed, and where. Thread-safe. */
#ifndef AX_TESTS_TORTURE_BLOCKS_H
#define AX_TESTS_TORTURE_BLOCKS_H

#include "ledger.h"

void blocks_add(const void *memory, struct site *site);
void blocks_remove(const void *memory); /* nothing for those that others have allocated */

/* Tells each site how many there are, if no other process had more. For the end of a process. */
void blocks_tell(void);

#endif
