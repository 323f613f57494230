/* SPDX-License-Identifier: MIT */
/* What OpenSSL says of its last error, for people. */
#ifndef AX_DAEMON_ADMISSION_OPENSSL_REASON_H
#define AX_DAEMON_ADMISSION_OPENSSL_REASON_H

/* The last error of this thread, as a few words: "certificate required". Valid as long as the library. */
const char *ax_openssl_reason(void);

#endif
