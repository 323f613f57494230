/* SPDX-License-Identifier: MIT */
/*
 * The descriptors that a service manager passes to acrossd: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES.
 *
 * Called once by the supervisor, before any thread or process is started.
 */
#ifndef AX_DAEMON_LISTEN_INHERITED_H
#define AX_DAEMON_LISTEN_INHERITED_H

#include <stddef.h>

#define AX_INHERITED_MAX 64     /* more sockets than a unit lists */
#define AX_INHERITED_FIRST_FD 3 /* defined by the protocol: directly after the standard descriptors */

struct ax_inherited {
    size_t count; /* <= AX_INHERITED_MAX */
    struct {
        int fd;           /* open and close-on-exec; the caller's */
        const char *name; /* into `names`, or "unknown" */
    } items[AX_INHERITED_MAX];
    char *names; /* owned */
};

/*
 * Removes the variables from the environment, and lists the descriptors if they are meant for this process. 0, with a
 * count of 0 if nothing was inherited; or -1 with a message in `error`, and nothing to release.
 */
int ax_inherited_take(struct ax_inherited *inherited, char *error, size_t error_size);

/* Frees the names. Closes nothing. */
void ax_inherited_fini(struct ax_inherited *inherited);

#endif
