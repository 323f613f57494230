/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <execinfo.h>
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 24 /* frames of anybody's that are looked at */

/* Where a module's code is, and what its addresses count from. */
struct range {
    uintptr_t from;
    uintptr_t to;
    uintptr_t base;
};

static struct range ranges[MODULE_LIBUV + 1];

const char *place_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The executable has no name here. */
static enum module identify(const char *path)
{
    char executable[4096];
    ssize_t size;

    if (path[0] == '\0') {
        size = readlink("/proc/self/exe", executable, sizeof executable - 1);
        executable[size > 0 ? size : 0] = '\0';
        return strcmp(place_base_name(executable), "acrossd") == 0 ? MODULE_DAEMON : MODULE_NONE;
    }
    if (starts_with(place_base_name(path), "_across."))
        return MODULE_EXTENSION;
    if (strcmp(place_base_name(path), "acrossd-openssl.so") == 0)
        return MODULE_OPENSSL;
    return starts_with(place_base_name(path), "libuv.so") ? MODULE_LIBUV : MODULE_NONE;
}

static int take_module(struct dl_phdr_info *info, size_t size, void *is_first)
{
    enum module module;

    (void)size;
    /* Only the first one is the executable; the kernel's own has no name, either. */
    if (info->dlpi_name[0] == '\0' && !*(bool *)is_first)
        return 0;
    *(bool *)is_first = false;
    module = identify(info->dlpi_name);
    for (int i = 0; i < info->dlpi_phnum && module != MODULE_NONE; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + part->p_vaddr;

        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0)
            ranges[module] = (struct range){from, from + part->p_memsz, info->dlpi_addr};
    }
    return 0;
}

void place_find_modules(void)
{
    bool is_first = true;
    void *frames[1];

    dl_iterate_phdr(take_module, &is_first);
    backtrace(frames, 1); /* loads what it needs now, and not amid a call */
}

enum module place_module(const void *address)
{
    uintptr_t at = (uintptr_t)address;

    for (int module = MODULE_DAEMON; module <= MODULE_LIBUV; module++)
        if (at >= ranges[module].from && at < ranges[module].to)
            return (enum module)module;
    return MODULE_NONE;
}

void place_frames(uint64_t frames[LEDGER_FRAMES])
{
    void *addresses[DEPTH];
    int depth = backtrace(addresses, DEPTH);
    size_t count = 0;

    memset(frames, 0, LEDGER_FRAMES * sizeof frames[0]);
    for (int i = 0; i < depth && count < LEDGER_FRAMES; i++) {
        enum module module = place_module(addresses[i]);

        /* What is told is the address behind a call. */
        if (module != MODULE_NONE)
            frames[count++] = (uint64_t)module << 48 | ((uintptr_t)addresses[i] - 1 - ranges[module].base);
    }
}
