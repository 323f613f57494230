/* SPDX-License-Identifier: MIT */
/*
 * The exchange in which two peers prove to each other that they know a shared secret: its messages, and the server's
 * part.
 *
 *   client -> server   HELLO      the client's nonce
 *   server -> client   CHALLENGE  the server's nonce
 *   client -> server   PROOF      the client's proof
 *   server -> client   ANSWER     the server's proof; or REFUSAL, and the end of the connection
 *
 * The client proves first: anyone may connect to a server, and a proof allows offline guessing of the secret. See
 * docs/access.md. No I/O here: handshake.c moves the bytes for the supervisor, status_command.c for a client.
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

/* Writes a message; `content` is the nonce or the proof, or NULL. */
void ax_exchange_put(unsigned char message[AX_EXCHANGE_SIZE], enum ax_exchange_kind kind, const unsigned char *content);

/* The nonce or proof in a message of this kind; NULL if the message is not of this kind. */
const unsigned char *ax_exchange_get(const unsigned char message[AX_EXCHANGE_SIZE], enum ax_exchange_kind kind);

/* Whether these bytes, at least 4, are the beginning of a message of the exchange. */
bool ax_exchange_is_begun(const unsigned char *bytes, size_t size);

enum ax_exchange_step {
    AX_EXCHANGE_GOES_ON, /* send the reply, and wait for the next message */
    AX_EXCHANGE_DONE,    /* send the reply: the client knows the secret */
    AX_EXCHANGE_FAILED,  /* send the reply, then close the connection */
};

/* The server's part. All zero before the first message. */
struct ax_exchange {
    bool has_challenged;
    struct ax_nonces nonces;
};

/*
 * Processes the client's next message and writes the reply to it. On FAILED, `reason` is set, for the log. Without a
 * secret every proof fails.
 */
enum ax_exchange_step ax_exchange_take(struct ax_exchange *exchange, const struct ax_secret *secret,
                                       const unsigned char message[AX_EXCHANGE_SIZE],
                                       unsigned char reply[AX_EXCHANGE_SIZE], char *reason, size_t reason_size);

#endif
