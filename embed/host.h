/* SPDX-License-Identifier: MIT */
/*
 * What a process of acrossd needs from the engine: an interpreter, and connections that run in it.
 *
 * A process starts the interpreter once (ax_host_init, in its main thread, while it has no other), may fork while it is
 * still single-threaded (ax_host_fork: this is what a zygote does), and then adds connections. Adding, counting and
 * stopping never wait for the GIL: they work while every call is stuck. Thread-safe from ax_host_init on, except where
 * noted.
 */
#ifndef AX_EMBED_HOST_H
#define AX_EMBED_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "embed/call_stats.h"

struct ax_host_config {
    const char *python;            /* the interpreter whose prefix and packages are used: its executable, or a venv's */
    const char *package_dir;       /* folder that holds the package `across`; goes first on sys.path */
    const char *const *preload;    /* modules to import; NULL-terminated, or NULL */
    bool accept_exports;           /* peers may export modules to this process: it is the worker of one of them */
    bool forks;                    /* workers are forked from this process: its memory is prepared to be shared */
    uint32_t timeout_ms;           /* of each connection; 0: none */
    uint32_t handshake_timeout_ms; /* of each connection; 0: none */
    uint64_t max_message;          /* bytes of an incoming message; 0: the default of protocol/session.c */
    uint32_t spin_us;              /* for how long a thread that waits polls before it sleeps (spin.h); 0: never */
    uint32_t max_threads;          /* threads that run calls, in this process; 0: the default of embed/executor.h */
    /* A call has run out of memory: called with the GIL, may end the process. NULL: its peer gets the MemoryError. */
    void (*out_of_memory)(void);
    /* Takes a sentence for the log, while the interpreter starts. NULL: nobody is interested. */
    void (*warn)(const char *sentence);
};

/*
 * Starts the interpreter and imports across and the preload modules. Main thread, no other threads. On return the
 * calling thread does not hold the GIL. 0, or -1 after printing what went wrong, with a traceback, on standard error.
 */
int ax_host_init(const struct ax_host_config *config);

/*
 * fork() with Python's own fork hooks around it, and random generators that differ from the parent's in the child. Only
 * before the first connection is added; main thread. The child calls `first` before any hook, which may be user code.
 */
pid_t ax_host_fork(void (*first)(pid_t parent));

/*
 * This descriptor, which is open as long as the process lives, is closed in what user code forks (fork.h). For a few.
 * Main thread, before the first connection.
 */
void ax_host_keep_private(int fd);

/* Where this process counts what it does. Borrowed for the life of the process. Before the first connection. */
void ax_host_set_stats(struct ax_call_stats *calls);

/*
 * Does ahead of time what the first connection and its first call would have to wait for: starts the engine's threads,
 * and touches the memory that a fork shares and a call writes to. Main thread, after the last fork. 0; or -1 with errno
 * when there can be no threads.
 */
int ax_host_warm_up(void);

/*
 * Sets these variables of the environment, for Python and for C: names and values by turns, and NULL. Main thread,
 * before the first connection: waits for the GIL, which nobody holds for long then. What goes wrong is printed.
 */
void ax_host_set_variables(const char *const *variables);

/*
 * How a connection ended. Called once, in a thread of the engine that holds no lock and not the GIL. `reason` is
 * borrowed and empty for an orderly end.
 */
typedef void ax_host_ended_fn(void *arg, const char *reason);

/* A connection to serve. */
struct ax_host_offer {
    int in_fd; /* the host's from now on, also on failure; equal to out_fd for a socket */
    int out_fd;
    const void *received; /* bytes that were read from it already */
    size_t size;
    uint32_t handshake_ms;   /* what is left of the handshake's time; 0: all of it */
    ax_wire_state *wire;     /* where to tell of the stream's state, as long as the process lives; or NULL */
    ax_host_ended_fn *ended; /* or NULL */
    void *arg;
};

/*
 * Serves it. The session is an acceptor: it answers the peer's superblock in the same version. 0, or a negative errno.
 */
int ax_host_add(const struct ax_host_offer *offer);

struct ax_host_counts {
    uint32_t connections;   /* open now */
    uint32_t calls_running; /* being run for peers, now */
    uint64_t calls_done;    /* answered since the start */
};

void ax_host_count(struct ax_host_counts *counts);

/*
 * Blocks until every connection that was added has ended, calls that still run for them have finished too, or
 * `timeout_ms` have passed (UINT32_MAX: no limit). Returns whether all is quiet. Must not hold the GIL.
 */
bool ax_host_wait_idle(uint32_t timeout_ms);

/*
 * Closes every connection in an orderly way, with a reason for the peers that understand one. Calls go on; their
 * results go nowhere. Returns at once.
 */
void ax_host_close_all(const char *reason);

/*
 * Ends Python as far as a program can tell: waits for its threads, runs atexit functions, flushes its files. The
 * objects stay in memory, for the kernel to free: a worker shares most of them with others, and would copy them to take
 * them apart. The process has to exit after it. Main thread, after ax_host_wait_idle() said yes; a call that still runs
 * would be cut off in the middle, so a caller in a hurry uses _exit() instead.
 */
void ax_host_fini(void);

#endif
