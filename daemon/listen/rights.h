/* SPDX-License-Identifier: MIT */
/*
 * Rejects descriptors that peers send over unix sockets (SCM_RIGHTS).
 *
 * A receiver has to close them, which a sender can make block: closing the last descriptor of a TCP socket with
 * SO_LINGER waits for its peer. So the supervisor has the kernel reject them.
 */
#ifndef AX_DAEMON_LISTEN_RIGHTS_H
#define AX_DAEMON_LISTEN_RIGHTS_H

#include <stdbool.h>

/*
 * From now on sending descriptors to this unix socket, or to those accepted from it, fails with EPERM. Returns whether
 * the kernel supports that: Linux 6.16 and later.
 */
bool ax_rights_refuse(int fd);

#endif
