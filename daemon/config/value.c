/* SPDX-License-Identifier: MIT */
#include "daemon/config/value.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "daemon/base/error_format.h"
#include "daemon/base/string_list.h"
#include "daemon/base/address.h"

#define DAY_MS 86400000u
#define KIB ((uint64_t)1024)

/* The names of enum ax_isolation and enum ax_process. */
static const char *const isolations[] = {[AX_ISOLATION_PROCESS] = "process", [AX_ISOLATION_SHARED] = "shared"};
static const char *const roles[] = {[AX_PROCESS_ZYGOTE] = "zygote"}; /* the main process has no name */

static const size_t sizes[] = {
    [AX_VALUE_FLAG] = sizeof(bool),
    [AX_VALUE_STRING] = sizeof(char *),
    [AX_VALUE_STRING_LIST] = sizeof(struct ax_string_list),
    [AX_VALUE_ADDRESSES] = sizeof(struct ax_string_list),
    [AX_VALUE_DURATION] = sizeof(uint32_t),
    [AX_VALUE_LIMIT] = sizeof(uint32_t),
    [AX_VALUE_SIZE] = sizeof(uint64_t),
    [AX_VALUE_BOUND] = sizeof(uint64_t),
    [AX_VALUE_MODE] = sizeof(mode_t),
    [AX_VALUE_NUMBER] = sizeof(uint32_t),
    [AX_VALUE_COUNT] = sizeof(uint32_t),
    [AX_VALUE_FEW] = sizeof(uint32_t),
    [AX_VALUE_ISOLATION] = sizeof(enum ax_isolation),
    [AX_VALUE_ROLE] = sizeof(enum ax_process),
};

/* ---- from text ---- */

/* What is being set, for error messages. */
struct subject {
    enum ax_value_kind kind;
    const char *name;
};

/* Decimal digits with an optional fraction, of which three digits are used; no sign, no exponent. */
static int read_seconds(const char *text, uint32_t *milliseconds)
{
    uint64_t value = 0;
    uint64_t unit = 1000;
    bool rest = false;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    for (; isdigit((unsigned char)*text) && value <= DAY_MS; text++)
        value = value * 10 + (uint64_t)(*text - '0') * 1000;
    if (*text == '.')
        for (text++; isdigit((unsigned char)*text); text++) {
            unit /= 10;
            value += (uint64_t)(*text - '0') * unit;
            rest = rest || *text != '0';
        }
    if (*text != '\0' || value > DAY_MS)
        return -1;
    /* a tiny value is rounded up, since 0 would mean "none" */
    *milliseconds = value == 0 && rest ? 1 : (uint32_t)value;
    return 0;
}

static int set_duration(uint32_t *place, struct subject what, const char *text, char *error, size_t size)
{
    bool may_be_none = what.kind == AX_VALUE_LIMIT;
    uint32_t milliseconds;

    if (may_be_none && strcmp(text, "none") == 0)
        milliseconds = AX_DURATION_NONE;
    else if (read_seconds(text, &milliseconds) < 0)
        return ax_error_format(error, size, "%s %s is no time: write seconds up to one day (86400), like 10 or 0.5%s",
                               what.name, text, may_be_none ? ", or none" : "");
    *place = milliseconds;
    return 0;
}

/* 0 if it is not a size. */
static uint64_t read_size(const char *text)
{
    static const char units[] = "KMG";
    const char *end = text;
    const char *unit;
    uint64_t bytes = 0;

    for (; isdigit((unsigned char)*end) && bytes <= INT64_MAX / 10; end++)
        bytes = bytes * 10 + (uint64_t)(*end - '0');
    unit = *end != '\0' ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit != NULL) {
        for (; unit >= units; unit--)
            bytes = bytes > INT64_MAX / KIB ? 0 : bytes * KIB;
        end++;
    }
    return *end == '\0' && bytes <= INT64_MAX ? bytes : 0;
}

static int set_size(uint64_t *place, struct subject what, const char *text, char *error, size_t size)
{
    bool may_be_none = what.kind == AX_VALUE_BOUND;
    bool is_none = may_be_none && (strcmp(text, "none") == 0 || strcmp(text, "0") == 0);
    uint64_t bytes = is_none ? 0 : read_size(text);

    if (bytes == 0 && !is_none)
        return ax_error_format(error, size, "%s %s is no size: write bytes, or a number with K, M or G, like 64M%s",
                               what.name, text, may_be_none ? ", or none" : "");
    *place = bytes;
    return 0;
}

static int set_mode(mode_t *place, struct subject what, const char *text, char *error, size_t size)
{
    if (text[0] == '\0' || strlen(text) > 4 || strspn(text, "01234567") != strlen(text) ||
        strtoul(text, NULL, 8) > 0777)
        return ax_error_format(error, size, "%s %s is no file mode: write three octal digits, like 600 or 660",
                               what.name, text);
    *place = (mode_t)strtoul(text, NULL, 8);
    return 0;
}

static int set_isolation(enum ax_isolation *place, struct subject what, const char *text, char *error, size_t size)
{
    if (strcmp(text, isolations[AX_ISOLATION_PROCESS]) == 0)
        *place = AX_ISOLATION_PROCESS;
    else if (strcmp(text, isolations[AX_ISOLATION_SHARED]) == 0)
        *place = AX_ISOLATION_SHARED;
    else
        return ax_error_format(error, size, "%s %s is not known: write process or shared", what.name, text);
    return 0;
}

static int set_role(enum ax_process *place, struct subject what, const char *text, char *error, size_t size)
{
    if (strcmp(text, roles[AX_PROCESS_ZYGOTE]) != 0)
        return ax_error_format(error, size, "%s is for acrossd's own use: leave it out", what.name);
    *place = AX_PROCESS_ZYGOTE;
    return 0;
}

static int set_number(uint32_t *place, struct subject what, const char *text, char *error, size_t size)
{
    unsigned long least = what.kind == AX_VALUE_COUNT;
    unsigned long most = what.kind == AX_VALUE_FEW ? AX_VALUE_FEW_MAX : AX_VALUE_NUMBER_MAX;
    unsigned long number = strtoul(text, NULL, 10); /* strtoul() returns the maximum on overflow */

    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || number < least || number > most)
        return ax_error_format(error, size, "%s %s is not valid: write a number from %lu to %lu", what.name, text,
                               least, most);
    *place = (uint32_t)number;
    return 0;
}

static int set_flag(bool *place, struct subject what, const char *text, char *error, size_t size)
{
    bool yes = strcmp(text, "yes") == 0;

    if (!yes && strcmp(text, "no") != 0)
        return ax_error_format(error, size, "%s takes no value but yes or no", what.name);
    *place = yes;
    return 0;
}

/* Control characters in names are mistakes, and could not be written in a file. */
static int check_text(struct subject what, const char *text, char *error, size_t size)
{
    if (text[0] == '\0')
        return ax_error_format(error, size, "%s is empty: give it a value, or leave it out", what.name);
    for (const char *c = text; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            return ax_error_format(error, size, "%s has a control character in its value: leave that out", what.name);
    return 0;
}

static int set_text(char **place, struct subject what, const char *text, char *error, size_t size)
{
    char *copy;

    if (check_text(what, text, error, size) < 0)
        return -1;
    copy = strdup(text);
    if (copy == NULL)
        return ax_error_format(error, size, "out of memory");
    free(*place);
    *place = copy;
    return 0;
}

static int add_text(struct ax_string_list *place, struct subject what, const char *text, char *error, size_t size)
{
    struct ax_address ignored;

    if (check_text(what, text, error, size) < 0)
        return -1;
    if (what.kind == AX_VALUE_ADDRESSES && ax_address_parse(&ignored, text, error, size) < 0)
        return -1;
    return ax_string_list_add(place, text) < 0 ? ax_error_format(error, size, "out of memory") : 0;
}

int ax_value_set(void *place, enum ax_value_kind kind, const char *name, const char *text, char *error,
                 size_t error_size)
{
    struct subject what = {kind, name};

    switch (kind) {
    case AX_VALUE_FLAG:
        return set_flag(place, what, text, error, error_size);
    case AX_VALUE_STRING:
        return set_text(place, what, text, error, error_size);
    case AX_VALUE_STRING_LIST:
    case AX_VALUE_ADDRESSES:
        return add_text(place, what, text, error, error_size);
    case AX_VALUE_DURATION:
    case AX_VALUE_LIMIT:
        return set_duration(place, what, text, error, error_size);
    case AX_VALUE_SIZE:
    case AX_VALUE_BOUND:
        return set_size(place, what, text, error, error_size);
    case AX_VALUE_MODE:
        return set_mode(place, what, text, error, error_size);
    case AX_VALUE_NUMBER:
    case AX_VALUE_COUNT:
    case AX_VALUE_FEW:
        return set_number(place, what, text, error, error_size);
    case AX_VALUE_ISOLATION:
        return set_isolation(place, what, text, error, error_size);
    case AX_VALUE_ROLE:
        return set_role(place, what, text, error, error_size);
    }
    return -1;
}

/* ---- as text ---- */

static const char *format_size(uint64_t bytes, enum ax_value_kind kind, char buffer[AX_VALUE_TEXT_SIZE])
{
    if (bytes == 0)
        return kind == AX_VALUE_BOUND ? "none" : NULL;
    snprintf(buffer, AX_VALUE_TEXT_SIZE, "%llu", (unsigned long long)bytes);
    return buffer;
}

static const char *format_duration(uint32_t milliseconds, enum ax_value_kind kind, char buffer[AX_VALUE_TEXT_SIZE])
{
    if (kind == AX_VALUE_LIMIT && milliseconds == AX_DURATION_NONE)
        return "none";
    if (milliseconds % 1000 == 0)
        snprintf(buffer, AX_VALUE_TEXT_SIZE, "%u", milliseconds / 1000);
    else
        snprintf(buffer, AX_VALUE_TEXT_SIZE, "%u.%03u", milliseconds / 1000, milliseconds % 1000);
    return buffer;
}

const char *ax_value_format(const void *place, enum ax_value_kind kind, char buffer[AX_VALUE_TEXT_SIZE])
{
    switch (kind) {
    case AX_VALUE_FLAG:
        return *(const bool *)place ? "yes" : "no";
    case AX_VALUE_STRING:
        return *(char *const *)place;
    case AX_VALUE_DURATION:
    case AX_VALUE_LIMIT:
        return format_duration(*(const uint32_t *)place, kind, buffer);
    case AX_VALUE_SIZE:
    case AX_VALUE_BOUND:
        return format_size(*(const uint64_t *)place, kind, buffer);
    case AX_VALUE_MODE:
        snprintf(buffer, AX_VALUE_TEXT_SIZE, "%03o", (unsigned)*(const mode_t *)place);
        return buffer;
    case AX_VALUE_NUMBER:
    case AX_VALUE_COUNT:
    case AX_VALUE_FEW:
        snprintf(buffer, AX_VALUE_TEXT_SIZE, "%u", *(const uint32_t *)place);
        return buffer;
    case AX_VALUE_ISOLATION:
        return isolations[*(const enum ax_isolation *)place];
    case AX_VALUE_ROLE:
        return roles[*(const enum ax_process *)place];
    case AX_VALUE_STRING_LIST:
    case AX_VALUE_ADDRESSES:
        break;
    }
    return NULL;
}

/* ---- life ---- */

bool ax_value_is_list(enum ax_value_kind kind)
{
    return kind == AX_VALUE_STRING_LIST || kind == AX_VALUE_ADDRESSES;
}

void ax_value_move(void *to, void *from, enum ax_value_kind kind)
{
    ax_value_fini(to, kind);
    memcpy(to, from, sizes[kind]);
    memset(from, 0, sizes[kind]);
}

void ax_value_fini(void *place, enum ax_value_kind kind)
{
    if (ax_value_is_list(kind))
        ax_string_list_fini(place);
    else if (kind == AX_VALUE_STRING)
        free(*(char **)place);
    memset(place, 0, sizes[kind]);
}
