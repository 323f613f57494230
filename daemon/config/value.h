/* SPDX-License-Identifier: MIT */
/*
 * Values of settings: how each kind is read from text, and written as text that reads as the same value.
 *
 * Knows nothing of which settings there are: options.c does. All zero is a value of each kind.
 */
#ifndef AX_DAEMON_CONFIG_VALUE_H
#define AX_DAEMON_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#define AX_VALUE_NUMBER_MAX 1000000 /* more connections than a process may have descriptors */
#define AX_VALUE_FEW_MAX 64         /* of things that cost memory while they wait */

#define AX_DURATION_NONE 0u /* milliseconds: no limit */

enum ax_isolation {
    AX_ISOLATION_PROCESS, /* a worker for each connection */
    AX_ISOLATION_SHARED,  /* one for all */
};

/* What kind of process this is. All but the first are started by acrossd itself. */
enum ax_process { AX_PROCESS_MAIN, AX_PROCESS_ZYGOTE };

/* With the type of each one's place. */
enum ax_value_kind {
    AX_VALUE_FLAG,      /* bool */
    AX_VALUE_TEXT,      /* char *: owned; not empty, without control characters; NULL: none */
    AX_VALUE_TEXTS,     /* struct ax_string_list of such texts */
    AX_VALUE_ADDRESSES, /* struct ax_string_list, each an address */
    AX_VALUE_DURATION,  /* uint32_t: milliseconds; seconds in text */
    AX_VALUE_LIMIT,     /* the same, where `none` and 0 mean that there is no limit */
    AX_VALUE_SIZE,      /* uint64_t: bytes; K, M, G in text; 0: none was given */
    AX_VALUE_BOUND,     /* the same, where `none` and 0 mean that there is no limit */
    AX_VALUE_MODE,      /* mode_t; octal in text */
    AX_VALUE_NUMBER,    /* uint32_t from 0 to AX_VALUE_NUMBER_MAX */
    AX_VALUE_COUNT,     /* the same from 1 */
    AX_VALUE_FEW,       /* uint32_t from 0 to AX_VALUE_FEW_MAX */
    AX_VALUE_ISOLATION, /* enum ax_isolation */
    AX_VALUE_ROLE,      /* enum ax_process */
};

/*
 * Sets the value from text; a list gains one. 0, or -1 with a sentence in `error` which calls the setting `name` and
 * says what to write instead; the value is then what it was.
 */
int ax_value_set(void *place, enum ax_value_kind kind, const char *name, const char *text, char *error,
                 size_t error_size);

#define AX_VALUE_TEXT_SIZE 32

/*
 * The text of a value that is no list: in `buffer` or in the value itself. NULL when there is none, as for a text or a
 * size that was never set.
 */
const char *ax_value_format(const void *place, enum ax_value_kind kind, char buffer[AX_VALUE_TEXT_SIZE]);

/* Whether its place is a struct ax_string_list. */
bool ax_value_is_list(enum ax_value_kind kind);

/* Replaces a value by another one of its kind, which becomes zero. */
void ax_value_move(void *to, void *from, enum ax_value_kind kind);

/* Frees what the value owns, and makes it zero. */
void ax_value_fini(void *place, enum ax_value_kind kind);

#endif
