/* SPDX-License-Identifier: MIT */
/*
 * The descriptors that a service manager starts acrossd with: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES.
 *
 * Called once by the supervisor, before any thread or process is started.
 */
#ifndef AX_DAEMON_LISTEN_INHERITED_H
#define AX_DAEMON_LISTEN_INHERITED_H

#include <stddef.h>

#define AX_INHERITED_MAX 64     /* more sockets than anybody lists in a unit */
#define AX_INHERITED_FIRST_FD 3 /* the manager's choice: those after the standard descriptors, without a gap */

struct ax_inherited {
    size_t count; /* <= AX_INHERITED_MAX */
    struct {
        int fd;           /* open and close-on-exec; the caller's */
        const char *name; /* into `names`, or "unknown" */
    } items[AX_INHERITED_MAX];
    char *names; /* owned */
};

/*
 * Takes the variables out of the environment, and lists what they tell if it is meant for this process. 0, with a count
 * of 0 when nothing was inherited; or -1 with a sentence in `error`, and nothing to be released.
 */
int ax_inherited_take(struct ax_inherited *inherited, char *error, size_t error_size);

/* Frees the names. Closes nothing. */
void ax_inherited_fini(struct ax_inherited *inherited);

#endif
