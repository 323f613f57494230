/* SPDX-License-Identifier: MIT */
/*
 * What acrossd uses of OpenSSL: a table of functions, in a library of its own that only the process that needs it loads.
 *
 * The executable itself is not linked to OpenSSL, because workers are that executable, too. Packages such as psycopg2
 * bring an OpenSSL along, whose libraries would find their functions in ours, which has been there before: half of the
 * one and half of the other, which crashes. So daemon/openssl/ is what has OpenSSL's headers, and is loaded in such a
 * way that nobody else finds it.
 *
 * Used by the supervisor in its only thread, and by tests.
 */
#ifndef AX_DAEMON_ADMISSION_CRYPTO_H
#define AX_DAEMON_ADMISSION_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/admission/tls.h"

#define AX_CRYPTO_DIGEST_SIZE 32 /* bytes of an HMAC with SHA-256 */

/* A certificate with its key, and authorities. */
struct ax_tls_context;

struct ax_crypto {
    size_t size;         /* of this struct, and of this version: one that differs is of another acrossd */
    const char *version; /* AX_VERSION */

    /* The HMAC with SHA-256 of some bytes. 0, or -1: out of memory, or this OpenSSL will not. */
    int (*hmac)(unsigned char digest[AX_CRYPTO_DIGEST_SIZE], const void *key, size_t key_size, const void *data,
                size_t size);

    /* Whether both are the same, in a time that does not tell where they differ. */
    bool (*is_equal)(const void *left, const void *right, size_t size);

    /*
     * Reads what a server needs. NULL with a sentence, in which the three are called --tls-cert, --tls-key and
     * --tls-client-ca. Connections that were made with it outlive it.
     */
    struct ax_tls_context *(*context_new)(const struct ax_tls_strings *texts, char *error, size_t error_size);
    void (*context_free)(struct ax_tls_context *context);

    /* When its certificate ends to be valid, in seconds since 1970. */
    int64_t (*context_expiry)(const struct ax_tls_context *context);

    /* The server's side of a connection over this socket. NULL: out of memory. */
    struct ax_tls *(*tls_new)(struct ax_tls_context *context, int fd);
};

/* The table; loaded when it is asked for first, and never unloaded. NULL with a sentence. */
const struct ax_crypto *ax_crypto_load(char *error, size_t error_size);

/* The name of the table in the library. */
#define AX_CRYPTO_TABLE ax_crypto_table
#define AX_CRYPTO_TABLE_NAME "ax_crypto_table"

#endif
