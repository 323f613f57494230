/* SPDX-License-Identifier: MIT */
#include "daemon/admission/exchange.h"

#include <stdint.h>
#include <string.h>

#include "daemon/base/error_format.h"

#define KIND_AT 4
#define CONTENT_AT 8

static const unsigned char magic[KIND_AT] = {AX_EXCHANGE_MAGIC >> 24, AX_EXCHANGE_MAGIC >> 16 & 0xff,
                                             AX_EXCHANGE_MAGIC >> 8 & 0xff, AX_EXCHANGE_MAGIC & 0xff};

void ax_exchange_put(unsigned char message[AX_EXCHANGE_SIZE], enum ax_exchange_kind kind, const unsigned char *content)
{
    memset(message, 0, AX_EXCHANGE_SIZE);
    memcpy(message, magic, sizeof magic);
    message[KIND_AT] = (unsigned char)kind;
    if (content != NULL)
        memcpy(message + CONTENT_AT, content, AX_EXCHANGE_SIZE - CONTENT_AT);
}

const unsigned char *ax_exchange_get(const unsigned char message[AX_EXCHANGE_SIZE], enum ax_exchange_kind kind)
{
    return ax_exchange_is_begun(message, AX_EXCHANGE_SIZE) && message[KIND_AT] == kind ? message + CONTENT_AT : NULL;
}

bool ax_exchange_is_begun(const unsigned char *bytes, size_t size)
{
    return size >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

static enum ax_exchange_step fail(unsigned char reply[AX_EXCHANGE_SIZE], char *reason, size_t size, const char *why)
{
    ax_exchange_put(reply, AX_EXCHANGE_REFUSAL, NULL);
    ax_error_format(reason, size, "%s", why);
    return AX_EXCHANGE_FAILED;
}

static enum ax_exchange_step challenge(struct ax_exchange *exchange, const unsigned char *nonce,
                                       unsigned char reply[AX_EXCHANGE_SIZE], char *reason, size_t size)
{
    int code = ax_secret_make_nonce(exchange->nonces.server);

    if (code < 0)
        return fail(reply, reason, size, strerror(-code));
    memcpy(exchange->nonces.client, nonce, AX_NONCE_SIZE);
    exchange->has_challenged = true;
    ax_exchange_put(reply, AX_EXCHANGE_CHALLENGE, exchange->nonces.server);
    return AX_EXCHANGE_GOES_ON;
}

enum ax_exchange_step ax_exchange_take(struct ax_exchange *exchange, const struct ax_secret *secret,
                                       const unsigned char message[AX_EXCHANGE_SIZE],
                                       unsigned char reply[AX_EXCHANGE_SIZE], char *reason, size_t reason_size)
{
    bool proves = exchange->has_challenged;
    const unsigned char *content = ax_exchange_get(message, proves ? AX_EXCHANGE_PROOF : AX_EXCHANGE_HELLO);
    unsigned char proof[AX_PROOF_SIZE];

    if (content == NULL)
        return fail(reply, reason, reason_size, "The peer broke off the exchange that proves a secret");
    if (!proves)
        return challenge(exchange, content, reply, reason, reason_size);
    if (secret == NULL) /* a reload has removed it meanwhile */
        return fail(reply, reason, reason_size, "The server demands no secret any more");
    if (!ax_secret_is_proof(secret, AX_PROVER_CLIENT, &exchange->nonces, content))
        return fail(reply, reason, reason_size, "The peer has another secret");
    if (ax_secret_prove(secret, AX_PROVER_SERVER, &exchange->nonces, proof) < 0)
        return fail(reply, reason, reason_size, "out of memory");
    ax_exchange_put(reply, AX_EXCHANGE_ANSWER, proof);
    return AX_EXCHANGE_DONE;
}
