/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that others send over unix sockets (SCM_RIGHTS), and that nobody wants.
 *
 * Who receives them cannot but close them, which may take as long as their sender likes: the last one to close a TCP
 * socket with SO_LINGER waits for its peer. So the supervisor has them refused before they are sent.
 */
#ifndef AX_DAEMON_LISTEN_RIGHTS_H
#define AX_DAEMON_LISTEN_RIGHTS_H

#include <stdbool.h>

/*
 * From now on nobody can send descriptors to this unix socket, or to those that are accepted from it: the attempt fails
 * (EPERM). Returns whether the kernel does that: Linux 6.16 and later.
 */
bool ax_rights_refuse(int fd);

#endif
