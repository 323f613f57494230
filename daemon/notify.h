/* SPDX-License-Identifier: MIT */
/*
 * Messages to the service manager that started acrossd: systemd's notify protocol, one datagram per message.
 *
 * Called by the supervisor in its only thread, or by a process that has no supervisor. Never blocks: when the manager's
 * queue is full, a message about the state is kept and sent before the next one; a status or watchdog message is
 * dropped, as others follow. Without NOTIFY_SOCKET in the environment all functions do nothing.
 */
#ifndef AX_DAEMON_NOTIFY_H
#define AX_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#define AX_NOTIFY_STATUS_SIZE 256 /* bytes of a status line, with the final NUL; longer ones are cut */

/*
 * Removes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from the environment, valid or not: children must not inherit
 * them. Logs errors in them. To be called before any thread is started.
 */
void ax_notify_init(void);

/* Whether there is a manager to notify. */
bool ax_notify_is_wanted(void);

/*
 * The manager restarts or kills the service without a watchdog message for this long: send them at half of it. 0: no
 * watchdog.
 */
uint64_t ax_notify_watchdog_ms(void);

/* The start, or a reload, is complete. `status` may be NULL. */
void ax_notify_ready(const char *status);

/* A reload begins; ax_notify_ready() ends it, whether it succeeded or not. */
void ax_notify_reloading(void);

/* Shutdown begins. */
void ax_notify_stopping(void);

/* One line of text, as shown by `systemctl status`; control characters become spaces. */
__attribute__((format(printf, 1, 2))) void ax_notify_status(const char *format, ...);

/* A watchdog message. No-op unless the manager asked for them. */
void ax_notify_watchdog(void);

/* Sends a raw message once: dropped if it cannot be sent. */
void ax_notify_send(const char *message);

/* Closes the socket; afterwards all functions do nothing. No-op without ax_notify_init(). */
void ax_notify_fini(void);

#endif
