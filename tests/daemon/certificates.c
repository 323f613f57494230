/* SPDX-License-Identifier: MIT */
#include "certificates.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "testing.h"

#define HOUR 3600L
#define DAY (24 * HOUR)

static void add_extension(const struct holder *holder, const struct holder *authority, int kind, const char *text)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, authority->certificate, holder->certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, kind, text);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(holder->certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* A name that careless code would read only up to its NUL. */
static void add_hidden(const struct holder *holder, const char *text)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();
    char bytes[100];
    size_t size = strlen(text);

    assert_true(size < sizeof bytes);
    memcpy(bytes, text, size);
    *(char *)memchr(bytes, '!', size) = '\0';
    assert_int_equal(ASN1_STRING_set(string, bytes, (int)size), 1);
    GENERAL_NAME_set0_value(name, GEN_DNS, string);
    sk_GENERAL_NAME_push(names, name);
    assert_int_equal(X509_add1_ext_i2d(holder->certificate, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
}

static void begin(struct holder *holder, const char *name, long lasts)
{
    X509_NAME *subject;
    unsigned char serial[8];

    holder->key = EVP_EC_gen("P-256");
    holder->certificate = X509_new();
    assert_non_null(holder->key);
    subject = X509_get_subject_name(holder->certificate);
    assert_int_equal(RAND_bytes(serial, sizeof serial), 1);
    serial[0] = (serial[0] & 0x3f) | 0x40; /* neither negative nor with a leading zero, which DER does not allow */
    ASN1_STRING_set(X509_get_serialNumber(holder->certificate), serial, sizeof serial);
    X509_set_version(holder->certificate, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(holder->certificate), -HOUR);
    X509_gmtime_adj(X509_getm_notAfter(holder->certificate), lasts > 0 ? lasts * DAY : -60);
    X509_set_pubkey(holder->certificate, holder->key);
    if (name != NULL)
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
}

static void sign(const struct holder *holder, const struct holder *authority)
{
    X509_set_issuer_name(holder->certificate, X509_get_subject_name(authority->certificate));
    assert_true(X509_sign(holder->certificate, authority->key, EVP_sha256()) > 0);
}

void holder_make_authority(struct holder *authority, const char *name)
{
    begin(authority, name, 30);
    add_extension(authority, authority, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(authority, authority, NID_subject_key_identifier, "hash");
    sign(authority, authority);
}

void holder_issue(struct holder *holder, const struct holder *authority, const struct certificate_request *request)
{
    begin(holder, request->name, request->lasts);
    if (request->alternatives != NULL)
        add_extension(holder, authority, NID_subject_alt_name, request->alternatives);
    if (request->usage != NULL)
        add_extension(holder, authority, NID_ext_key_usage, request->usage);
    if (request->hidden != NULL)
        add_hidden(holder, request->hidden);
    sign(holder, authority);
}

void holder_fini(struct holder *holder)
{
    X509_free(holder->certificate);
    EVP_PKEY_free(holder->key);
}

/* ---- PEM ---- */

static void take_text(char text[PEM_MAX], BIO *bio)
{
    int size = BIO_read(bio, text, PEM_MAX - 1);

    assert_true(size > 0);
    text[size] = '\0';
    BIO_free(bio);
}

void write_certificate(char text[PEM_MAX], const struct holder *holder)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_X509(bio, holder->certificate), 1);
    take_text(text, bio);
}

void write_key(char text[PEM_MAX], const struct holder *holder, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = passphrase != NULL ? EVP_aes_128_cbc() : NULL;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, holder->key, cipher, passphrase,
                                                   passphrase != NULL ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    take_text(text, bio);
}

void write_revocation(char text[PEM_MAX], const struct holder *authority, const struct holder *revoked)
{
    X509_CRL *list = X509_CRL_new();
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -HOUR);
    ASN1_TIME *then = X509_gmtime_adj(NULL, DAY);
    BIO *bio = BIO_new(BIO_s_mem());

    X509_CRL_set_version(list, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(authority->certificate));
    X509_CRL_set1_lastUpdate(list, now);
    X509_CRL_set1_nextUpdate(list, then);
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->certificate));
    X509_REVOKED_set_revocationDate(entry, now);
    assert_int_equal(X509_CRL_add0_revoked(list, entry), 1);
    assert_true(X509_CRL_sign(list, authority->key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509_CRL(bio, list), 1);
    take_text(text, bio);
    X509_CRL_free(list);
    ASN1_TIME_free(now);
    ASN1_TIME_free(then);
}
