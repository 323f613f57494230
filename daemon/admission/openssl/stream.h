/* SPDX-License-Identifier: MIT */
/* An implementation of struct ax_tls (daemon/admission/tls.h) with OpenSSL. */
#ifndef AX_DAEMON_ADMISSION_OPENSSL_STREAM_H
#define AX_DAEMON_ADMISSION_OPENSSL_STREAM_H

#include "daemon/admission/crypto.h"

struct ax_tls *ax_openssl_stream_new(struct ax_tls_context *context, int fd, const void *first, size_t first_size);

#endif
