/* SPDX-License-Identifier: MIT */
/*
 * Where connections come from, as far as it is to be counted: at one listening socket, all of a user (unix sockets), all
 * of an IPv4 address, or all of an IPv6 network of 64 bits, which is what one customer of a provider has at least.
 *
 * Whoever counts by source holds a reference; a source without any is forgotten. One table for each process that
 * counts, which its one thread uses; nothing here knows of connections.
 */
#ifndef AX_DAEMON_ADMISSION_ORIGIN_H
#define AX_DAEMON_ADMISSION_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AX_ORIGIN_ADDRESS 16 /* bytes of the longest identity */

struct ax_origin_key {
    uint32_t lane; /* the number of the listening socket */
    uint32_t
        family; /* AF_UNIX, AF_INET or AF_INET6; of a process AX_ORIGIN_PROCESS; 0: unknown, and all of one source */
    unsigned char address[AX_ORIGIN_ADDRESS]; /* a user's number, an address or the first half of one; rest zero */
};

#define AX_ORIGIN_PROCESS 0xffffu

struct ax_handshake;

/* How far a handshake has come. Those who have done less go first when there are too many. */
enum ax_handshake_stage {
    AX_STAGE_SILENT,   /* nothing has come */
    AX_STAGE_BEGUN,    /* something has */
    AX_STAGE_ANSWERED, /* it was a whole message, of TLS or of the exchange that proves a secret, and has an answer */
    AX_STAGE_KNOWN,    /* the peer has shown a certificate, or that it knows the secret */
};

#define AX_HANDSHAKE_STAGES (AX_STAGE_KNOWN + 1)

struct ax_origin {
    struct ax_origin_key key;
    size_t refs;        /* >= 1 */
    size_t connections; /* that wait for a worker, or are served */
    uint64_t turn;      /* when one of its connections was given to a worker last; 0: never */
    /* Of the handshakes alone: those of this source by stage, the oldest first. */
    size_t handshakes;
    size_t counts[AX_HANDSHAKE_STAGES];
    struct ax_handshake *first[AX_HANDSHAKE_STAGES];
    struct ax_handshake *last[AX_HANDSHAKE_STAGES];
    struct ax_origin *next; /* in its bucket */
};

/* All zero is an empty table. */
struct ax_origins {
    struct ax_origin **buckets; /* owned */
    size_t bucket_count;        /* 0 or a power of two */
    size_t count;
};

/*
 * The key of an accepted socket's peer. `process`, which may be NULL, is set to the key of its process, where the kernel
 * tells one, or else to the same: of what a user has, each process gets its part.
 */
void ax_origin_find_key(struct ax_origin_key *key, struct ax_origin_key *process, int fd, uint32_t lane);

/* The source, new or not, with one more reference. NULL when there is no memory. */
struct ax_origin *ax_origins_get(struct ax_origins *sources, const struct ax_origin_key *key);

/* Gives a reference back; NULL is none. */
void ax_origins_put(struct ax_origins *sources, struct ax_origin *source);

/* All references have been given back. */
void ax_origins_fini(struct ax_origins *sources);

#endif
