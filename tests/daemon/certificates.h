/* SPDX-License-Identifier: MIT */
/* Certificates for tests, made by OpenSSL when they are asked for. */
#ifndef AX_TESTS_DAEMON_CERTIFICATES_H
#define AX_TESTS_DAEMON_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#define PEM_MAX 8192

/* An authority, or whom it vouches for. */
struct holder {
    X509 *certificate;
    EVP_PKEY *key;
};

/* What is asked for. */
struct wish {
    const char *name;         /* the common name; NULL: none */
    const char *alternatives; /* as "DNS:a,email:b@c"; NULL: there are none */
    const char *usage;        /* "clientAuth", say; NULL: any */
    long lasts;               /* days from an hour ago; 0: it has expired */
    const char *hidden;       /* a DNS name with a NUL in the place of its '!'; NULL: none */
};

void holder_make_authority(struct holder *authority, const char *name);
void holder_issue(struct holder *holder, const struct holder *authority, const struct wish *wish);
void holder_fini(struct holder *holder);

/* As PEM. */
void write_certificate(char text[PEM_MAX], const struct holder *holder);
void write_key(char text[PEM_MAX], const struct holder *holder, const char *passphrase);

/* The list of what an authority has revoked: this certificate. */
void write_revocation(char text[PEM_MAX], const struct holder *authority, const struct holder *revoked);

#endif
