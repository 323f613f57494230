/* SPDX-License-Identifier: MIT */
/* OpenSSL's last error, as text. */
#ifndef AX_DAEMON_ADMISSION_OPENSSL_REASON_H
#define AX_DAEMON_ADMISSION_OPENSSL_REASON_H

/* The last error of this thread in a few words: "certificate required". Static storage. */
const char *ax_openssl_reason(void);

#endif
