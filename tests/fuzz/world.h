/* SPDX-License-Identifier: MIT */
/*
 * Sockets and a loop without a kernel, for targets that drive what does I/O in the daemon: nothing happens by itself, and
 * nothing takes time.
 *
 * All sockets are pairs. The linker puts them in the place of the system's (--wrap), and libuv is not linked: its functions
 * that daemon/admission/handshake.c and daemon/admission/relay.c use are here. Each use of them is checked: descriptors are open, closed once, and
 * not while they are polled; handles are known, and closed once; nothing raises SIGPIPE or waits; events that nobody
 * acts on are an endless loop.
 *
 * A socket is the target's or the daemon's. The target calls the same functions as the daemon, but faults are for the
 * daemon's sockets alone.
 */
#ifndef AX_TESTS_FUZZ_WORLD_H
#define AX_TESTS_FUZZ_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_QUEUE 4096 /* bytes that a socket holds until they are read */

/* What fails for the daemon, once. */
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
    uint64_t now;     /* milliseconds, of the loop */
    size_t pair_room; /* bytes that sockets of pairs that the daemon makes hold, at most WORLD_QUEUE */
    enum world_fault fault;
    /* Makes random bytes that never come again. */
    void (*random)(unsigned char *bytes, size_t size);
};

extern struct world world;

/* A new world, in which there is nothing. */
void world_start(void);

/* Nothing must be open. */
void world_finish(void);

/* A pair: the first is the target's, the second the daemon's. There is room for all that a target may want. */
void world_pair(int fds[2]);

/* A socket that the daemon has handed over is the target's from now on. */
void world_take(int fd);

/* How many bytes this socket holds from now on, at most WORLD_QUEUE. */
void world_set_room(int fd, size_t room);

/* What was sent to this socket and has not been read: *data, until anything happens. */
size_t world_unread(int fd, const unsigned char **data);

/* How many bytes were read from it. */
size_t world_consumed(int fd);

/* Whether a write to it would not have to wait. */
bool world_is_writable(int fd);

/* The other end sees that this one has reset the connection, behind what was sent before. */
void world_reset(int fd);

/* Runs the loop until nothing more happens. */
void world_run(void);

#endif
