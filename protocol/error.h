/* SPDX-License-Identifier: MIT */
/*
 * Error codes of the protocol core, and their texts.
 *
 * Functions return 0 or one of these codes, which are negative. A code tells the cause: the peer (AX_EPROTOCOL,
 * AX_EEOF, AX_ETIMEDOUT), the machine (AX_ENOMEM), a limit (AX_EFULL, AX_ETOOLARGE) or our own caller (AX_ESTATE,
 * AX_ERANGE). ax_session_reason() has the details of an error of the peer.
 */
#ifndef AX_PROTOCOL_ERROR_H
#define AX_PROTOCOL_ERROR_H

#define AX_ERRORS(X)                                                                                                   \
    X(AX_EPROTOCOL, -1, "The peer broke the protocol")                                                                 \
    X(AX_EEOF, -2, "The peer ended the stream too early")                                                              \
    X(AX_ETIMEDOUT, -3, "The peer did not answer in time")                                                             \
    X(AX_ENOMEM, -4, "Out of memory")                                                                                  \
    X(AX_EFULL, -5, "A queue is at its limit")                                                                         \
    X(AX_ESTATE, -6, "Not possible in the current state")                                                              \
    X(AX_ERANGE, -7, "A value is out of its range")                                                                    \
    X(AX_ETOOLARGE, -8, "The message is larger than the peer takes")

enum ax_error {
#define AX_ERROR_ENUM(name, value, text) name = (value),
    AX_ERRORS(AX_ERROR_ENUM)
#undef AX_ERROR_ENUM
};

/* The text of a code; for a number that is no code, "Unknown error". Static storage. */
const char *ax_error_text(int code);

#endif
