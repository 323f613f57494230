/* SPDX-License-Identifier: MIT */
/*
 * A TLS 1.3 connection as a server sees it, whatever library it is made of: daemon/admission/openssl/stream.c.
 *
 * It reads and writes its socket itself, which is non-blocking and not its own, and never waits: what cannot go on says
 * what to wait for. Used in one thread.
 */
#ifndef AX_DAEMON_ADMISSION_TLS_H
#define AX_DAEMON_ADMISSION_TLS_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that a read has to have room for: the most in one record. With less, some would wait where no poll sees them. */
#define AX_TLS_RECORD_MAX 16384

enum ax_tls_result {
    AX_TLS_OK,
    AX_TLS_WANTS_READ,  /* again when the socket is readable */
    AX_TLS_WANTS_WRITE, /* ... or writable */
    AX_TLS_ENDED,       /* the peer has said that it sends no more, or has hung up */
    AX_TLS_BROKEN,      /* nothing is possible any more */
};

enum ax_tls_name_kind { AX_TLS_DNS, AX_TLS_URI, AX_TLS_EMAIL, AX_TLS_COMMON_NAME };

/* A name in a certificate, UTF-8 without control characters. Borrowed. */
typedef void ax_tls_name_fn(void *arg, enum ax_tls_name_kind kind, const char *name);

struct ax_tls;

struct ax_tls_methods {
    /* Goes on with the handshake. BROKEN with the reason; ENDED before the peer has sent anything. */
    enum ax_tls_result (*accept)(struct ax_tls *tls, char *reason, size_t reason_size);

    /* Whether the peer has had an answer, which only a whole first message gets. */
    bool (*has_answered)(const struct ax_tls *tls);

    /*
     * Reads a record or a part of it, into at least AX_TLS_RECORD_MAX bytes. OK: *got > 0. WANTS_READ is also said after a
     * record of TLS's own, when others may be there already.
     */
    enum ax_tls_result (*read)(struct ax_tls *tls, void *data, size_t size, size_t *got);

    /*
     * Writes a part of these bytes. OK: *done > 0. WANTS_WRITE: the next write has to begin with the same bytes, anywhere.
     * BROKEN: nothing can be written any more; whether something can be read, read() says.
     */
    enum ax_tls_result (*write)(struct ax_tls *tls, const void *data, size_t size, size_t *done);

    /* Tells the peer that nothing more comes, if it can be told now. */
    void (*end)(struct ax_tls *tls);

    /*
     * Names the peer's certificate: all its alternative names that are DNS names, URIs or e-mail addresses; or, if
     * it has no alternative names of any kind, its common name. After accept().
     */
    void (*tell_names)(struct ax_tls *tls, ax_tls_name_fn *take, void *arg);

    void (*free)(struct ax_tls *tls);
};

/* Every implementation begins with it. */
struct ax_tls {
    const struct ax_tls_methods *methods;
};

/* What a server is known by, and knows its peers by: the text of PEM files. Borrowed. */
struct ax_tls_text {
    const char *data;
    size_t size;
};

struct ax_tls_strings {
    struct ax_tls_text certificate; /* and what leads from it to its authority */
    struct ax_tls_text key;
    struct ax_tls_text client_ca; /* authorities, and lists of what they have revoked */
};

#endif
