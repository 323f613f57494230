/* SPDX-License-Identifier: MIT */
/*
 * A server's TLS identity and the client names that it allows: --tls-cert, --tls-key, --tls-client-ca and
 * --tls-allow-name.
 *
 * Used by the supervisor in its only thread. Reading the files may block on disk I/O.
 */
#ifndef AX_DAEMON_ADMISSION_IDENTITY_H
#define AX_DAEMON_ADMISSION_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/crypto.h"
#include "daemon/config/options.h"

/* Bytes of a file. The usual bundle of all public authorities takes a quarter of it. */
#define AX_IDENTITY_FILE_MAX 1048576

/* Bytes of a displayed name, with the final NUL: the DNS has no longer ones. */
#define AX_IDENTITY_NAME 256

struct ax_identity {
    const struct ax_crypto *crypto; /* borrowed */
    struct ax_tls_context *context; /* owned */
    struct ax_string_list allowed;  /* names; empty: all */
};

/*
 * Reads the files. The key has to be in a regular file of this process's effective user or of root that nobody else may
 * read; root may share one with a group. NULL with an error message.
 */
struct ax_identity *ax_identity_load(const struct ax_options *options, char *error, size_t error_size);

/* NULL is allowed. Connections made with it continue. */
void ax_identity_free(struct ax_identity *identity);

/*
 * The name of a peer that has finished its handshake: the allowed one, or else its first one; "" if it has none.
 * Returns whether the peer is allowed.
 */
bool ax_identity_admits(const struct ax_identity *identity, struct ax_tls *tls, char name[AX_IDENTITY_NAME]);

#endif
