/* SPDX-License-Identifier: MIT */
#include "daemon/openssl/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "daemon/openssl/context.h"
#include "daemon/openssl/reason.h"
#include "daemon/sentence.h"

struct stream {
    struct ax_tls base;
    SSL *ssl;
    bool is_broken; /* OpenSSL wants to hear nothing more of it */
};

static struct stream *stream_of(struct ax_tls *tls)
{
    return (struct stream *)tls;
}

/* ---- moving bytes ---- */

/* What a call that did not succeed means. Without a close_notify the end is an end all the same: messages say where they
 * end themselves, and a connection how it ends. */
static enum ax_tls_result find_result(struct stream *stream, int returned)
{
    switch (SSL_get_error(stream->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        return AX_TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return AX_TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return AX_TLS_ENDED;
    default:
        stream->is_broken = true;
        if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            return AX_TLS_ENDED;
        return AX_TLS_BROKEN;
    }
}

static enum ax_tls_result do_read(struct ax_tls *tls, void *data, size_t size, size_t *got)
{
    struct stream *stream = stream_of(tls);
    int returned;

    if (stream->is_broken)
        return AX_TLS_BROKEN;
    ERR_clear_error();
    returned = SSL_read_ex(stream->ssl, data, size, got);
    return returned == 1 ? AX_TLS_OK : find_result(stream, returned);
}

static enum ax_tls_result do_write(struct ax_tls *tls, const void *data, size_t size, size_t *done)
{
    struct stream *stream = stream_of(tls);
    int returned;

    if (stream->is_broken)
        return AX_TLS_BROKEN;
    ERR_clear_error();
    returned = SSL_write_ex(stream->ssl, data, size, done);
    if (returned == 1)
        return AX_TLS_OK;
    /* The peer has hung up. That is no error of TLS, and what it said before can still be read. */
    if (SSL_get_error(stream->ssl, returned) == SSL_ERROR_SYSCALL)
        return AX_TLS_BROKEN;
    return find_result(stream, returned);
}

static void do_end(struct ax_tls *tls)
{
    struct stream *stream = stream_of(tls);

    if (stream->is_broken)
        return;
    ERR_clear_error();
    SSL_shutdown(stream->ssl);
}

/* ---- the handshake ---- */

/* A certificate that will not do is what people have to mend most: that goes before OpenSSL's own words. */
static void describe_failure(const struct stream *stream, char *reason, size_t size)
{
    long verified = SSL_get_verify_result(stream->ssl);
    int code = errno;

    if (verified != X509_V_OK)
        ax_sentence(reason, size, "The certificate will not do: %s", X509_verify_cert_error_string(verified));
    else if (ERR_peek_last_error() == 0)
        ax_sentence(reason, size, "TLS failed: %s", code != 0 ? strerror(code) : "the connection broke");
    else
        ax_sentence(reason, size, "TLS failed: %s", ax_openssl_reason());
}

static enum ax_tls_result do_accept(struct ax_tls *tls, char *reason, size_t size)
{
    struct stream *stream = stream_of(tls);
    enum ax_tls_result result;
    int returned;

    ERR_clear_error();
    errno = 0;
    returned = SSL_accept(stream->ssl);
    if (returned == 1)
        return AX_TLS_OK;
    result = find_result(stream, returned);
    if (result == AX_TLS_ENDED || result == AX_TLS_BROKEN) {
        if (result == AX_TLS_ENDED && BIO_number_read(SSL_get_rbio(stream->ssl)) == 0)
            return AX_TLS_ENDED;
        describe_failure(stream, reason, size);
        return AX_TLS_BROKEN;
    }
    return result;
}

/* ---- names ---- */

/* What a certificate holds is its maker's choice: no control characters, and no NUL that hides what follows it. */
static bool is_plain(const unsigned char *text, int size)
{
    for (int i = 0; i < size; i++)
        if (text[i] < ' ' || text[i] == 0x7f)
            return false;
    return size > 0;
}

static void tell(const ASN1_STRING *string, enum ax_tls_name_kind kind, ax_tls_name_fn *take, void *arg)
{
    unsigned char *text = NULL;
    int size = ASN1_STRING_to_UTF8(&text, string);

    if (size > 0 && is_plain(text, size))
        take(arg, kind, (const char *)text); /* which OpenSSL ends with a NUL */
    OPENSSL_free(text);
}

static void tell_alternative(const GENERAL_NAME *name, ax_tls_name_fn *take, void *arg)
{
    if (name->type == GEN_DNS)
        tell(name->d.dNSName, AX_TLS_DNS, take, arg);
    else if (name->type == GEN_URI)
        tell(name->d.uniformResourceIdentifier, AX_TLS_URI, take, arg);
    else if (name->type == GEN_EMAIL)
        tell(name->d.rfc822Name, AX_TLS_EMAIL, take, arg);
}

/* Of several, the last one counts: it is the most special. */
static void tell_common_name(const X509 *certificate, ax_tls_name_fn *take, void *arg)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int last = -1;

    for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_commonName, i)) >= 0;)
        last = i;
    if (last >= 0)
        tell(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)), AX_TLS_COMMON_NAME, take, arg);
}

static void do_tell_names(struct ax_tls *tls, ax_tls_name_fn *take, void *arg)
{
    const X509 *certificate = SSL_get0_peer_certificate(stream_of(tls)->ssl);
    GENERAL_NAMES *names;

    if (certificate == NULL)
        return;
    if (X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1) < 0) {
        tell_common_name(certificate, take, arg);
        return;
    }
    names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++)
        tell_alternative(sk_GENERAL_NAME_value(names, i), take, arg);
    GENERAL_NAMES_free(names);
}

/* ---- life ---- */

static void do_free(struct ax_tls *tls)
{
    struct stream *stream = stream_of(tls);

    SSL_free(stream->ssl);
    free(stream);
}

struct ax_tls *ax_openssl_stream_new(struct ax_tls_context *context, int fd)
{
    static const struct ax_tls_methods methods = {
        .accept = do_accept,
        .read = do_read,
        .write = do_write,
        .end = do_end,
        .tell_names = do_tell_names,
        .free = do_free,
    };
    struct stream *stream = calloc(1, sizeof *stream);

    ERR_clear_error();
    if (stream == NULL)
        return NULL;
    stream->base.methods = &methods;
    stream->ssl = SSL_new(context->ssl);
    if (stream->ssl == NULL || SSL_set_fd(stream->ssl, fd) != 1) {
        do_free(&stream->base);
        return NULL;
    }
    SSL_set_accept_state(stream->ssl);
    return &stream->base;
}
