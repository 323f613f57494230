/* SPDX-License-Identifier: MIT */
/* The names in a certificate: tell_names() of struct ax_tls_methods. */
#ifndef AX_DAEMON_ADMISSION_OPENSSL_NAMES_H
#define AX_DAEMON_ADMISSION_OPENSSL_NAMES_H

#include <openssl/x509.h>

#include "daemon/admission/tls.h"

void ax_openssl_tell_names(const X509 *certificate, ax_tls_name_fn *take, void *arg);

#endif
