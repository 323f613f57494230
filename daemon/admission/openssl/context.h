/* SPDX-License-Identifier: MIT */
/* A server's certificate, its key, and the authorities of its clients: see struct ax_crypto. */
#ifndef AX_DAEMON_ADMISSION_OPENSSL_CONTEXT_H
#define AX_DAEMON_ADMISSION_OPENSSL_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "daemon/admission/crypto.h"

struct ax_tls_context {
    SSL_CTX *ssl;
};

struct ax_tls_context *ax_openssl_context_new(const struct ax_tls_strings *pem, char *error, size_t error_size);
void ax_openssl_context_free(struct ax_tls_context *context);
int64_t ax_openssl_context_expiry(const struct ax_tls_context *context);

#endif
