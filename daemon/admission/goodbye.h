/* SPDX-License-Identifier: MIT */
/*
 * Tells a peer why its connection is being closed, where its protocol allows that.
 *
 * For descriptors that are about to be closed. Never blocks: a peer that does not read does not get the message.
 */
#ifndef AX_DAEMON_ADMISSION_GOODBYE_H
#define AX_DAEMON_ADMISSION_GOODBYE_H

#include <stddef.h>

/* To a peer that has sent `size` bytes of a superblock, and that has been sent nothing yet. */
void ax_goodbye_refuse(int fd, const unsigned char *superblock, size_t size, const char *reason);

/* To a peer that understands close reasons, on a stream that ends at a message boundary (ax_wire_state). */
void ax_goodbye_explain(int fd, const char *reason);

/* Sends these bytes to a peer that has sent something other than a superblock, or expects something else. */
void ax_goodbye_send(int fd, const void *bytes, size_t size);

#endif
