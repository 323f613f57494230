/* SPDX-License-Identifier: MIT */
#include "daemon/admission/origin.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "daemon/base/address.h"

#define FIRST_BUCKETS 64u
#define NETWORK_BYTES 8 /* the /64 prefix of an IPv6 address */

/* ---- keys ---- */

static void set_address(struct ax_origin_key *key, uint32_t family, const void *address, size_t size)
{
    key->family = family;
    memcpy(key->address, address, size);
}

static void set_user(struct ax_origin_key *key, struct ax_origin_key *process, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return;
    set_address(key, AF_UNIX, &peer.uid, sizeof peer.uid);
    if (process == NULL || peer.pid <= 0) /* in another PID namespace */
        return;
    *process = *key;
    process->family = AX_ORIGIN_PROCESS;
    memcpy(process->address + sizeof peer.uid, &peer.pid, sizeof peer.pid);
}

/* IPv4-mapped IPv6 addresses count as IPv4. */
static void set_ipv6(struct ax_origin_key *key, const struct in6_addr *address)
{
    if (IN6_IS_ADDR_V4MAPPED(address))
        set_address(key, AF_INET, address->s6_addr + 12, 4);
    else
        set_address(key, AF_INET6, address->s6_addr, NETWORK_BYTES);
}

void ax_origin_find_key(struct ax_origin_key *key, struct ax_origin_key *process, int fd, uint32_t lane)
{
    struct ax_sockaddr peer = {.size = sizeof peer.of};

    memset(key, 0, sizeof *key);
    key->lane = lane;
    if (process != NULL)
        process->family = 0;
    if (getpeername(fd, &peer.of.any, &peer.size) == 0) {
        if (peer.of.any.sa_family == AF_UNIX)
            set_user(key, process, fd);
        else if (peer.of.any.sa_family == AF_INET)
            set_address(key, AF_INET, &peer.of.in.sin_addr, sizeof peer.of.in.sin_addr);
        else if (peer.of.any.sa_family == AF_INET6)
            set_ipv6(key, &peer.of.in6.sin6_addr);
    }
    if (process != NULL && process->family != AX_ORIGIN_PROCESS)
        *process = *key;
}

/* ---- the table ---- */

/* Peers choose parts of the key, so the hash is seeded: they must not be able to force collisions. */
static size_t hash(const struct ax_origin_key *key)
{
    static uint64_t seed;
    const unsigned char *bytes = (const unsigned char *)key;
    uint64_t value;

    while (seed == 0)
        if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) < 0)
            seed = (uint64_t)(uintptr_t)&seed | 1;
    value = seed;
    for (size_t i = 0; i < sizeof *key; i++) {
        value = (value ^ bytes[i]) * 0x9e3779b97f4a7c15u;
        value ^= value >> 29;
    }
    return (size_t)(value ^ value >> 32);
}

static struct ax_origin **bucket_of(const struct ax_origins *sources, const struct ax_origin_key *key)
{
    return &sources->buckets[hash(key) & (sources->bucket_count - 1)];
}

/* If there is no memory for more buckets, the chains get longer. */
static void grow(struct ax_origins *sources)
{
    struct ax_origins grown = {.bucket_count = sources->bucket_count > 0 ? sources->bucket_count * 2 : FIRST_BUCKETS};

    grown.buckets = calloc(grown.bucket_count, sizeof(struct ax_origin *));
    if (grown.buckets == NULL)
        return;
    for (size_t i = 0; i < sources->bucket_count; i++)
        while (sources->buckets[i] != NULL) {
            struct ax_origin *source = sources->buckets[i];
            struct ax_origin **bucket = bucket_of(&grown, &source->key);

            sources->buckets[i] = source->next;
            source->next = *bucket;
            *bucket = source;
        }
    free(sources->buckets);
    sources->buckets = grown.buckets;
    sources->bucket_count = grown.bucket_count;
}

static struct ax_origin *find(const struct ax_origins *sources, const struct ax_origin_key *key)
{
    struct ax_origin *source = sources->bucket_count > 0 ? *bucket_of(sources, key) : NULL;

    while (source != NULL && memcmp(&source->key, key, sizeof *key) != 0)
        source = source->next;
    return source;
}

static struct ax_origin *add(struct ax_origins *sources, const struct ax_origin_key *key)
{
    struct ax_origin *source;
    struct ax_origin **bucket;

    if (sources->count >= sources->bucket_count)
        grow(sources);
    source = sources->bucket_count > 0 ? calloc(1, sizeof *source) : NULL;
    if (source == NULL)
        return NULL;
    source->key = *key;
    bucket = bucket_of(sources, key);
    source->next = *bucket;
    *bucket = source;
    sources->count++;
    return source;
}

struct ax_origin *ax_origins_get(struct ax_origins *sources, const struct ax_origin_key *key)
{
    struct ax_origin *source = find(sources, key);

    if (source == NULL)
        source = add(sources, key);
    if (source != NULL)
        source->refs++;
    return source;
}

void ax_origins_put(struct ax_origins *sources, struct ax_origin *source)
{
    struct ax_origin **link;

    if (source == NULL || --source->refs > 0)
        return;
    assert(source->handshakes == 0 && source->connections == 0);
    link = bucket_of(sources, &source->key);
    while (*link != source)
        link = &(*link)->next;
    *link = source->next;
    free(source);
    sources->count--;
}

void ax_origins_fini(struct ax_origins *sources)
{
    assert(sources->count == 0);
    free(sources->buckets);
    *sources = (struct ax_origins){0};
}
