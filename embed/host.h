/* SPDX-License-Identifier: MIT */
/*
 * Hosts the engine in a process of acrossd: an interpreter, and connections that run in it.
 *
 * A process starts the interpreter once (ax_host_init, in its main thread, while it has no other), may fork while it is
 * still single-threaded (ax_host_fork: zygotes do), and then adds connections. Adding, counting and stopping never wait
 * for the GIL: they work even if every call is blocked. Thread-safe from ax_host_init on, except where noted.
 */
#ifndef AX_EMBED_HOST_H
#define AX_EMBED_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "embed/call_stats.h"

struct ax_host_config {
    const char *python;            /* executable of the interpreter, or of a venv, whose prefix and packages are used */
    const char *package_dir;       /* folder that contains the package `across`; first on sys.path */
    const char *const *preload;    /* modules to import; NULL-terminated, or NULL */
    bool accept_exports;           /* peers may export modules to this process: the worker of one peer */
    bool forks;                    /* workers are forked from this process: prepare its memory for sharing */
    uint32_t timeout_ms;           /* of each connection; 0: none */
    uint32_t handshake_timeout_ms; /* of each connection; 0: none */
    uint64_t max_message;          /* bytes of an incoming message; 0: the default of protocol/session.c */
    uint32_t spin_us;              /* how long a waiting thread polls before it sleeps (spin.h); 0: never */
    uint32_t max_threads;          /* maximum number of threads that run calls; 0: the default of embed/executor.h */
    /*
     * Called with the GIL when a call has run out of memory; may end the process. NULL: the peer gets the MemoryError.
     */
    void (*out_of_memory)(void);
    /* Logs a warning while the interpreter starts. NULL: warnings are dropped. */
    void (*warn)(const char *text);
};

/*
 * Starts the interpreter and imports across and the preload modules. Main thread, no other threads. On return the
 * calling thread does not hold the GIL; or, with `forks`, the interpreter is as it is right before a fork, and of the
 * functions below only ax_host_fork() may be called. 0, or -1 after printing the error, with a traceback, to
 * standard error.
 */
int ax_host_init(const struct ax_host_config *config);

/*
 * fork() of a process whose interpreter was started with `forks`, or of a plain copy of one: the child is as after
 * os.fork(), and its random generators differ from the parent's. The hooks for before a fork have run once for all
 * children, in ax_host_init(), and those for the parent never run: no Python runs in the parent. Main thread. The child
 * calls `first` before any hook, which may be user code.
 */
pid_t ax_host_fork(void (*first)(pid_t parent));

/*
 * Registers a descriptor that is open for the life of the process, to be closed in processes that user code forks
 * (fork.h). At most AX_FORK_PRIVATE. Main thread, before the first connection.
 */
void ax_host_keep_private(int fd);

/* Sets where this process publishes its counts. Borrowed for the life of the process. Before the first connection. */
void ax_host_set_stats(struct ax_call_stats *calls);

/*
 * Does in advance what would delay the first connection and its first call: starts the engine's threads, and touches
 * memory that is shared by the fork and written by a call. Main thread, after the last fork. 0; or -1 with errno when
 * no threads can be started.
 */
int ax_host_warm_up(void);

/*
 * Sets environment variables, for Python and for C: alternating names and values, then NULL. Main thread, before the
 * first connection: waits for the GIL, which is never held for long then. Errors are printed.
 */
void ax_host_set_variables(const char *const *variables);

/*
 * Called once when a connection has ended, in a thread of the engine, without locks and without the GIL. `reason` is
 * borrowed, and empty for an orderly end.
 */
typedef void ax_host_ended_fn(void *arg, const char *reason);

/* A connection to serve. */
struct ax_host_offer {
    int in_fd; /* owned by the host from now on, also on failure; equal to out_fd for a socket */
    int out_fd;
    const void *received; /* bytes that were already read from it */
    size_t size;
    uint32_t handshake_ms;   /* remaining time for the handshake; 0: all of it */
    ax_wire_state *wire;     /* where the stream's state is published, for the life of the process; or NULL */
    ax_host_ended_fn *ended; /* or NULL */
    void *arg;
};

/*
 * Serves the connection. The session is an acceptor: it answers the peer's superblock in the same version. 0, or a
 * negative errno.
 */
int ax_host_add(const struct ax_host_offer *offer);

struct ax_host_counts {
    uint32_t connections;   /* currently open */
    uint32_t calls_running; /* calls of peers that are running */
    uint64_t calls_done;    /* calls answered since the start */
};

void ax_host_count(struct ax_host_counts *counts);

/*
 * Blocks until all connections have ended, and calls that still run for them have finished, or until `timeout_ms` have
 * passed (UINT32_MAX: no limit). Returns whether that was reached. Must not hold the GIL.
 */
bool ax_host_wait_idle(uint32_t timeout_ms);

/*
 * Closes all connections in an orderly way, with a reason for peers that support one. Running calls continue; their
 * results are dropped. Returns at once.
 */
void ax_host_close_all(const char *reason);

/*
 * Shuts Python down as far as programs can observe: waits for its threads, runs atexit functions, flushes its files.
 * Objects are not deallocated: a worker shares most of their memory with other processes, and would have to copy it.
 * The process has to exit afterwards. Main thread, after ax_host_wait_idle() has returned true; a call that still runs
 * would be cut off, so use _exit() instead of waiting for it.
 */
void ax_host_fini(void);

#endif
