/* SPDX-License-Identifier: MIT */
/*
 * `acrossd status ADDRESS`: requests the state of a running acrossd, and prints the answer.
 *
 * Called by main() instead of everything else; needs no log and no loop. It waits for the answer for at most
 * `--timeout`.
 */
#ifndef AX_DAEMON_STATUS_STATUS_COMMAND_H
#define AX_DAEMON_STATUS_STATUS_COMMAND_H

/*
 * Takes main()'s arguments. Ignores SIGPIPE from here on. Returns the exit status: 0; 1 if there is no answer; 2 for
 * wrong usage; both with a message on standard error.
 */
int ax_status_command(int argc, char **argv);

#endif
