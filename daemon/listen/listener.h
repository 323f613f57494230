/* SPDX-License-Identifier: MIT */
/*
 * A listening socket: opened from an address or inherited, and closed without affecting the sockets of others.
 *
 * A stale unix socket file, which no process serves, is replaced; one that is served, or a file of another type, is
 * left alone, and is an error. Two daemons that start on the same path at the same time are serialized by a lock on a
 * file `PATH.lock`, which exists only meanwhile: one of them wins, the other reports that the address is in use. At the
 * end, the socket's file is removed only if it is still the one created here; that of an inherited socket stays. An
 * abstract name has no file, and needs no lock, since the kernel gives it to one process only.
 *
 * Called by the supervisor in its only thread. Opening, before the loop runs, may block on a disk, and up to two
 * seconds on that lock. Closing does not block.
 */
#ifndef AX_DAEMON_LISTEN_LISTENER_H
#define AX_DAEMON_LISTEN_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/base/address.h"

struct ax_listener {
    struct ax_address address; /* as written, or as it could have been written; an abstract name is `@NAME` */
    struct ax_sockaddr bound;  /* the address that the socket is bound to, with the actual port */
    int fd;                    /* owned, non-blocking; -1: closed */
    dev_t device;              /* identifies the unix socket's file created here */
    ino_t inode;               /* 0: there is no file to remove, as for an abstract name */
};

/* Enough for all addresses of a name, so that none is left out. */
#define AX_LISTENERS_MAX AX_ADDRESS_RESOLVED_MAX

/* Leaves the socket's file the group that it gets on creation. */
#define AX_LISTENER_OWN_GROUP ((gid_t)-1)

enum ax_listener_result {
    AX_LISTENER_OK = 0,
    AX_LISTENER_REFUSED = -1, /* what was asked for is not allowed */
    AX_LISTENER_FAILED = -2,  /* a system call failed */
};

/*
 * Listens on everything that the address stands for: one socket, or one for each address of a host name, all on the
 * same port. Sets *count (1..AX_LISTENERS_MAX). `insecure` allows TCP addresses that are reachable from other hosts;
 * `mode` and `group` are set on a unix socket before anyone can connect. On an error nothing stays open, and `error`
 * holds a message.
 */
enum ax_listener_result ax_listener_open(struct ax_listener listeners[AX_LISTENERS_MAX], size_t *count,
                                         const struct ax_address *address, bool insecure, mode_t mode, gid_t group,
                                         char *error, size_t error_size);

/*
 * Makes a listener from a listening stream socket that this process inherited, and takes ownership of it. `is_tls`:
 * peers speak TLS, unless it is a unix socket. On an error the socket is unchanged and stays with its caller, and
 * `error` holds a message.
 */
enum ax_listener_result ax_listener_adopt(struct ax_listener *listener, int fd, bool is_tls, bool insecure, char *error,
                                          size_t error_size);

/* Closes the socket, and removes its file if that is still ours. No-op if it is closed. */
void ax_listener_close(struct ax_listener *listener);

/* `unix:PATH`, `tcp:HOST:PORT` or `tls:HOST:PORT`, with the host as written and the actual port. */
void ax_listener_format(char text[AX_ADDRESS_TEXT], const struct ax_listener *listener);

#endif
