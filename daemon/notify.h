/* SPDX-License-Identifier: MIT */
/*
 * What acrossd tells the service manager that started it: systemd's notify protocol, one datagram for each message.
 *
 * Called by the supervisor in its only thread, or by a process that has no supervisor. Nothing here ever waits: when the
 * manager's queue is full, a message about the state is kept and goes ahead of the next one; a status or a sign of life
 * is lost, as others follow. Without NOTIFY_SOCKET in the environment all of it does nothing.
 */
#ifndef AX_DAEMON_NOTIFY_H
#define AX_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#define AX_NOTIFY_STATUS_SIZE 256 /* bytes of a status, with the final NUL: it is a line that people read; cut beyond */

/*
 * Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, whether they are of use or not: children
 * must not find them. Logs what is wrong with them. Before any thread is started.
 */
void ax_notify_init(void);

/* Whether somebody listens. */
bool ax_notify_is_wanted(void);

/* The manager ends the service when it hears no sign of life for so long: send them at half of it. 0: it does not. */
uint64_t ax_notify_watchdog_ms(void);

/* The start, or a reload, is complete. `status` may be NULL. */
void ax_notify_ready(const char *status);

/* A reload begins; ax_notify_ready() ends it, whether it succeeded or not. */
void ax_notify_reloading(void);

/* The stop begins. */
void ax_notify_stopping(void);

/* One line for people, such as `systemctl status` prints; control characters become spaces. */
__attribute__((format(printf, 1, 2))) void ax_notify_status(const char *format, ...);

/* A sign of life. Does nothing unless the manager asked for them. */
void ax_notify_watchdog(void);

/* A message as it is, once: lost when it does not get through. */
void ax_notify_send(const char *message);

/* Closes the socket; all of the above does nothing after it. Harmless without ax_notify_init(). */
void ax_notify_fini(void);

#endif
