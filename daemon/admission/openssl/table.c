/* SPDX-License-Identifier: MIT */
/* The table that daemon/admission/crypto.h describes: the only symbol that this library exports. */
#include "daemon/admission/crypto.h"

#include <openssl/crypto.h>

#include "daemon/admission/openssl/context.h"
#include "daemon/admission/openssl/hmac.h"
#include "daemon/admission/openssl/stream.h"

static bool is_equal(const void *left, const void *right, size_t size)
{
    return CRYPTO_memcmp(left, right, size) == 0;
}

__attribute__((visibility("default"))) extern const struct ax_crypto AX_CRYPTO_TABLE;

const struct ax_crypto AX_CRYPTO_TABLE = {
    .size = sizeof(struct ax_crypto),
    .version = AX_VERSION,
    .hmac = ax_openssl_hmac,
    .is_equal = is_equal,
    .context_new = ax_openssl_context_new,
    .context_free = ax_openssl_context_free,
    .context_expiry = ax_openssl_context_expiry,
    .tls_new = ax_openssl_stream_new,
};
