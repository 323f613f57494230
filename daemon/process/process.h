/* SPDX-License-Identifier: MIT */
/* Starting a process of acrossd from another one, and what each does first. */
#ifndef AX_DAEMON_PROCESS_PROCESS_H
#define AX_DAEMON_PROCESS_PROCESS_H

#include <sys/types.h>

#include "daemon/config/options.h"

/* Opens /dev/null in place of standard descriptors that are closed, so that no other file gets their numbers. */
void ax_process_open_standard_fds(void);

/* Allows as many open files as the system lets this process have, up to 65536. Returns how many that is. */
unsigned ax_process_raise_file_limit(void);

/*
 * Starts the own executable anew, with arguments[1..], this environment, and nothing open but the standard descriptors (standard input:
 * /dev/null) and `control_fd`, which becomes AX_PROCESS_CONTROL_FD there. It leads a new session, so that a
 * terminal's Ctrl-C does not reach it, and has default signal dispositions and an empty signal mask. The child's process id, or a negative errno. *pidfd is a descriptor of it, close-on-exec;
 * kill and wait by it.
 */
pid_t ax_process_start(const struct ax_string_list *arguments, char *const *environment, int control_fd, int *pidfd);

#define AX_PROCESS_CONTROL_FD 3

/* The calling process is killed when its parent ends, which is at the other end of control_fd. */
void ax_process_die_with_parent(int control_fd);

/* A peer or a reader of the log that has gone, or a file that is too large, is an error of a write, and no signal. */
void ax_process_ignore_write_signals(void);

/* Default dispositions for all signals but those above, which every Python ignores; and none blocked. */
void ax_process_reset_signals(void);

/* Whoever started this process may have blocked signals, which is inherited: from now on none is. */
void ax_process_unblock_signals(void);

/*
 * Has these signals (0 ends the list) read from a descriptor instead of delivered, and no others blocked: a signalfd,
 * close-on-exec and non-blocking, or -1 with errno. For a process of one thread; dead children are to be waited for.
 */
int ax_process_take_signals(const int *numbers);

/*
 * Whether whoever started this process keeps a signal from it, by ignoring or blocking it: a client does so with SIGINT, as
 * Ctrl-C at its terminal is meant for itself. To be asked before anything is done about signals.
 */
bool ax_process_is_shielded(int number);

/* Sends a signal by a process's descriptor. 0, or a negative errno. */
int ax_process_signal(int pidfd, int number);

/* What waitpid() says, for the log: "was killed by signal 9 (Killed)", "exited with status 3". */
void ax_process_describe_end(int status, char *how, size_t size);

/* Ends the process with this status when it has not ended by itself before; for ends of other people's code. Once. */
void ax_process_exit_within(uint32_t milliseconds, int status);

#endif
