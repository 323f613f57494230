/* SPDX-License-Identifier: MIT */
/* HMAC with SHA-256: see struct ax_crypto. */
#ifndef AX_DAEMON_ADMISSION_OPENSSL_HMAC_H
#define AX_DAEMON_ADMISSION_OPENSSL_HMAC_H

#include <stddef.h>

#include "daemon/admission/crypto.h"

int ax_openssl_hmac(unsigned char digest[AX_CRYPTO_DIGEST_SIZE], const void *key, size_t key_size, const void *data,
                    size_t size);

#endif
