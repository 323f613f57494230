/* SPDX-License-Identifier: MIT */
/*
 * The last words to a peer whose connection ends here: why, where its protocol has a place for that.
 *
 * For descriptors that are about to be closed. Nothing waits: a peer that does not read goes without.
 */
#ifndef AX_DAEMON_ADMISSION_GOODBYE_H
#define AX_DAEMON_ADMISSION_GOODBYE_H

#include <stddef.h>

/* To a peer that has sent this much of a superblock, and nothing has been sent to. */
void ax_goodbye_refuse(int fd, const unsigned char *superblock, size_t size, const char *reason);

/* To a peer that understands reasons, on a stream where all messages are whole (embed/tally.h). */
void ax_goodbye_explain(int fd, const char *reason);

/* These bytes, to a peer that has said something else than a superblock, or waits for something else. */
void ax_goodbye_send(int fd, const void *bytes, size_t size);

#endif
