/* SPDX-License-Identifier: MIT */
/*
 * The exchange that proves to two peers that they share a secret: its messages, and the server's part in it.
 *
 *   client -> server   HELLO      the client's nonce
 *   server -> client   CHALLENGE  the server's nonce
 *   client -> server   PROOF      the client's proof
 *   server -> client   ANSWER     the server's proof; or REFUSAL, and the end of the connection
 *
 * The client proves first: anybody may connect to a server, and a proof is something to try guesses on. docs/access.md
 * says more. No I/O here: handshake.c moves the bytes for the supervisor, status_command.c for a client.
 */
#ifndef AX_DAEMON_ADMISSION_EXCHANGE_H
#define AX_DAEMON_ADMISSION_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/secret.h"

#define AX_EXCHANGE_SIZE 40 /* bytes of each message: magic and version, kind, three zeros, nonce or proof */
#define AX_EXCHANGE_MAGIC 0x5ec2e701u

enum ax_exchange_kind {
    AX_EXCHANGE_HELLO = 1,
    AX_EXCHANGE_CHALLENGE,
    AX_EXCHANGE_PROOF,
    AX_EXCHANGE_ANSWER,
    AX_EXCHANGE_REFUSAL,
};

/* Writes a message; `content` are the bytes of a nonce or proof, or NULL. */
void ax_exchange_put(unsigned char message[AX_EXCHANGE_SIZE], enum ax_exchange_kind kind, const unsigned char *content);

/* The nonce or proof in a message of this kind; NULL when it is no such message. */
const unsigned char *ax_exchange_get(const unsigned char message[AX_EXCHANGE_SIZE], enum ax_exchange_kind kind);

/* Whether a message of the exchange begins so: with these bytes, at least 4. */
bool ax_exchange_is_begun(const unsigned char *bytes, size_t size);

enum ax_exchange_step {
    AX_EXCHANGE_GOES_ON, /* the reply is to be sent, and the next message awaited */
    AX_EXCHANGE_DONE,    /* the reply is to be sent: the client knows the secret */
    AX_EXCHANGE_FAILED,  /* the reply is to be sent before the end */
};

/* The server's part. All zero before the first message. */
struct ax_exchange {
    bool has_challenged;
    struct ax_nonces nonces;
};

/*
 * Takes the client's next message and makes the reply to it. FAILED with the reason, for the log. Without a secret nothing
 * is a proof.
 */
enum ax_exchange_step ax_exchange_take(struct ax_exchange *exchange, const struct ax_secret *secret,
                                       const unsigned char message[AX_EXCHANGE_SIZE],
                                       unsigned char reply[AX_EXCHANGE_SIZE], char *reason, size_t reason_size);

#endif
