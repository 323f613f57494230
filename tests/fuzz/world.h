/* SPDX-License-Identifier: MIT */
/*
 * Simulated sockets and a loop, for targets that drive the daemon's I/O: nothing happens by itself, and nothing takes
 * time.
 *
 * All sockets are pairs. The linker replaces the system calls (--wrap), and libuv is not linked: the functions of it
 * that daemon/admission/handshake.c and daemon/admission/relay.c use are here. Each use is checked: descriptors are
 * open, closed once, and not while they are polled; handles are known, and closed once; nothing raises SIGPIPE or
 * blocks; an event that is never handled counts as an endless loop.
 *
 * A socket is the target's or the daemon's. The target calls the same functions as the daemon, but faults are injected
 * only into the daemon's sockets.
 */
#ifndef AX_TESTS_FUZZ_WORLD_H
#define AX_TESTS_FUZZ_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_QUEUE 4096 /* bytes that a socket holds until they are read */

/* A fault to inject into the daemon's next call. */
enum world_fault {
    WORLD_NO_FAULT,
    WORLD_FAULT_RECV_INTERRUPTED,
    WORLD_FAULT_RECV,
    WORLD_FAULT_RANDOM,
    WORLD_FAULT_POLL_INIT,
    WORLD_FAULT_SOCKETPAIR,
    WORLD_FAULTS,
};

struct world {
    uint64_t now;         /* milliseconds, on the loop's clock */
    size_t pair_capacity; /* capacity of the socket pairs that the daemon creates, at most WORLD_QUEUE */
    enum world_fault fault;
    /* Makes random bytes that never repeat. */
    void (*random)(unsigned char *bytes, size_t size);
};

extern struct world world;

/* Starts a new, empty world. */
void world_start(void);

/* Checks that nothing is open. */
void world_finish(void);

/* A pair: the first is the target's, the second the daemon's. Always succeeds. */
void world_pair(int fds[2]);

/* Makes a socket that the daemon has handed over the target's. */
void world_take(int fd);

/* Sets the capacity of this socket, at most WORLD_QUEUE. */
void world_set_capacity(int fd, size_t capacity);

/* Unread bytes sent to this socket: *data, valid until anything happens. */
size_t world_unread(int fd, const unsigned char **data);

/* Number of bytes that were read from it. */
size_t world_consumed(int fd);

/* Whether a write to it would not block. */
bool world_is_writable(int fd);

/* The other end sees a reset of the connection, after what was sent before. */
void world_reset(int fd);

/* Runs the loop until nothing more happens. */
void world_run(void);

#endif
