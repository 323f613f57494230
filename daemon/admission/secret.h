/* SPDX-License-Identifier: MIT */
/*
 * A shared secret, as a file holds it, and the proofs that two peers give each other of knowing it.
 *
 * A proof is a keyed digest (HMAC-SHA256) of the prover's role and of both peers' fresh nonces, so that it is of no use in
 * another exchange, nor to somebody who sends a peer's own proof back to it. docs/access.md has it byte by byte.
 * Used in a process's only thread; reading a file may wait for a disk.
 */
#ifndef AX_DAEMON_ADMISSION_SECRET_H
#define AX_DAEMON_ADMISSION_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/crypto.h"

/* Bytes without line ends. Less than the first can be guessed; more than the second is some other file. */
#define AX_SECRET_MIN 16
#define AX_SECRET_MAX 1024

#define AX_NONCE_SIZE 32 /* bytes: as many as the digest has, so that none ever comes twice */
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
 * Reads the secret in a file, which must be a regular one of this process's effective user or root that nobody else may
 * read or write. Line ends at its end do not count. The result is for ax_secret_free(). NULL with a sentence.
 */
struct ax_secret *ax_secret_read(const char *path, char *error, size_t error_size);

/* Overwrites and frees it. Harmless with NULL. */
void ax_secret_free(struct ax_secret *secret);

/* 0, or a negative errno when the system has no random bytes. */
int ax_secret_make_nonce(unsigned char nonce[AX_NONCE_SIZE]);

/* What this prover shows to the other one. 0, or -1 as from crypto.h. */
int ax_secret_prove(const struct ax_secret *secret, enum ax_prover prover, const struct ax_nonces *nonces,
                    unsigned char proof[AX_PROOF_SIZE]);

/* Whether this is that prover's proof. Takes the same time wherever it is wrong. */
bool ax_secret_is_proof(const struct ax_secret *secret, enum ax_prover prover, const struct ax_nonces *nonces,
                        const unsigned char proof[AX_PROOF_SIZE]);

#endif
