/* SPDX-License-Identifier: MIT */
/*
 * The OpenSSL functions that acrossd uses: a table of functions in a separate shared library, which only the process
 * that needs it loads.
 *
 * The executable itself is not linked to OpenSSL, because workers run the same executable. Packages such as psycopg2
 * bring their own OpenSSL; its libraries would resolve some of their symbols to ours, which were loaded first, and
 * crash on the mixture. So only daemon/admission/openssl/ includes OpenSSL's headers, and that library is loaded with
 * local symbol visibility.
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

/* A certificate with its key, and certificate authorities. */
struct ax_tls_context;

struct ax_crypto {
    size_t size;         /* of this struct; a different size means a library of another acrossd version */
    const char *version; /* AX_VERSION */

    /* HMAC-SHA256 of the data. 0, or -1: out of memory, or OpenSSL does not provide it. */
    int (*hmac)(unsigned char digest[AX_CRYPTO_DIGEST_SIZE], const void *key, size_t key_size, const void *data,
                size_t size);

    /* Compares in constant time. */
    bool (*is_equal)(const void *left, const void *right, size_t size);

    /*
     * Loads a server's certificate, key and authorities. NULL with an error message, which calls them --tls-cert,
     * --tls-key and --tls-client-ca. Connections made from the context may outlive it.
     */
    struct ax_tls_context *(*context_new)(const struct ax_tls_strings *pem, char *error, size_t error_size);
    void (*context_free)(struct ax_tls_context *context);

    /* When the certificate expires, in seconds since 1970. */
    int64_t (*context_expiry)(const struct ax_tls_context *context);

    /*
     * The server's side of a connection over this socket, from which these first bytes were read, possibly none. They
     * are copied. NULL: out of memory.
     */
    struct ax_tls *(*tls_new)(struct ax_tls_context *context, int fd, const void *first, size_t first_size);
};

/* Returns the table; the library is loaded on the first call and never unloaded. NULL with an error message. */
const struct ax_crypto *ax_crypto_load(char *error, size_t error_size);

/* The symbol of the table in the library. */
#define AX_CRYPTO_TABLE ax_crypto_table
#define AX_CRYPTO_TABLE_NAME "ax_crypto_table"

#endif
