/* SPDX-License-Identifier: MIT */
/*
 * The server's side of a TLS 1.3 connection, independent of the library that implements it
 * (daemon/admission/openssl/stream.c).
 *
 * It reads and writes its socket, which is non-blocking and not owned, and never blocks: results say what to poll for.
 * Used in one thread.
 */
#ifndef AX_DAEMON_ADMISSION_TLS_H
#define AX_DAEMON_ADMISSION_TLS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Minimum size of a read buffer: the payload of a record. A smaller one would leave decrypted bytes where no poll
 * reports them.
 */
#define AX_TLS_RECORD_MAX 16384

enum ax_tls_result {
    AX_TLS_OK,
    AX_TLS_WANTS_READ,  /* call again when the socket is readable */
    AX_TLS_WANTS_WRITE, /* ... or writable */
    AX_TLS_ENDED,       /* the peer has sent close_notify, or has hung up */
    AX_TLS_BROKEN,      /* fatal: nothing more can be read or written */
};

enum ax_tls_name_kind { AX_TLS_DNS, AX_TLS_URI, AX_TLS_EMAIL, AX_TLS_COMMON_NAME };

/* A name in a certificate, UTF-8 without control characters. Borrowed. */
typedef void ax_tls_name_fn(void *arg, enum ax_tls_name_kind kind, const char *name);

struct ax_tls;

struct ax_tls_methods {
    /* Continues the handshake. BROKEN with the reason; ENDED if the peer hung up before sending anything. */
    enum ax_tls_result (*accept)(struct ax_tls *tls, char *reason, size_t reason_size);

    /* Whether the peer has been sent an answer, which it is only after a complete first message. */
    bool (*has_answered)(const struct ax_tls *tls);

    /*
     * Reads one record or a part of it into at least AX_TLS_RECORD_MAX bytes. OK: *got > 0. WANTS_READ is also returned
     * after a record that carries no data, when further ones may be available already.
     */
    enum ax_tls_result (*read)(struct ax_tls *tls, void *data, size_t size, size_t *got);

    /*
     * Writes a part of these bytes. OK: *done > 0. WANTS_WRITE: the next write has to begin with the same bytes, at any
     * address. BROKEN: nothing more can be written; read() tells whether something can still be read.
     */
    enum ax_tls_result (*write)(struct ax_tls *tls, const void *data, size_t size, size_t *done);

    /* Sends close_notify if that is possible without waiting. */
    void (*end)(struct ax_tls *tls);

    /*
     * Reports the names in the peer's certificate: its subject alternative names of the kinds DNS, URI and e-mail; or
     * its common name if it has no alternative names of any kind. After accept().
     */
    void (*tell_names)(struct ax_tls *tls, ax_tls_name_fn *take, void *arg);

    void (*free)(struct ax_tls *tls);
};

/* Implementations embed it as their first member. */
struct ax_tls {
    const struct ax_tls_methods *methods;
};

/* PEM texts: the server's certificate and key, and the authorities that it trusts. Borrowed. */
struct ax_tls_text {
    const char *data;
    size_t size;
};

struct ax_tls_strings {
    struct ax_tls_text certificate; /* and its chain */
    struct ax_tls_text key;
    struct ax_tls_text client_ca; /* authorities, and their revocation lists */
};

#endif
