/* SPDX-License-Identifier: MIT */
#include "daemon/admission/openssl/names.h"

#include <stdbool.h>

#include <openssl/x509v3.h>

#include "protocol/text.h"

/*
 * Certificates can hold arbitrary bytes: allow no control or invisible characters, so that names which look the same in
 * a log mostly are the same, and no NUL that hides the rest.
 */
static bool is_plain(const unsigned char *text, int size)
{
    bool is = size > 0;

    for (int at = 0; at < size && is;)
        at += (int)ax_text_next(text + at, (size_t)(size - at), &is);
    return is;
}

static void tell(const ASN1_STRING *string, enum ax_tls_name_kind kind, ax_tls_name_fn *take, void *arg)
{
    unsigned char *text = NULL;
    int size = ASN1_STRING_to_UTF8(&text, string);

    if (size > 0 && is_plain(text, size))
        take(arg, kind, (const char *)text); /* OpenSSL terminates it with a NUL */
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

/* Of several, the last one counts: it is the most specific. */
static void tell_common_name(const X509 *certificate, ax_tls_name_fn *take, void *arg)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int last = -1;

    for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_commonName, i)) >= 0;)
        last = i;
    if (last >= 0)
        tell(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)), AX_TLS_COMMON_NAME, take, arg);
}

void ax_openssl_tell_names(const X509 *certificate, ax_tls_name_fn *take, void *arg)
{
    GENERAL_NAMES *names;

    if (X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1) < 0) {
        tell_common_name(certificate, take, arg);
        return;
    }
    names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++)
        tell_alternative(sk_GENERAL_NAME_value(names, i), take, arg);
    GENERAL_NAMES_free(names);
}
