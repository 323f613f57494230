/* SPDX-License-Identifier: MIT */
/* A running acrossd_echo (echo_host.c): started with any arguments, watched by its standard error, and waited for. */
#ifndef AX_TESTS_DAEMON_PROGRAM_H
#define AX_TESTS_DAEMON_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

#define PROGRAM_ARGUMENTS 16

struct program {
    pid_t pid;
    int in;         /* its standard input; -1: closed */
    int out;        /* its standard output; equal to `in` for a socket */
    int err;        /* its standard error */
    char log[8192]; /* what it has written to standard error so far */
    size_t log_size;
};

/* How standard input and output are connected. */
enum program_wiring { WITH_PIPES, WITH_SOCKET, WITH_NULL };

/* Called in the process before it executes the program; NULL: nothing. For the next program_start(). */
extern void (*program_prepare)(void);

/* Starts it with these words; the last one is NULL. */
void program_start(struct program *program, enum program_wiring wiring, const char *const *words);

/* Reads standard error until it contains this text. */
void program_await(struct program *program, const char *text);

void program_signal(const struct program *program, int number);

void program_close_input(struct program *program);

/* Waits for its end and reads the rest of its standard error. Its exit status, or 128 and a signal's number. */
int program_wait(struct program *program);

#endif
