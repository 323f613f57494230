/* SPDX-License-Identifier: MIT */
/*
 * An allocator that can fail on purpose and counts what is not freed.
 *
 * The linker puts it in the place of malloc() and its kin (--wrap) in every test program of protocol/, and of the fuzz
 * targets that drive sessions. What test helpers need for themselves they take with plain_realloc() and plain_free(),
 * which neither fail nor count.
 */
#ifndef AX_TESTS_PROTOCOL_ALLOC_H
#define AX_TESTS_PROTOCOL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the n-th allocation fails, and only that one; 0: none does. */
void alloc_fail_at(unsigned n);

/* From now on all allocations fail from the n-th on; 0: none does. */
void alloc_fail_from(unsigned n);

/* Whether an allocation has failed since the last of the two above. */
bool alloc_has_failed(void);

/* Blocks that have been allocated and not freed. */
size_t alloc_blocks(void);

/* Bytes that they hold, as the C library counts them. */
size_t alloc_bytes(void);

/* The largest size that was asked for since the last alloc_reset_largest(). */
size_t alloc_largest(void);
void alloc_reset_largest(void);

void *plain_realloc(void *memory, size_t size);
void plain_free(void *memory);

#endif
