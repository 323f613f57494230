/* SPDX-License-Identifier: MIT */
/*
 * What the processes of one run have in common: a file that each of them maps, and that the driver reads and writes,
 * too (ledger.py has the same layout). In it stands which call is to fail, what was called from where and how often,
 * and what the processes had left when they ended.
 *
 * A *site* is one place of our own code in one role of process: the function that is called there, and the functions of
 * ours that led to it. A *point* is the n-th call at a site, failing with one of the function's errors.
 */
#ifndef AX_TESTS_TORTURE_LEDGER_H
#define AX_TESTS_TORTURE_LEDGER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_VARIABLE "AX_TORTURE_LEDGER" /* names the file */
#define LEDGER_MAGIC 0x544f5254u

#define LEDGER_SITES 4096u /* a scenario has some hundreds; a power of two */
#define LEDGER_FRAMES 6u   /* tells apart who calls what everybody calls */
#define LEDGER_ROLES 8u

enum role {
    ROLE_OTHER, /* not ours, like a command that the client starts: nothing is counted, and nothing fails */
    ROLE_SUPERVISOR,
    ROLE_ZYGOTE,
    ROLE_KEEPER,
    ROLE_WORKER,
    ROLE_STDIO,
    ROLE_STATUS,
    ROLE_CLIENT,
};

struct site {
    _Atomic uint64_t key; /* 0: free */
    uint32_t role;
    uint32_t function;
    uint32_t errors;                /* a bit for each of the function's errors that it may have here */
    _Atomic uint32_t calls;         /* by all processes of this role */
    _Atomic uint32_t live;          /* the most blocks of a process that were not freed when it exited in order */
    uint32_t unused;                /* keeps what follows aligned */
    uint64_t frames[LEDGER_FRAMES]; /* the innermost first: module << 48 | offset in it; 0: none */
};

struct ended {
    _Atomic uint32_t processes; /* that exited in order */
    _Atomic uint32_t files;     /* descriptors that these had open */
};

struct ledger {
    uint32_t magic;
    /* Which call fails, once. Written by the driver before the run. */
    uint32_t target_call; /* from 1 on; 0: none fails */
    uint64_t target_key;
    uint32_t target_error;
    /* What came of it. */
    _Atomic uint32_t fired; /* the process in which it failed */
    _Atomic uint32_t crash; /* a signal that somebody died of by a fault of its own */
    _Atomic uint32_t crash_role;
    _Atomic uint32_t lost; /* calls that could not be counted: the ledger is full */
    uint32_t unused;
    struct ended ended[LEDGER_ROLES];
    struct site sites[LEDGER_SITES];
};

/* Maps the file that the environment names, once. NULL when there is none: then nothing is to be counted. */
struct ledger *ledger_open(void);

/* The site with these frames, entered if it is new. NULL: the ledger is full. */
struct site *ledger_site(struct ledger *ledger, enum role role, uint32_t function,
                         const uint64_t frames[LEDGER_FRAMES]);

/* Counts one call; returns which of the function's errors it is to have, or -1. */
int ledger_count(struct ledger *ledger, struct site *site, uint32_t errors);

#endif
