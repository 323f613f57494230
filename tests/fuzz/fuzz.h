/* SPDX-License-Identifier: MIT */
/*
 * What a fuzz target defines and uses. Its main() is libFuzzer's, or that of replay.c.
 */
#ifndef AX_TESTS_FUZZ_FUZZ_H
#define AX_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs one input. Returns 0; any error aborts the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(), active in every build. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* An input that is consumed from its beginning. All zero is the empty one. */
struct input {
    const uint8_t *data;
    size_t size;
};

static inline unsigned take_byte(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

/* The next `size` bytes, or what is left. */
static inline struct input take_bytes(struct input *input, size_t size)
{
    struct input taken = {input->data, size < input->size ? size : input->size};

    input->data += taken.size;
    input->size -= taken.size;
    return taken;
}

#endif
