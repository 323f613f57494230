/* SPDX-License-Identifier: MIT */
/*
 * What a server shows to TLS peers, and which of them it lets in: --tls-cert, --tls-key, --tls-client-ca and
 * --tls-allow-name.
 *
 * Used by the supervisor in its only thread. Reading the files may wait for a disk.
 */
#ifndef AX_DAEMON_ADMISSION_IDENTITY_H
#define AX_DAEMON_ADMISSION_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/crypto.h"
#include "daemon/config/options.h"

/* Bytes of a file. One with all authorities of the world has a quarter of it. */
#define AX_IDENTITY_FILE_MAX 1048576

/* Bytes of a name that is shown, with the final NUL: no longer one is in the DNS. */
#define AX_IDENTITY_NAME 256

struct ax_identity {
    const struct ax_crypto *crypto; /* borrowed */
    struct ax_tls_context *context; /* owned */
    struct ax_string_list allowed;  /* names; empty: all */
};

/*
 * Reads the files. The key's must be a regular one of this process's effective user, or root, that nobody else may
 * read; but root may share one with a group. NULL with a sentence.
 */
struct ax_identity *ax_identity_load(const struct ax_options *options, char *error, size_t error_size);

/* Harmless with NULL. Connections that were made with it go on. */
void ax_identity_free(struct ax_identity *identity);

/*
 * The name by which a peer that has finished its handshake is known: the one that lets it in, or else its first one; ""
 * when it has none. Returns whether it is let in.
 */
bool ax_identity_admits(const struct ax_identity *identity, struct ax_tls *tls, char name[AX_IDENTITY_NAME]);

#endif
