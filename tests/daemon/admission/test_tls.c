/* SPDX-License-Identifier: MIT */
/* daemon/admission/openssl/context.c and stream.c, against a client that uses OpenSSL directly. */
#include "testing.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "certificates.h"
#include "daemon/admission/crypto.h"
#include "daemon/base/error_format.h"

static const struct certificate_request server_request = {.name = "server", .usage = "serverAuth", .lasts = 1};
static const struct certificate_request client_request = {.name = "alice", .usage = "clientAuth", .lasts = 1};

static const struct ax_crypto *crypto;
static struct holder authority, other_authority, server, client;
static char certificate[PEM_MAX], key[PEM_MAX], client_ca[2 * PEM_MAX]; /* the last with space for a revocation list */

static int make_all(void **state)
{
    char error[AX_ERROR_TEXT_SIZE];
    (void)state;

    signal(SIGPIPE, SIG_IGN); /* as in the supervisor */
    crypto = ax_crypto_load(error, sizeof error);
    assert_non_null(crypto);
    holder_make_authority(&authority, "authority");
    holder_make_authority(&other_authority, "other authority");
    holder_issue(&server, &authority, &server_request);
    holder_issue(&client, &authority, &client_request);
    write_certificate(certificate, &server);
    write_key(key, &server, NULL);
    write_certificate(client_ca, &authority);
    return 0;
}

static int free_all(void **state)
{
    (void)state;
    holder_fini(&authority);
    holder_fini(&other_authority);
    holder_fini(&server);
    holder_fini(&client);
    return 0;
}

static struct ax_tls_context *read_context(const char *cert, const char *private_key, const char *ca, char *error)
{
    const struct ax_tls_strings pem = {{cert, strlen(cert)}, {private_key, strlen(private_key)}, {ca, strlen(ca)}};

    error[0] = '\0';
    return crypto->context_new(&pem, error, AX_ERROR_TEXT_SIZE);
}

static struct ax_tls_context *make_context(void)
{
    char error[AX_ERROR_TEXT_SIZE];
    struct ax_tls_context *context = read_context(certificate, key, client_ca, error);

    assert_string_equal(error, "");
    assert_non_null(context);
    return context;
}

/* ---- both ends of a connection ---- */

struct pair {
    int client_fd, server_fd;
    SSL_CTX *client_context;
    SSL *client;
    struct ax_tls *server;
    char reason[AX_ERROR_TEXT_SIZE];
};

/* A client that trusts the authority, with this certificate, or without one. */
static void open_pair(struct pair *pair, const struct holder *holder, int newest)
{
    struct ax_tls_context *context = make_context();
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    pair->client_fd = fds[0];
    pair->server_fd = fds[1];
    pair->server = crypto->tls_new(context, fds[1], NULL, 0);
    assert_non_null(pair->server);
    crypto->context_free(context); /* the connection outlives it */
    pair->client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(pair->client_context, newest);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(pair->client_context), authority.certificate);
    SSL_CTX_set_verify(pair->client_context, SSL_VERIFY_PEER, NULL);
    if (holder != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(pair->client_context, holder->certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(pair->client_context, holder->key), 1);
    }
    pair->client = SSL_new(pair->client_context);
    SSL_set_fd(pair->client, pair->client_fd);
    pair->reason[0] = '\0';
}

static void close_pair(struct pair *pair)
{
    pair->server->methods->free(pair->server);
    SSL_free(pair->client);
    SSL_CTX_free(pair->client_context);
    close(pair->client_fd);
    close(pair->server_fd);
}

static enum ax_tls_result accept_more(struct pair *pair)
{
    return pair->server->methods->accept(pair->server, pair->reason, sizeof pair->reason);
}

/* Both continue until the server's handshake has ended. */
static enum ax_tls_result shake_hands(struct pair *pair)
{
    enum ax_tls_result result;

    do {
        SSL_connect(pair->client);
        result = accept_more(pair);
    } while (result == AX_TLS_WANTS_READ || result == AX_TLS_WANTS_WRITE);
    return result;
}

static void open_secured(struct pair *pair, const struct holder *holder)
{
    open_pair(pair, holder, 0);
    if (shake_hands(pair) != AX_TLS_OK)
        fail_msg("%s", pair->reason);
}

/* ---- handshakes ---- */

static void check_refused(const struct holder *holder, int newest, const char *reason)
{
    struct pair pair;

    open_pair(&pair, holder, newest);
    assert_int_equal(shake_hands(&pair), AX_TLS_BROKEN);
    assert_contains(pair.reason, reason);
    close_pair(&pair);
}

static void check_holder_refused(const struct holder *issuer, struct certificate_request request, const char *reason)
{
    struct holder holder;

    holder_issue(&holder, issuer, &request);
    check_refused(&holder, 0, reason);
    holder_fini(&holder);
}

static void test_accepts_only_certificates_of_its_authority(void **state)
{
    struct pair pair;
    (void)state;

    open_secured(&pair, &client);
    close_pair(&pair);
    check_refused(NULL, 0, "TLS failed: peer did not return a certificate");
    check_refused(&server, 0, "The certificate was rejected: ");
    check_refused(&client, TLS1_2_VERSION, "TLS failed: unsupported protocol");
    check_holder_refused(&other_authority, client_request, "The certificate was rejected: unable to get local issuer");
    check_holder_refused(&authority, (struct certificate_request){.name = "late", .lasts = 0},
                         "The certificate was rejected: certificate has expired");
}

static void test_a_list_of_revoked_certificates_counts(void **state)
{
    struct holder revoked;
    struct pair pair;
    char before[PEM_MAX];
    (void)state;

    memcpy(before, client_ca, PEM_MAX);
    holder_issue(&revoked, &authority, &client_request);
    write_revocation(client_ca + strlen(client_ca), &authority, &revoked);
    check_refused(&revoked, 0, "The certificate was rejected: certificate revoked");
    open_secured(&pair, &client);
    close_pair(&pair);
    memcpy(client_ca, before, PEM_MAX);
    holder_fini(&revoked);
}

static void test_reports_what_is_not_tls(void **state)
{
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "\xe3\x5b\x9e\x78................",
                                          "\x16\x03\x01\xff\xff."};
    struct pair pair;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(garbage); i++) {
        open_pair(&pair, NULL, 0);
        assert_true(write(pair.client_fd, garbage[i], strlen(garbage[i])) > 0);
        assert_int_equal(accept_more(&pair), AX_TLS_BROKEN);
        assert_contains(pair.reason, "TLS failed: ");
        close_pair(&pair);
    }
}

static void test_tells_an_early_end_from_an_interrupted_handshake(void **state)
{
    struct pair pair;
    (void)state;

    open_pair(&pair, NULL, 0);
    assert_int_equal(accept_more(&pair), AX_TLS_WANTS_READ);
    shutdown(pair.client_fd, SHUT_WR);
    assert_int_equal(accept_more(&pair), AX_TLS_ENDED);
    close_pair(&pair);
    open_pair(&pair, NULL, 0);
    SSL_connect(pair.client);
    assert_int_equal(accept_more(&pair), AX_TLS_WANTS_READ);
    shutdown(pair.client_fd, SHUT_WR);
    assert_int_equal(accept_more(&pair), AX_TLS_BROKEN);
    assert_contains(pair.reason, "unexpected eof");
    close_pair(&pair);
}

/* The TLS object is given the first bytes, and reads the others itself. */
static void test_the_first_bytes_may_have_been_read_before(void **state)
{
    unsigned char hello[AX_TLS_RECORD_MAX];
    (void)state;

    for (size_t left = 0; left < 3; left++) {
        struct ax_tls_context *context = make_context();
        struct pair pair;
        ssize_t size;

        open_pair(&pair, &client, 0);
        pair.server->methods->free(pair.server);
        SSL_connect(pair.client);
        size = recv(pair.server_fd, hello, sizeof hello, MSG_PEEK);
        assert_true(size > 3);
        assert_int_equal(recv(pair.server_fd, hello, (size_t)size - left, 0), (size_t)size - left);
        pair.server = crypto->tls_new(context, pair.server_fd, hello, (size_t)size - left);
        assert_non_null(pair.server);
        memset(hello, 0, sizeof hello);
        crypto->context_free(context);
        assert_int_equal(shake_hands(&pair), AX_TLS_OK);
        close_pair(&pair);
    }
}

static void test_garbage_and_an_end_after_the_first_bytes_are_told(void **state)
{
    static const char begun[] = "\x16\x03\x01\x02";
    struct ax_tls_context *context = make_context();
    struct pair pair;
    (void)state;

    open_pair(&pair, NULL, 0);
    pair.server->methods->free(pair.server);
    pair.server = crypto->tls_new(context, pair.server_fd, begun, strlen(begun));
    assert_int_equal(accept_more(&pair), AX_TLS_WANTS_READ);
    shutdown(pair.client_fd, SHUT_WR);
    assert_int_equal(accept_more(&pair), AX_TLS_BROKEN);
    assert_contains(pair.reason, "unexpected eof");
    close_pair(&pair);
    open_pair(&pair, NULL, 0);
    pair.server->methods->free(pair.server);
    pair.server = crypto->tls_new(context, pair.server_fd, "\x16\x03\x01\xff\xff.", 6);
    assert_int_equal(accept_more(&pair), AX_TLS_BROKEN);
    assert_contains(pair.reason, "TLS failed: ");
    close_pair(&pair);
    crypto->context_free(context);
}

/* A resumed session would present no certificate. */
static void test_no_session_can_be_resumed(void **state)
{
    struct pair pair;
    char byte;
    (void)state;

    open_secured(&pair, &client);
    assert_true(SSL_read(pair.client, &byte, 1) < 0); /* tickets would arrive here */
    assert_false(SSL_SESSION_is_resumable(SSL_get_session(pair.client)));
    close_pair(&pair);
}

/* ---- bytes ---- */

static void check_carries(struct pair *pair, size_t size)
{
    unsigned char sent[100], got[AX_TLS_RECORD_MAX];
    enum ax_tls_result result;
    size_t done = 0;

    assert_true(size <= sizeof sent);
    memset(sent, (int)size, size);
    assert_int_equal(SSL_write(pair->client, sent, (int)size), (int)size);
    while ((result = pair->server->methods->read(pair->server, got, sizeof got, &done)) == AX_TLS_WANTS_READ)
        continue; /* past records without data */
    assert_int_equal(result, AX_TLS_OK);
    assert_int_equal(done, size);
    assert_memory_equal(got, sent, size);
    assert_int_equal(pair->server->methods->write(pair->server, sent, size, &done), AX_TLS_OK);
    assert_int_equal(done, size);
    assert_int_equal(SSL_read(pair->client, got, sizeof got), (int)size);
    assert_memory_equal(got, sent, size);
}

static void test_carries_bytes(void **state)
{
    struct pair pair;
    unsigned char got[AX_TLS_RECORD_MAX];
    size_t done;
    (void)state;

    open_secured(&pair, &client);
    check_carries(&pair, 1);
    check_carries(&pair, 100);
    assert_int_equal(pair.server->methods->read(pair.server, got, sizeof got, &done), AX_TLS_WANTS_READ);
    close_pair(&pair);
}

static void test_keys_may_be_updated(void **state)
{
    struct pair pair;
    (void)state;

    open_secured(&pair, &client);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(pair.client, SSL_KEY_UPDATE_REQUESTED), 1);
        check_carries(&pair, 50);
    }
    close_pair(&pair);
}

/* Each costs more to process than to send, and a peer may send them without end. */
static void test_a_read_ends_although_keys_are_updated_on_and_on(void **state)
{
    struct pair pair;
    unsigned char got[AX_TLS_RECORD_MAX];
    size_t done;
    int waiting = 0;
    (void)state;

    open_secured(&pair, &client);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(SSL_key_update(pair.client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(pair.client), 1);
    }
    assert_int_equal(pair.server->methods->read(pair.server, got, sizeof got, &done), AX_TLS_WANTS_READ);
    assert_int_equal(ioctl(pair.server_fd, FIONREAD, &waiting), 0);
    assert_true(waiting > 0);
    check_carries(&pair, 50);
    close_pair(&pair);
}

/* Writes until the socket is full; the peer gets all of it once it reads. */
static void test_what_does_not_fit_is_written_later_from_anywhere(void **state)
{
    static unsigned char bytes[4 * 1024 * 1024];
    static unsigned char elsewhere[sizeof bytes];
    unsigned char got[AX_TLS_RECORD_MAX];
    struct pair pair;
    size_t written = 0, received = 0;
    (void)state;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = elsewhere[i] = (unsigned char)(i * 31 + i / 256);
    open_secured(&pair, &client);
    while (received < sizeof bytes) {
        const unsigned char *from = written % 2 == 0 ? bytes : elsewhere;
        size_t done = 0;
        int size;

        if (written < sizeof bytes &&
            pair.server->methods->write(pair.server, from + written, sizeof bytes - written, &done) == AX_TLS_OK) {
            written += done;
            continue;
        }
        while ((size = SSL_read(pair.client, got, sizeof got)) > 0) {
            assert_memory_equal(got, bytes + received, (size_t)size);
            received += (size_t)size;
        }
    }
    close_pair(&pair);
}

/* ---- ends ---- */

static enum ax_tls_result read_once(struct pair *pair)
{
    unsigned char got[AX_TLS_RECORD_MAX];
    size_t done;

    return pair->server->methods->read(pair->server, got, sizeof got, &done);
}

static void test_an_end_is_an_end_however_it_comes(void **state)
{
    struct pair pair;
    (void)state;

    open_secured(&pair, &client);
    SSL_shutdown(pair.client);
    assert_int_equal(read_once(&pair), AX_TLS_ENDED);
    close_pair(&pair);
    open_secured(&pair, &client);
    shutdown(pair.client_fd, SHUT_WR);
    assert_int_equal(read_once(&pair), AX_TLS_ENDED);
    assert_int_equal(read_once(&pair), AX_TLS_BROKEN);
    close_pair(&pair);
}

static void test_what_was_said_before_a_hangup_can_be_read_after_a_write_failed(void **state)
{
    struct pair pair;
    size_t done;
    (void)state;

    open_secured(&pair, &client);
    assert_int_equal(SSL_write(pair.client, "bye", 3), 3);
    shutdown(pair.client_fd, SHUT_RDWR);
    assert_int_equal(pair.server->methods->write(pair.server, "x", 1, &done), AX_TLS_BROKEN);
    assert_int_equal(read_once(&pair), AX_TLS_OK);
    assert_int_equal(read_once(&pair), AX_TLS_ENDED);
    close_pair(&pair);
}

static void test_the_peer_is_told_of_the_end(void **state)
{
    struct pair pair;
    char byte;
    int returned;
    (void)state;

    open_secured(&pair, &client);
    pair.server->methods->end(pair.server);
    returned = SSL_read(pair.client, &byte, 1);
    assert_int_equal(SSL_get_error(pair.client, returned), SSL_ERROR_ZERO_RETURN);
    close_pair(&pair);
}

static void test_bytes_that_are_changed_break_it(void **state)
{
    struct pair pair;
    unsigned char record[100];
    ssize_t size;
    size_t done;
    int between[2];
    (void)state;

    open_secured(&pair, &client);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, between), 0);
    SSL_set_fd(pair.client, between[0]);
    assert_int_equal(SSL_write(pair.client, "secret", 6), 6);
    size = read(between[1], record, sizeof record);
    assert_true(size > 6);
    record[size - 1] ^= 1;
    assert_int_equal(write(pair.client_fd, record, (size_t)size), size);
    assert_int_equal(read_once(&pair), AX_TLS_BROKEN);
    assert_int_equal(pair.server->methods->write(pair.server, "x", 1, &done), AX_TLS_BROKEN);
    pair.server->methods->end(pair.server); /* which has no effect */
    close(between[0]);
    close(between[1]);
    close_pair(&pair);
}

/* ---- names ---- */

static void add_name(void *arg, enum ax_tls_name_kind kind, const char *name)
{
    char *text = arg;

    snprintf(text + strlen(text), 200 - strlen(text), "%c=%s ", "DUEC"[kind], name);
}

static void check_names(struct certificate_request request, const char *expected)
{
    struct holder holder;
    struct pair pair;
    char names[200] = "";

    request.lasts = 1;
    holder_issue(&holder, &authority, &request);
    open_secured(&pair, &holder);
    pair.server->methods->tell_names(pair.server, add_name, names);
    assert_string_equal(names, expected);
    close_pair(&pair);
    holder_fini(&holder);
}

static void test_tells_names(void **state)
{
    (void)state;
    check_names((struct certificate_request){.name = "alice"}, "C=alice ");
    check_names((struct certificate_request){.name = "ålice"}, "C=ålice ");
    check_names((struct certificate_request){.name = "alice",
                                             .alternatives = "DNS:a.example,email:b@example,URI:spiffe://c,DNS:d"},
                "D=a.example E=b@example U=spiffe://c D=d ");
    check_names((struct certificate_request){.name = "alice", .alternatives = "IP:127.0.0.1"}, "");
    check_names((struct certificate_request){.name = "alice", .hidden = "root!.example"}, "");
    check_names((struct certificate_request){.name = "line\nbreak"}, "");
    check_names((struct certificate_request){.name = "clear\xc2\x9b[J"}, ""); /* C1, a single byte in Latin-1 */
    check_names((struct certificate_request){.name = "next\xc2\x85line"}, "");
    check_names((struct certificate_request){.name = "separated\xe2\x80\xa8line"}, "");
    check_names((struct certificate_request){.name = "root\xe2\x80\xae.example"}, ""); /* changes direction */
    check_names((struct certificate_request){.name = "ali\xe2\x80\x8b"
                                                     "ce"},
                ""); /* invisible */
    check_names((struct certificate_request){.name = NULL}, "");
}

/* Internationalized host names are reported as in the certificate, and names in different scripts stay different. */
static void test_tells_international_names(void **state)
{
    (void)state;
    check_names((struct certificate_request){.name = "x", .alternatives = "DNS:xn--bcher-kva.example"},
                "D=xn--bcher-kva.example ");
    check_names((struct certificate_request){.name = "x", .alternatives = "DNS:XN--BCHER-KVA.example"},
                "D=XN--BCHER-KVA.example ");
    check_names((struct certificate_request){.name = "bücher.example"}, "C=bücher.example ");
    check_names((struct certificate_request){.name = "\xd0\xb0lice"}, "C=\xd0\xb0lice "); /* a Cyrillic a */
}

/* ---- contexts ---- */

static void check_context_refused(const char *cert, const char *private_key, const char *ca, const char *reason)
{
    char error[AX_ERROR_TEXT_SIZE];

    assert_null(read_context(cert, private_key, ca, error));
    assert_contains(error, reason);
}

static void test_reports_what_is_wrong_with_pem_files(void **state)
{
    char locked[PEM_MAX], others[PEM_MAX], broken[PEM_MAX], chain[3 * PEM_MAX];
    struct ax_tls_context *context;
    char error[AX_ERROR_TEXT_SIZE];
    (void)state;

    write_key(locked, &server, "passphrase");
    write_key(others, &client, NULL);
    snprintf(broken, sizeof broken, "%.200s", certificate);
    check_context_refused("", key, client_ca, "--tls-cert holds no certificate");
    check_context_refused(key, key, client_ca, "--tls-cert holds no certificate");
    check_context_refused(broken, key, client_ca, "--tls-cert holds no certificate");
    check_context_refused(certificate, "", client_ca, "--tls-key holds no private key");
    check_context_refused(certificate, locked, client_ca, "needs a passphrase");
    check_context_refused(certificate, others, client_ca, "does not belong to the certificate");
    check_context_refused(certificate, key, "", "--tls-client-ca holds no certificate");
    check_context_refused(certificate, key, broken, "--tls-client-ca cannot be used");
    snprintf(chain, sizeof chain, "%s%s", certificate, broken);
    check_context_refused(chain, key, client_ca, "--tls-cert holds no certificate");
    snprintf(chain, sizeof chain, "%s%s", certificate, client_ca);
    context = read_context(chain, key, client_ca, error);
    assert_non_null(context);
    crypto->context_free(context);
}

static void test_knows_when_its_certificate_expires(void **state)
{
    struct ax_tls_context *context = make_context();
    int64_t left = crypto->context_expiry(context) - (int64_t)time(NULL);
    (void)state;

    assert_true(left > 80000 && left <= 86401); /* time() may be in the second before */
    crypto->context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_only_certificates_of_its_authority),
        cmocka_unit_test(test_a_list_of_revoked_certificates_counts),
        cmocka_unit_test(test_reports_what_is_not_tls),
        cmocka_unit_test(test_tells_an_early_end_from_an_interrupted_handshake),
        cmocka_unit_test(test_the_first_bytes_may_have_been_read_before),
        cmocka_unit_test(test_garbage_and_an_end_after_the_first_bytes_are_told),
        cmocka_unit_test(test_no_session_can_be_resumed),
        cmocka_unit_test(test_carries_bytes),
        cmocka_unit_test(test_keys_may_be_updated),
        cmocka_unit_test(test_a_read_ends_although_keys_are_updated_on_and_on),
        cmocka_unit_test(test_what_does_not_fit_is_written_later_from_anywhere),
        cmocka_unit_test(test_an_end_is_an_end_however_it_comes),
        cmocka_unit_test(test_what_was_said_before_a_hangup_can_be_read_after_a_write_failed),
        cmocka_unit_test(test_the_peer_is_told_of_the_end),
        cmocka_unit_test(test_bytes_that_are_changed_break_it),
        cmocka_unit_test(test_tells_names),
        cmocka_unit_test(test_tells_international_names),
        cmocka_unit_test(test_reports_what_is_wrong_with_pem_files),
        cmocka_unit_test(test_knows_when_its_certificate_expires),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
