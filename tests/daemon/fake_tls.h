/* SPDX-License-Identifier: MIT */
/*
 * A struct ax_tls without cryptography: bytes go over its socket as they are. Its handshake is one byte of the peer, a 'T',
 * or any other one, which breaks it.
 */
#ifndef AX_TESTS_DAEMON_FAKE_TLS_H
#define AX_TESTS_DAEMON_FAKE_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/admission/tls.h"

struct fake_tls {
    struct ax_tls base;
    int fd;                   /* borrowed */
    bool is_broken;           /* from now on nothing works */
    bool cannot_write;        /* ... nothing but reading */
    bool has_ended;           /* end() was called */
    bool has_answered;        /* the first message of the peer */
    bool is_free;             /* so was free() */
    const char *const *names; /* of its certificate: a kind's letter and a name, like "Dexample.org" */
    size_t name_count;
};

void fake_tls_init(struct fake_tls *fake, int fd);

#endif
