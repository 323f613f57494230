/* SPDX-License-Identifier: MIT */
#include "daemon/listen/rights.h"

#include <sys/socket.h>

#ifndef SO_PASSRIGHTS /* Linux 6.16; the C library's headers may be older */
#define SO_PASSRIGHTS 83
#endif

bool ax_rights_refuse(int fd)
{
    int off = 0;

    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) == 0;
}
