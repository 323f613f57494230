/* SPDX-License-Identifier: MIT */
/*
 * The source of a connection, for counting: per listening socket, a user (unix sockets), an IPv4 address, or an IPv6
 * /64 network, the smallest that providers assign to a customer.
 *
 * Callers that count by source hold a reference; a source without references is freed. One table for each process that
 * counts, used by its one thread; it does not know about connections.
 */
#ifndef AX_DAEMON_ADMISSION_ORIGIN_H
#define AX_DAEMON_ADMISSION_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AX_ORIGIN_ADDRESS 16 /* bytes of the longest address */

struct ax_origin_key {
    uint32_t lane; /* index of the listening socket */
    uint32_t
        /*
         * AF_UNIX, AF_INET or AF_INET6; AX_ORIGIN_PROCESS for a process; 0: unknown, all of which count as one source
         */
        family;
    unsigned char address[AX_ORIGIN_ADDRESS]; /* a user id, an address or its first half; the rest is zero */
};

#define AX_ORIGIN_PROCESS 0xffffu

struct ax_handshake;

/* How far a handshake has come. When there are too many, those at lower stages are evicted first. */
enum ax_handshake_stage {
    AX_STAGE_SILENT,   /* nothing received */
    AX_STAGE_BEGUN,    /* something received */
    AX_STAGE_ANSWERED, /* a whole message, of TLS or of the secret's exchange, was received and answered */
    AX_STAGE_KNOWN,    /* the peer has presented a certificate, or proved that it knows the secret */
};

#define AX_HANDSHAKE_STAGES (AX_STAGE_KNOWN + 1)

struct ax_origin {
    struct ax_origin_key key;
    size_t refs;        /* >= 1 */
    size_t connections; /* that wait for a worker, or are being served */
    uint64_t turn;      /* when one of its connections last got a worker; 0: never */
    /* For handshakes only: those of this source by stage, oldest first. */
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
 * The key of the peer of an accepted socket. `process`, which may be NULL, is set to the key of the peer's process if
 * the kernel reports one, or else to the same key: a user's share is divided among their processes.
 */
void ax_origin_find_key(struct ax_origin_key *key, struct ax_origin_key *process, int fd, uint32_t lane);

/* The source, found or created, with one more reference. NULL when there is no memory. */
struct ax_origin *ax_origins_get(struct ax_origins *sources, const struct ax_origin_key *key);

/* Drops a reference; NULL is allowed. */
void ax_origins_put(struct ax_origins *sources, struct ax_origin *source);

/* All references must have been dropped. */
void ax_origins_fini(struct ax_origins *sources);

#endif
