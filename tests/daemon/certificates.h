/* SPDX-License-Identifier: MIT */
/* Certificates for tests, made by OpenSSL on demand. */
#ifndef AX_TESTS_DAEMON_CERTIFICATES_H
#define AX_TESTS_DAEMON_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#define PEM_MAX 8192

/* An authority, or the holder of a certificate issued by it. */
struct holder {
    X509 *certificate;
    EVP_PKEY *key;
};

/* The properties of a certificate to make. */
struct certificate_request {
    const char *name;         /* the common name; NULL: none */
    const char *alternatives; /* as "DNS:a,email:b@c"; NULL: there are none */
    const char *usage;        /* "clientAuth", say; NULL: any */
    long lasts;               /* days, starting an hour ago; 0: it has expired */
    const char *hidden;       /* a DNS name with a NUL in place of its '!'; NULL: none */
};

void holder_make_authority(struct holder *authority, const char *name);
void holder_issue(struct holder *holder, const struct holder *authority, const struct certificate_request *request);
void holder_fini(struct holder *holder);

/* As PEM. */
void write_certificate(char text[PEM_MAX], const struct holder *holder);
void write_key(char text[PEM_MAX], const struct holder *holder, const char *passphrase);

/* The authority's revocation list, which contains this certificate. */
void write_revocation(char text[PEM_MAX], const struct holder *authority, const struct holder *revoked);

#endif
