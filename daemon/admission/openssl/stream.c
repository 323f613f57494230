/* SPDX-License-Identifier: MIT */
#include "daemon/admission/openssl/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "daemon/admission/openssl/context.h"
#include "daemon/admission/openssl/names.h"
#include "daemon/admission/openssl/reason.h"
#include "daemon/base/error_format.h"

struct stream {
    struct ax_tls base;
    SSL *ssl;
    bool has_first; /* it still reads the first bytes, which were read from the socket before */
    bool has_begun; /* the peer has sent something */
    bool is_broken; /* a fatal error: OpenSSL must not be called for it any more */
};

static struct stream *stream_of(struct ax_tls *tls)
{
    return (struct stream *)tls;
}

/* ---- moving bytes ---- */

/*
 * Maps the result of a call that did not succeed. An end of stream without close_notify counts as an ordinary end: the
 * protocol has its own message boundaries and its own goodbye.
 */
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

static bool do_has_answered(const struct ax_tls *tls)
{
    const struct stream *stream = (const struct stream *)tls;

    return BIO_number_written(SSL_get_wbio(stream->ssl)) > 0;
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
    /* The peer has hung up. That is not an error of TLS, and what it sent before can still be read. */
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

/* Errors of certificates are reported rather than OpenSSL's own text: users have to fix them most often. */
static void describe_failure(const struct stream *stream, char *reason, size_t size)
{
    long verified = SSL_get_verify_result(stream->ssl);
    int code = errno;

    if (verified != X509_V_OK)
        ax_error_format(reason, size, "The certificate was rejected: %s", X509_verify_cert_error_string(verified));
    else if (ERR_peek_last_error() == 0)
        ax_error_format(reason, size, "TLS failed: %s", code != 0 ? strerror(code) : "the connection broke");
    else
        ax_error_format(reason, size, "TLS failed: %s", ax_openssl_reason());
}

/* All of the first bytes have been taken: the rest comes from the socket, where it is written to, too. */
static void read_socket(struct stream *stream)
{
    BIO *socket = SSL_get_wbio(stream->ssl);

    BIO_up_ref(socket);
    SSL_set0_rbio(stream->ssl, socket);
    stream->has_first = false;
}

static enum ax_tls_result go_on(struct stream *stream)
{
    int returned;

    ERR_clear_error();
    errno = 0;
    returned = SSL_accept(stream->ssl);
    return returned == 1 ? AX_TLS_OK : find_result(stream, returned);
}

static enum ax_tls_result do_accept(struct ax_tls *tls, char *reason, size_t size)
{
    struct stream *stream = stream_of(tls);
    enum ax_tls_result result = go_on(stream);

    if (result == AX_TLS_WANTS_READ && stream->has_first) {
        read_socket(stream);
        result = go_on(stream);
    }
    stream->has_begun = stream->has_begun || BIO_number_read(SSL_get_rbio(stream->ssl)) > 0;
    if (result == AX_TLS_ENDED || result == AX_TLS_BROKEN) {
        if (result == AX_TLS_ENDED && !stream->has_begun)
            return AX_TLS_ENDED;
        describe_failure(stream, reason, size);
        return AX_TLS_BROKEN;
    }
    return result;
}

/* ---- names ---- */

static void do_tell_names(struct ax_tls *tls, ax_tls_name_fn *take, void *arg)
{
    const X509 *certificate = SSL_get0_peer_certificate(stream_of(tls)->ssl);

    if (certificate != NULL)
        ax_openssl_tell_names(certificate, take, arg);
}

/* ---- life ---- */

static void do_free(struct ax_tls *tls)
{
    struct stream *stream = stream_of(tls);

    SSL_free(stream->ssl);
    free(stream);
}

/* Reads these bytes before those that are still in the socket. 0, or -1: out of memory. */
static int put_first(struct stream *stream, const void *first, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    size_t written;

    if (bio == NULL || BIO_write_ex(bio, first, size, &written) != 1) {
        BIO_free(bio);
        return -1;
    }
    SSL_set0_rbio(stream->ssl, bio);
    stream->has_first = true;
    stream->has_begun = true;
    return 0;
}

struct ax_tls *ax_openssl_stream_new(struct ax_tls_context *context, int fd, const void *first, size_t first_size)
{
    static const struct ax_tls_methods methods = {
        .accept = do_accept,
        .has_answered = do_has_answered,
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
    if (stream->ssl == NULL || SSL_set_fd(stream->ssl, fd) != 1 ||
        (first_size > 0 && put_first(stream, first, first_size) < 0)) {
        do_free(&stream->base);
        return NULL;
    }
    SSL_set_accept_state(stream->ssl);
    return &stream->base;
}
