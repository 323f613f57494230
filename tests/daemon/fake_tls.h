/* SPDX-License-Identifier: MIT */
/*
 * A struct ax_tls without cryptography: bytes are sent unchanged. Its handshake is one byte of the peer: 'T', or any
 * other one, which makes it fail.
 */
#ifndef AX_TESTS_DAEMON_FAKE_TLS_H
#define AX_TESTS_DAEMON_FAKE_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/tls.h"

struct fake_tls {
    struct ax_tls base;
    int fd;                   /* borrowed */
    bool is_broken;           /* from now on every call fails */
    bool cannot_write;        /* ... only reading works */
    bool has_ended;           /* end() was called */
    bool has_answered;        /* the first message of the peer */
    bool is_free;             /* free() was called */
    bool has_first;           /* a first record was read before: it counts as 'T' */
    const char *const *names; /* of its certificate: a kind's letter and a name, like "Dexample.org" */
    size_t name_count;
};

void fake_tls_init(struct fake_tls *fake, int fd);

#endif
