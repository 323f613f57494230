/* SPDX-License-Identifier: MIT */
/*
 * A shared secret read from a file, and the proofs with which two peers show each other that they know it.
 *
 * A proof is HMAC-SHA256 over the prover's role and both peers' fresh nonces, so it cannot be replayed in another
 * exchange, nor reflected to its sender. docs/access.md has the byte layout. Used in a process's only thread; reading a
 * file may block on disk I/O.
 */
#ifndef AX_DAEMON_ADMISSION_SECRET_H
#define AX_DAEMON_ADMISSION_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/crypto.h"

/* Bytes without line ends. A shorter one can be guessed; a longer one is some other file. */
#define AX_SECRET_MIN 16
#define AX_SECRET_MAX 1024

#define AX_NONCE_SIZE 32 /* bytes: as many as the digest has, so that no nonce repeats */
#define AX_PROOF_SIZE 32 /* bytes of HMAC-SHA256 */

enum ax_prover { AX_PROVER_CLIENT, AX_PROVER_SERVER };

struct ax_secret {
    const struct ax_crypto *crypto; /* borrowed */
    size_t size;                    /* AX_SECRET_MIN..AX_SECRET_MAX */
    unsigned char bytes[AX_SECRET_MAX];
};

/* Both nonces of one exchange. */
struct ax_nonces {
    unsigned char client[AX_NONCE_SIZE];
    unsigned char server[AX_NONCE_SIZE];
};

/*
 * Reads the secret from a file, which has to be a regular one of this process's effective user or root that nobody else
 * may read or write. Trailing line ends are ignored. The caller frees it with ax_secret_free(). NULL with an error
 * message.
 */
struct ax_secret *ax_secret_read(const char *path, char *error, size_t error_size);

/* Wipes and frees it. NULL is allowed. */
void ax_secret_free(struct ax_secret *secret);

/* 0, or a negative errno when the system has no random bytes. */
int ax_secret_make_nonce(unsigned char nonce[AX_NONCE_SIZE]);

/* Makes the proof of this prover. 0, or -1 as from crypto.h. */
int ax_secret_prove(const struct ax_secret *secret, enum ax_prover prover, const struct ax_nonces *nonces,
                    unsigned char proof[AX_PROOF_SIZE]);

/* Whether this is that prover's proof. Constant time. */
bool ax_secret_is_proof(const struct ax_secret *secret, enum ax_prover prover, const struct ax_nonces *nonces,
                        const unsigned char proof[AX_PROOF_SIZE]);

#endif
