/* SPDX-License-Identifier: MIT */
/*
 * `acrossd status ADDRESS`: asks a running acrossd how it is, and prints the answer.
 *
 * Called by main() instead of everything else; needs no log and no loop. It waits for the answer, at most as long as
 * `--timeout` says.
 */
#ifndef AX_DAEMON_STATUS_STATUS_COMMAND_H
#define AX_DAEMON_STATUS_STATUS_COMMAND_H

/*
 * Takes main()'s arguments. Ignores SIGPIPE from here on. Returns the exit status: 0; 1 with a sentence on standard
 * error when there is no answer; 2 with one for wrong usage.
 */
int ax_status_command(int argc, char **argv);

#endif
