/* SPDX-License-Identifier: MIT */
/*
 * A listening socket: opened from an address or inherited, and taken back without harming others' sockets.
 *
 * A file of a unix socket that nobody serves any more is replaced; one that is served, or a file of another kind, is
 * left alone, and is an error. Two daemons that start at the same time on one path are kept apart by a lock on a file
 * `PATH.lock`, which is there only meanwhile: one of them wins, the other says that the address is in use. The socket's
 * file is removed at the end only if it is still the one made here; that of an inherited socket stays. An abstract name
 * has no file, and no lock, as the kernel gives it to one only.
 *
 * Called by the supervisor in its only thread. Opening is for the time before its loop runs: it may wait for a disk, and
 * two seconds for that lock. Closing does not wait.
 */
#ifndef AX_DAEMON_LISTEN_LISTENER_H
#define AX_DAEMON_LISTEN_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/base/address.h"

struct ax_listener {
    struct ax_address address; /* as it was written, or as it could have been; an abstract name is `@NAME` */
    struct ax_sockaddr bound;  /* what the socket is bound to; its port is the real one */
    int fd;                    /* owned, non-blocking; -1: closed */
    dev_t device;              /* of a unix socket's file that was made here, to know it again */
    ino_t inode;               /* 0: there is none to remove, as for an abstract name */
};

/* A bound that keeps a name with many addresses from being listened on in part. */
#define AX_LISTENERS_MAX AX_ADDRESS_RESOLVED_MAX

/* The file keeps the group that it gets by itself. */
#define AX_LISTENER_OWN_GROUP ((gid_t)-1)

enum ax_listener_result {
    AX_LISTENER_OK = 0,
    AX_LISTENER_REFUSED = -1, /* what was asked for is not allowed */
    AX_LISTENER_FAILED = -2,  /* it did not work */
};

/*
 * Listens on everything that the address means: one socket, or one for each address of a host's name, all on the same
 * port. Sets *count (1..AX_LISTENERS_MAX). `insecure` allows TCP addresses that other hosts can reach; `mode` are the
 * permissions and `group` is the group of a unix socket, which has both before anybody can connect. On an error
 * nothing stays open, and `error` holds a sentence.
 */
enum ax_listener_result ax_listener_open(struct ax_listener listeners[AX_LISTENERS_MAX], size_t *count,
                                         const struct ax_address *address, bool insecure, mode_t mode, gid_t group,
                                         char *error, size_t error_size);

/*
 * Makes a listener of a listening stream socket that this process was started with, and takes it over. `is_tls`: TLS is
 * spoken there, unless it is a unix socket. On an error it stays as it was and with its caller, and `error` holds a
 * sentence.
 */
enum ax_listener_result ax_listener_adopt(struct ax_listener *listener, int fd, bool is_tls, bool insecure, char *error,
                                          size_t error_size);

/* Closes the socket, and removes its file if it still is ours. Harmless when it is closed. */
void ax_listener_close(struct ax_listener *listener);

/* `unix:PATH`, `tcp:HOST:PORT` or `tls:HOST:PORT`, with the host as it was written and the real port. */
void ax_listener_format(char text[AX_ADDRESS_TEXT], const struct ax_listener *listener);

#endif
