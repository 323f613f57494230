/* SPDX-License-Identifier: MIT */
/*
 * Values of settings: parses each kind from text, and formats it as text that parses to the same value.
 *
 * Independent of which settings exist, which options.c defines. All zero is a valid value of each kind.
 */
#ifndef AX_DAEMON_CONFIG_VALUE_H
#define AX_DAEMON_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#define AX_VALUE_NUMBER_MAX 1000000 /* more connections than a process can have descriptors */
#define AX_VALUE_FEW_MAX 64         /* for items that cost memory while idle */

#define AX_DURATION_NONE 0u /* milliseconds: no limit */

enum ax_isolation {
    AX_ISOLATION_PROCESS, /* a worker for each connection */
    AX_ISOLATION_SHARED,  /* one for all connections */
};

/* The kind of this process. All but the first are started by acrossd itself. */
enum ax_process { AX_PROCESS_MAIN, AX_PROCESS_ZYGOTE };

/* With the C type of each. */
enum ax_value_kind {
    AX_VALUE_FLAG,        /* bool */
    AX_VALUE_STRING,      /* char *: owned; not empty, without control characters; NULL: none */
    AX_VALUE_STRING_LIST, /* struct ax_string_list of such strings */
    AX_VALUE_ADDRESSES,   /* struct ax_string_list, each an address */
    AX_VALUE_DURATION,    /* uint32_t: milliseconds; seconds in text */
    AX_VALUE_LIMIT,       /* the same, with `none` and 0 for no limit */
    AX_VALUE_SIZE,        /* uint64_t: bytes; K, M, G in text; 0: not set */
    AX_VALUE_BOUND,       /* the same, with `none` and 0 for no limit */
    AX_VALUE_MODE,        /* mode_t; octal in text */
    AX_VALUE_NUMBER,      /* uint32_t from 0 to AX_VALUE_NUMBER_MAX */
    AX_VALUE_COUNT,       /* the same from 1 */
    AX_VALUE_FEW,         /* uint32_t from 0 to AX_VALUE_FEW_MAX */
    AX_VALUE_ISOLATION,   /* enum ax_isolation */
    AX_VALUE_ROLE,        /* enum ax_process */
};

/*
 * Sets the value from text; a list gains an item. 0, or -1 with a message in `error` which calls the setting `name` and
 * says what to write instead; the value is unchanged then.
 */
int ax_value_set(void *place, enum ax_value_kind kind, const char *name, const char *text, char *error,
                 size_t error_size);

#define AX_VALUE_TEXT_SIZE 32

/*
 * The text of a value that is not a list: in `buffer` or in the value itself. NULL if there is none, as for a text or a
 * size that was never set.
 */
const char *ax_value_format(const void *place, enum ax_value_kind kind, char buffer[AX_VALUE_TEXT_SIZE]);

/* Whether the value is a struct ax_string_list. */
bool ax_value_is_list(enum ax_value_kind kind);

/* Moves a value to another place of the same kind, freeing the one there; the source becomes zero. */
void ax_value_move(void *to, void *from, enum ax_value_kind kind);

/* Frees what the value owns, and sets it to zero. */
void ax_value_fini(void *place, enum ax_value_kind kind);

#endif
