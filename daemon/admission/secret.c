/* SPDX-License-Identifier: MIT */
#include "daemon/admission/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/file.h"

/* Of equal length, so that what follows is at the same offset. */
static const char *const labels[] = {
    [AX_PROVER_CLIENT] = "across secret 1 client",
    [AX_PROVER_SERVER] = "across secret 1 server",
};

#define LABEL_SIZE (sizeof "across secret 1 client" - 1)

#define BUFFER_SIZE (AX_SECRET_MAX + 3) /* a line end of two bytes, and one byte too many */

static_assert(AX_PROOF_SIZE == AX_CRYPTO_DIGEST_SIZE, "a proof is a digest");
static_assert(sizeof(struct ax_nonces) == 2 * (size_t)AX_NONCE_SIZE, "they are digested as they lie in memory");

/* ---- the file ---- */

/* Anyone who can read it gets access, and anyone who can write it can change who does. */
static int check_file(const struct stat *status, const char *path, char *error, size_t size)
{
    if (!S_ISREG(status->st_mode))
        return ax_error_format(error, size, "the secret file %s is not a regular file", path);
    return ax_file_check_private(status, "the secret file", path, error, size);
}

static size_t without_line_ends(const unsigned char *bytes, size_t size)
{
    while (size > 0 && (bytes[size - 1] == '\n' || bytes[size - 1] == '\r'))
        size--;
    return size;
}

static int take(struct ax_secret *secret, const unsigned char *bytes, size_t got, const char *path, char *error,
                size_t error_size)
{
    size_t size = without_line_ends(bytes, got);

    if (size > AX_SECRET_MAX || got == BUFFER_SIZE)
        return ax_error_format(error, error_size, "the secret file %s is too long: a secret has at most %d bytes", path,
                               AX_SECRET_MAX);
    if (size < AX_SECRET_MIN)
        return ax_error_format(error, error_size,
                               "the secret file %s is too short: a secret has at least %d bytes, better 32 random ones",
                               path, AX_SECRET_MIN);
    memcpy(secret->bytes, bytes, size);
    secret->size = size;
    return 0;
}

static int read_open(struct ax_secret *secret, int fd, const char *path, char *error, size_t error_size)
{
    unsigned char bytes[BUFFER_SIZE];
    struct stat status;
    ssize_t got;
    int result;

    if (fstat(fd, &status) < 0)
        return ax_error_format(error, error_size, "cannot look at the secret file %s: %s", path, strerror(errno));
    if (check_file(&status, path, error, error_size) < 0)
        return -1;
    got = ax_file_read(fd, bytes, sizeof bytes);
    if (got < 0)
        result = ax_error_format(error, error_size, "cannot read the secret file %s: %s", path, strerror(errno));
    else
        result = take(secret, bytes, (size_t)got, path, error, error_size);
    explicit_bzero(bytes, sizeof bytes);
    return result;
}

struct ax_secret *ax_secret_read(const char *path, char *error, size_t error_size)
{
    int fd = ax_file_open(path);
    struct ax_secret *secret;

    if (fd < 0) {
        ax_error_format(error, error_size, "cannot open the secret file %s: %s", path, strerror(errno));
        return NULL;
    }
    secret = calloc(1, sizeof *secret);
    if (secret == NULL) {
        ax_error_format(error, error_size, "out of memory");
    } else if (read_open(secret, fd, path, error, error_size) < 0 ||
               (secret->crypto = ax_crypto_load(error, error_size)) == NULL) {
        ax_secret_free(secret);
        secret = NULL;
    }
    close(fd);
    return secret;
}

void ax_secret_free(struct ax_secret *secret)
{
    if (secret == NULL)
        return;
    explicit_bzero(secret, sizeof *secret);
    free(secret);
}

/* ---- proofs ---- */

int ax_secret_make_nonce(unsigned char nonce[AX_NONCE_SIZE])
{
    ssize_t got;

    do
        got = getrandom(nonce, AX_NONCE_SIZE, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    return got == AX_NONCE_SIZE ? 0 : -EIO; /* requests this small are never cut short */
}

int ax_secret_prove(const struct ax_secret *secret, enum ax_prover prover, const struct ax_nonces *nonces,
                    unsigned char proof[AX_PROOF_SIZE])
{
    unsigned char text[LABEL_SIZE + sizeof *nonces];

    memcpy(text, labels[prover], LABEL_SIZE);
    memcpy(text + LABEL_SIZE, nonces, sizeof *nonces);
    return secret->crypto->hmac(proof, secret->bytes, secret->size, text, sizeof text);
}

bool ax_secret_is_proof(const struct ax_secret *secret, enum ax_prover prover, const struct ax_nonces *nonces,
                        const unsigned char proof[AX_PROOF_SIZE])
{
    unsigned char expected[AX_PROOF_SIZE];

    return ax_secret_prove(secret, prover, nonces, expected) == 0 &&
           secret->crypto->is_equal(expected, proof, AX_PROOF_SIZE);
}
