/* SPDX-License-Identifier: MIT */
#include "daemon/admission/openssl/context.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "daemon/admission/openssl/reason.h"
#include "daemon/base/error_format.h"

/* Bytes of certificates that a peer may send. Chains of a few kilobytes are usual. */
#define PEER_CHAIN_MAX 32768

/* Intermediate certificates between a peer's and its authority's. */
#define PEER_DEPTH_MAX 8

/* ---- reading PEM ---- */

static BIO *open_text(const struct ax_tls_text *text)
{
    return text->size <= INT_MAX ? BIO_new_mem_buf(text->data, (int)text->size) : NULL;
}

/* For keys with a passphrase: there is no terminal to ask on. */
static int no_passphrase(char *buffer, int size, int for_writing, void *was_asked)
{
    (void)buffer;
    (void)size;
    (void)for_writing;
    *(bool *)was_asked = true;
    return -1;
}

/* ---- the server's own certificate ---- */

/* The first certificate is the server's, the rest are the chain to its authority. */
static int use_chain(SSL_CTX *ssl, BIO *text)
{
    X509 *certificate = PEM_read_bio_X509(text, NULL, NULL, NULL);
    bool used = certificate != NULL && SSL_CTX_use_certificate(ssl, certificate) == 1;

    X509_free(certificate);
    while (used && (certificate = PEM_read_bio_X509(text, NULL, NULL, NULL)) != NULL) {
        used = SSL_CTX_add0_chain_cert(ssl, certificate) == 1;
        if (!used)
            X509_free(certificate);
    }
    /* The end of the text is reported as an error, too: no further certificate starts. */
    if (!used || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return -1;
    ERR_clear_error();
    return 0;
}

static int take_certificate(SSL_CTX *ssl, const struct ax_tls_text *text, char *error, size_t size)
{
    BIO *bio = open_text(text);
    int result = bio != NULL ? use_chain(ssl, bio) : -1;

    BIO_free(bio);
    if (result < 0)
        return ax_error_format(error, size, "the file of --tls-cert holds no certificate in PEM that can be used: %s",
                               ax_openssl_reason());
    return 0;
}

static int take_key(SSL_CTX *ssl, const struct ax_tls_text *text, char *error, size_t size)
{
    bool is_locked = false;
    BIO *bio = open_text(text);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &is_locked) : NULL;
    int result = 0;

    BIO_free(bio);
    if (is_locked)
        result = ax_error_format(error, size,
                                 "the file of --tls-key needs a passphrase, which acrossd cannot ask for: write it "
                                 "without one, with openssl pkey, readable for acrossd alone");
    else if (key == NULL)
        result =
            ax_error_format(error, size, "the file of --tls-key holds no private key in PEM: %s", ax_openssl_reason());
    else if (X509_check_private_key(SSL_CTX_get0_certificate(ssl), key) != 1)
        result = ax_error_format(error, size,
                                 "the key in the file of --tls-key does not belong to the certificate in that of "
                                 "--tls-cert");
    else if (SSL_CTX_use_PrivateKey(ssl, key) != 1)
        result =
            ax_error_format(error, size, "the key in the file of --tls-key cannot be used: %s", ax_openssl_reason());
    EVP_PKEY_free(key);
    return result;
}

/* ---- the authorities of clients ---- */

/* Clients are told which authorities are accepted, so that those with several certificates can choose. */
static int take_authority(SSL_CTX *ssl, const X509_INFO *info)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);

    if (info->x509 != NULL &&
        (X509_STORE_add_cert(store, info->x509) != 1 || SSL_CTX_add_client_CA(ssl, info->x509) != 1))
        return -1;
    /* With a revocation list, every authority has to have a current one: a certificate of unknown status is refused. */
    if (info->crl != NULL && (X509_STORE_add_crl(store, info->crl) != 1 ||
                              X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1))
        return -1;
    return 0;
}

static int take_client_ca(SSL_CTX *ssl, const struct ax_tls_text *text, char *error, size_t size)
{
    BIO *bio = open_text(text);
    STACK_OF(X509_INFO) *infos = bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
    int count = 0;
    int result = 0;

    for (int i = 0; infos != NULL && i < sk_X509_INFO_num(infos) && result == 0; i++) {
        const X509_INFO *info = sk_X509_INFO_value(infos, i);

        result = take_authority(ssl, info);
        count += info->x509 != NULL;
    }
    sk_X509_INFO_pop_free(infos, X509_INFO_free);
    BIO_free(bio);
    if (result < 0 || infos == NULL)
        return ax_error_format(error, size, "the file of --tls-client-ca cannot be used: %s", ax_openssl_reason());
    if (count == 0)
        return ax_error_format(error, size, "the file of --tls-client-ca holds no certificate in PEM");
    return 0;
}

/* ---- all of it ---- */

static int configure(SSL_CTX *ssl)
{
    static const unsigned char name[] = "acrossd";

    /*
     * Each connection presents its certificate: no session is resumed that began when the certificate was still valid.
     */
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    /* Release buffers that are not in use. */
    SSL_CTX_set_mode(ssl,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* A read processes one record, whatever its type: a peer that updates keys over and over must not block others. */
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ssl, PEER_DEPTH_MAX);
    SSL_CTX_set_max_cert_list(ssl, PEER_CHAIN_MAX);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(ssl, 0) == 1 &&
                   SSL_CTX_set_session_id_context(ssl, name, sizeof name - 1) == 1
               ? 0
               : -1;
}

struct ax_tls_context *ax_openssl_context_new(const struct ax_tls_strings *pem, char *error, size_t error_size)
{
    struct ax_tls_context *context = calloc(1, sizeof *context);

    ERR_clear_error();
    if (context != NULL)
        context->ssl = SSL_CTX_new(TLS_server_method());
    if (context == NULL || context->ssl == NULL || configure(context->ssl) < 0)
        ax_error_format(error, error_size, "cannot start TLS: %s", ax_openssl_reason());
    else if (take_certificate(context->ssl, &pem->certificate, error, error_size) == 0 &&
             take_key(context->ssl, &pem->key, error, error_size) == 0 &&
             take_client_ca(context->ssl, &pem->client_ca, error, error_size) == 0)
        return context;
    ax_openssl_context_free(context);
    ERR_clear_error();
    return NULL;
}

void ax_openssl_context_free(struct ax_tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

int64_t ax_openssl_context_expiry(const struct ax_tls_context *context)
{
    struct tm time;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context->ssl)), &time) != 1)
        return INT64_MAX;
    return timegm(&time);
}
