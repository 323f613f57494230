/* SPDX-License-Identifier: MIT */
/* Starts another process of acrossd, and has the functions that each process calls first. */
#ifndef AX_DAEMON_PROCESS_PROCESS_H
#define AX_DAEMON_PROCESS_PROCESS_H

#include <sys/types.h>

#include "daemon/config/options.h"

/* Opens /dev/null for standard descriptors that are closed, so that no other file gets their numbers. */
void ax_process_open_standard_fds(void);

/* Raises the soft limit of open files as far as allowed, up to 65536. Returns the new limit. */
unsigned ax_process_raise_file_limit(void);

/*
 * Executes this executable in a new process with arguments[1..] and this environment. Only the standard descriptors
 * (standard input: /dev/null) and `control_fd` stay open; the latter becomes AX_PROCESS_CONTROL_FD. The child leads a
 * new session, so that a terminal's Ctrl-C does not reach it, and has default signal dispositions and an empty signal
 * mask. Returns its process id, or a negative errno. *pidfd is a descriptor of it, close-on-exec, to kill it and wait
 * for it.
 */
pid_t ax_process_start(const struct ax_string_list *arguments, char *const *environment, int control_fd, int *pidfd);

#define AX_PROCESS_CONTROL_FD 3

/* Has the kernel kill the calling process when its parent, at the other end of control_fd, ends. */
void ax_process_die_with_parent(int control_fd);

/*
 * Ignores SIGPIPE and SIGXFSZ: writing to a peer or log reader that has gone, or beyond a file size limit, fails with
 * an error instead.
 */
void ax_process_ignore_write_signals(void);

/* Default dispositions for all signals but those above, which Python ignores as well; none blocked. */
void ax_process_reset_signals(void);

/* Unblocks all signals: the mask may be inherited from whoever started this process. */
void ax_process_unblock_signals(void);

/*
 * Has these signals (0 ends the list) read from a descriptor, and all others unblocked: a signalfd, close-on-exec and
 * non-blocking, or -1 with errno. For a process with one thread; dead children have to be waited for.
 */
int ax_process_take_signals(const int *numbers);

/*
 * Whether the parent started this process with this signal ignored or blocked, as clients do with SIGINT, because
 * Ctrl-C at a terminal is meant for them. To be called before any other change of signals.
 */
bool ax_process_is_shielded(int number);

/* Sends a signal by a process's descriptor. 0, or a negative errno. */
int ax_process_signal(int pidfd, int number);

/* Describes a status of waitpid() for the log: "was killed by signal 9 (Killed)", "exited with status 3". */
void ax_process_describe_end(int status, char *how, size_t size);

/* Exits with this status after this time unless the process has exited before; for exits that run user code. Once. */
void ax_process_exit_within(uint32_t milliseconds, int status);

#endif
