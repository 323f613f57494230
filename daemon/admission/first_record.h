/* SPDX-License-Identifier: MIT */
/*
 * The first TLS record of a peer, which holds its ClientHello: read and kept until it is complete. The state of a TLS
 * connection takes 50 kB and more, and is worth that only for a peer that has sent a whole record.
 *
 * Memory grows with what has arrived: AX_FIRST_RECORD_MAX bytes at most. Never blocks. Used in one thread.
 */
#ifndef AX_DAEMON_ADMISSION_FIRST_RECORD_H
#define AX_DAEMON_ADMISSION_FIRST_RECORD_H

#include <stddef.h>

#include "daemon/admission/tls.h"

#define AX_FIRST_RECORD_HEADER 5 /* type, version and length */
#define AX_FIRST_RECORD_MAX (AX_FIRST_RECORD_HEADER + AX_TLS_RECORD_MAX)

struct ax_first_record {
    unsigned char *bytes; /* owned; NULL if size is 0 */
    size_t size;          /* <= AX_FIRST_RECORD_MAX */
};

enum ax_first_record_result {
    /* TLS can begin with these bytes: the record is complete; or the peer has hung up, or does not speak TLS. */
    AX_FIRST_RECORD_READY,
    AX_FIRST_RECORD_WANTS_READ, /* call again when the socket is readable */
    AX_FIRST_RECORD_NOTHING,    /* the peer has hung up before sending anything */
    AX_FIRST_RECORD_FAILED,     /* errno tells why */
};

/*
 * Reads what is available of the record, and nothing behind it, into a `record` that is all zero at first. A peer that
 * does not speak TLS from its first bytes on is READY with these bytes still in the socket.
 */
enum ax_first_record_result ax_first_record_read(struct ax_first_record *record, int fd);

void ax_first_record_fini(struct ax_first_record *record);

#endif
