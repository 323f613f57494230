/* SPDX-License-Identifier: MIT */
#include "ledger.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct ledger *ledger_open(void)
{
    const char *path = getenv(LEDGER_VARIABLE);
    struct ledger *ledger;
    int fd;

    if (path == NULL)
        return NULL;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (ledger == MAP_FAILED || ledger->magic != LEDGER_MAGIC)
        abort(); /* nothing that this run says would mean anything */
    return ledger;
}

/* FNV-1a, by eight bytes. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}

static uint64_t make_key(enum role role, uint32_t function, const uint64_t frames[LEDGER_FRAMES])
{
    uint64_t hash = mix(0xcbf29ce484222325u, (uint64_t)role << 32 | function);

    for (size_t i = 0; i < LEDGER_FRAMES; i++)
        hash = mix(hash, frames[i]);
    return hash | 1; /* 0 is for free places */
}

struct site *ledger_site(struct ledger *ledger, enum role role, uint32_t function, const uint64_t frames[LEDGER_FRAMES])
{
    uint64_t key = make_key(role, function, frames);

    for (size_t i = 0; i < LEDGER_SITES; i++) {
        struct site *site = &ledger->sites[(key + i) % LEDGER_SITES];
        uint64_t found = 0;

        if (atomic_compare_exchange_strong(&site->key, &found, key)) {
            site->role = role;
            site->function = function;
            for (size_t j = 0; j < LEDGER_FRAMES; j++)
                site->frames[j] = frames[j];
            return site;
        }
        if (found == key)
            return site;
    }
    atomic_fetch_add(&ledger->lost, 1);
    return NULL;
}

int ledger_count(struct ledger *ledger, struct site *site, uint32_t errors)
{
    uint32_t call = atomic_fetch_add(&site->calls, 1) + 1;

    site->errors |= errors;
    if (ledger->target_call != call || ledger->target_key != atomic_load(&site->key) ||
        (errors & 1u << ledger->target_error) == 0)
        return -1;
    atomic_store(&ledger->fired, (uint32_t)getpid());
    return (int)ledger->target_error;
}
