/* SPDX-License-Identifier: MIT */
/*
 * --tls-allow-name with certificates that contain arbitrary names: exactly the names that count are reported, as text,
 * and only they grant access.
 *
 * Input: a byte of settings; then names, each a byte for its kind, one for its size, and its bytes, until a size is 0;
 * then the allowed names, until the end. Or instead of names, with a size of two bytes: the extension with alternative
 * names, or a whole certificate, as DER. That the certificate is genuine has been verified elsewhere.
 */
#include "fuzz.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "daemon/admission/identity.h"
#include "daemon/admission/openssl/names.h"
#include "protocol/text.h"

enum setting {
    EXTENSION = 1,   /* as DER */
    CERTIFICATE = 2, /* the same */
    TWICE = 4,       /* the extension occurs twice, which makes it invalid */
};

#define NAMES 512     /* inputs with more, or with longer ones, are skipped */
#define TEXT_MAX 1024 /* bytes */
#define ALLOWED_MAX 4

struct name {
    enum ax_tls_name_kind kind;
    char text[TEXT_MAX];
};

struct names {
    struct name items[NAMES];
    size_t count;
};

static struct input input;
static struct names told;
static struct names expected;
static bool has_capacity; /* for all of them */

/* Nothing here reads files. */
const struct ax_crypto *ax_crypto_load(char *error, size_t error_size)
{
    snprintf(error, error_size, "There is no library");
    return NULL;
}

/* ---- contents of a certificate ---- */

/* As text, if it is not empty and all characters are printable: most ASN.1 string types have one byte per character. */
static void expect(enum ax_tls_name_kind kind, struct input raw)
{
    struct name *name = &expected.items[expected.count];
    size_t size = 0;

    has_capacity = has_capacity && expected.count < NAMES;
    if (!has_capacity || raw.size == 0)
        return;
    for (size_t i = 0; i < raw.size; i++) {
        if (raw.data[i] < ' ' || (raw.data[i] >= 0x7f && raw.data[i] <= 0x9f) || raw.data[i] == 0xad)
            return;
        if (raw.data[i] >= 0x80)
            name->text[size++] = (char)(0xc0 | raw.data[i] >> 6);
        name->text[size++] = (char)(raw.data[i] >= 0x80 ? 0x80 | (raw.data[i] & 0x3f) : raw.data[i]);
    }
    name->text[size] = '\0';
    name->kind = kind;
    expected.count++;
}

/* An alternative name of a kind as numbered in the standard. NULL: invalid for this kind. */
static GENERAL_NAME *make_alternative(int type, struct input raw)
{
    bool is_text = type == GEN_DNS || type == GEN_URI || type == GEN_EMAIL;
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *string = ASN1_STRING_type_new(is_text ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);

    CHECK(name != NULL && string != NULL && ASN1_STRING_set(string, raw.data, (int)raw.size) == 1);
    GENERAL_NAME_set0_value(name, is_text ? type : GEN_IPADD, string);
    if (type == GEN_DNS)
        expect(AX_TLS_DNS, raw);
    else if (type == GEN_URI)
        expect(AX_TLS_URI, raw);
    else if (type == GEN_EMAIL)
        expect(AX_TLS_EMAIL, raw);
    return name;
}

/* The last one counts, whatever its string type. */
static void add_common_name(X509 *certificate, unsigned kind, struct input raw, struct input *last, bool *is_plain)
{
    static const int types[] = {V_ASN1_PRINTABLESTRING, V_ASN1_IA5STRING,       V_ASN1_T61STRING,   V_ASN1_UTF8STRING,
                                V_ASN1_BMPSTRING,       V_ASN1_UNIVERSALSTRING, V_ASN1_OCTET_STRING};
    static const int nids[] = {NID_commonName, NID_commonName, NID_organizationName};
    X509_NAME *subject = X509_get_subject_name(certificate);
    int nid = nids[kind / 8 % 3];

    if (X509_NAME_add_entry_by_NID(subject, nid, types[kind % 7], raw.data, (int)raw.size, -1, 0) != 1 ||
        nid != NID_commonName) /* OpenSSL rejects names with an incomplete character */
        return;
    *last = raw;
    *is_plain = kind % 7 < 3;
}

static void add_extension(X509 *certificate, const GENERAL_NAMES *names, bool is_twice)
{
    for (int i = 0; i < 1 + is_twice; i++)
        CHECK(X509_add1_ext_i2d(certificate, NID_subject_alt_name, (void *)(uintptr_t)names, 0, X509V3_ADD_APPEND) ==
              1);
    if (is_twice)
        expected.count = 0;
}

/* A name from the input. */
static bool take_name(unsigned *kind, struct input *raw)
{
    *kind = take_byte(&input);
    *raw = take_bytes(&input, take_byte(&input));
    return raw->size > 0;
}

static struct input take_block(void)
{
    size_t size = take_byte(&input) * 256u;

    return take_bytes(&input, size + take_byte(&input));
}

static void fill_with_der(X509 *certificate)
{
    struct input der = take_block();
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension;

    CHECK(value != NULL && ASN1_OCTET_STRING_set(value, der.data, (int)der.size) == 1);
    extension = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, value);
    CHECK(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
}

/* Fills in names, and expects them. Returns whether these are all that is to be expected. */
static bool fill(X509 *certificate, unsigned settings)
{
    static const int types[] = {GEN_DNS, GEN_URI, GEN_EMAIL, GEN_IPADD};
    GENERAL_NAMES *names = NULL;
    struct input raw, common_name = {0};
    bool is_plain = true;
    unsigned kind;

    while (take_name(&kind, &raw)) {
        if (kind >= 128) {
            add_common_name(certificate, kind, raw, &common_name, &is_plain);
            continue;
        }
        if (names == NULL)
            CHECK((names = GENERAL_NAMES_new()) != NULL);
        CHECK(sk_GENERAL_NAME_push(names, make_alternative(types[kind % 4], raw)) > 0);
    }
    if (names != NULL)
        add_extension(certificate, names, settings & TWICE);
    else
        expect(AX_TLS_COMMON_NAME, common_name);
    is_plain = is_plain || names != NULL;
    GENERAL_NAMES_free(names);
    if ((settings & EXTENSION) != 0)
        fill_with_der(certificate);
    return is_plain && (settings & EXTENSION) == 0;
}

/* NULL: invalid. */
static X509 *parse(void)
{
    struct input der = take_block();
    const unsigned char *begin = der.data;

    return d2i_X509(NULL, &begin, (long)der.size);
}

/* ---- what is reported ---- */

static void on_name(void *arg, enum ax_tls_name_kind kind, const char *text)
{
    struct name *name = &told.items[told.count];
    char harmless[8 * TEXT_MAX];

    CHECK(arg == &told && text[0] != '\0');
    ax_text_copy(harmless, sizeof harmless, text, strlen(text));
    CHECK(strlen(harmless) < sizeof harmless - 4); /* not truncated */
    CHECK(strcmp(harmless, text) == 0);            /* UTF-8, without control characters */
    has_capacity = has_capacity && told.count < NAMES && strlen(text) < TEXT_MAX;
    if (!has_capacity)
        return;
    name->kind = kind;
    strcpy(name->text, text);
    told.count++;
}

static void check_told(bool is_all)
{
    for (size_t i = 0; is_all && i < told.count; i++)
        CHECK(i < expected.count && told.items[i].kind == expected.items[i].kind &&
              strcmp(told.items[i].text, expected.items[i].text) == 0);
    CHECK(!is_all || told.count == expected.count);
}

/* A common name counts only if there are no alternative names, not even of kinds that are ignored. */
static void check_kinds(const X509 *certificate)
{
    bool has_alternatives = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1) >= 0;

    for (size_t i = 0; i < told.count; i++)
        CHECK((told.items[i].kind == AX_TLS_COMMON_NAME) == !has_alternatives);
    CHECK(has_alternatives || told.count <= 1);
}

/* ---- access ---- */

static X509 *certificate;

static void tell_names(struct ax_tls *tls, ax_tls_name_fn *take, void *arg)
{
    (void)tls;
    ax_openssl_tell_names(certificate, take, arg);
}

/* A name from the input, or one of the certificate's, maybe with a letter in another case, or without its end. */
static void allow_one(struct ax_identity *identity)
{
    unsigned how = take_byte(&input);
    struct input raw = take_bytes(&input, how % 2 == 0 ? take_byte(&input) % 64 : 0);
    char text[TEXT_MAX] = "";

    if (raw.size > 0)
        memcpy(text, raw.data, raw.size);
    else if (told.count > 0)
        strcpy(text, told.items[how / 8 % told.count].text);
    if (how % 8 == 3)
        text[strlen(text) / 2] ^= 0x20;
    if (how % 8 == 5 && text[0] != '\0')
        text[strlen(text) - 1] = '\0';
    if (text[0] != '\0')
        CHECK(ax_string_list_add(&identity->allowed, text) == 0);
}

static bool is_same(const char *left, const char *right, bool in_capitals_too)
{
    while (*left != '\0' || *right != '\0') {
        unsigned char one = (unsigned char)*left++;
        unsigned char two = (unsigned char)*right++;

        if (in_capitals_too && one >= 'A' && one <= 'Z')
            one = (unsigned char)(one + 'a' - 'A');
        if (in_capitals_too && two >= 'A' && two <= 'Z')
            two = (unsigned char)(two + 'a' - 'A');
        if (one != two)
            return false;
    }
    return true;
}

/* As in docs/tls.md: whole names, each in the form of its kind. */
static bool is_let_in_by(const struct name *name, const char *allowed)
{
    bool has_at = strchr(name->text, '@') != NULL;
    bool has_colon = strchr(name->text, ':') != NULL;

    if ((name->kind == AX_TLS_DNS && (has_at || has_colon)) || (name->kind == AX_TLS_EMAIL && !has_at) ||
        (name->kind == AX_TLS_URI && !has_colon))
        return false;
    return is_same(name->text, allowed, name->kind == AX_TLS_DNS);
}

static const struct name *find_let_in(const struct ax_string_list *allowed)
{
    for (size_t i = 0; i < told.count; i++)
        for (size_t j = 0; j < allowed->count; j++)
            if (is_let_in_by(&told.items[i], allowed->items[j]))
                return &told.items[i];
    return NULL;
}

static void check_admission(const struct ax_identity *identity)
{
    static const struct ax_tls_methods methods = {.tell_names = tell_names};
    struct ax_tls tls = {&methods};
    char shown[AX_IDENTITY_NAME];
    const struct name *name = find_let_in(&identity->allowed);
    bool is_admitted = ax_identity_admits(identity, &tls, shown);

    CHECK(memchr(shown, '\0', sizeof shown) != NULL);
    CHECK(is_admitted == (name != NULL || identity->allowed.count == 0));
    if (name != NULL)
        CHECK(strncmp(shown, name->text, sizeof shown - 1) == 0);
}

static void admit(void)
{
    struct ax_identity identity = {0};

    check_admission(&identity);
    for (int i = 0; i < ALLOWED_MAX && input.size > 0; i++) {
        allow_one(&identity);
        check_admission(&identity);
    }
    ax_string_list_fini(&identity.allowed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool is_all = false;
    unsigned settings;

    input = (struct input){data, size};
    settings = take_byte(&input);
    told.count = expected.count = 0;
    has_capacity = true;
    certificate = (settings & CERTIFICATE) != 0 ? parse() : X509_new();
    if (certificate != NULL && (settings & CERTIFICATE) == 0)
        is_all = fill(certificate, settings);
    if (certificate != NULL)
        ax_openssl_tell_names(certificate, on_name, &told);
    if (certificate != NULL && has_capacity) {
        check_told(is_all);
        check_kinds(certificate);
        admit();
    }
    X509_free(certificate);
    ERR_clear_error();
    return 0;
}
