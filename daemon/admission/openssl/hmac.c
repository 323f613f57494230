/* SPDX-License-Identifier: MIT */
#include "daemon/admission/openssl/hmac.h"

#include <limits.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

int ax_openssl_hmac(unsigned char digest[AX_CRYPTO_DIGEST_SIZE], const void *key, size_t key_size, const void *data,
                    size_t size)
{
    if (key_size > INT_MAX)
        return -1;
    return HMAC(EVP_sha256(), key, (int)key_size, data, size, digest, NULL) != NULL ? 0 : -1;
}
