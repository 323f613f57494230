/* SPDX-License-Identifier: MIT */
/*
 * For how long a thread that waits for its peer polls before it sleeps.
 *
 * Sleeping and being woken on another core takes some 25 µs and more, at either end, and much more on a virtual
 * machine: several times as long as a small call. A thread that polls instead gets its message at once, but keeps a
 * core busy. So it polls only
 *
 *   for a bounded time   up to the connection's limit; usually for a few times as long as the peer took lately, as
 *                        adaptive mutexes do
 *   where it pays        after a wait in vain, the next waits sleep at once: 1, 3, 7, … up to AX_SPIN_SKIP_MAX; each
 *                        successful wait halves that number
 *   where it is harmless not on one core; not while the system has more runnable threads than cores; and on at most
 *                        half of the cores, since the peer needs one, too
 *
 * A process that has only one core when its engine starts never polls. A thread that is bound to one core later polls
 * without yielding it: a peer on the same core then cannot answer in time, and polling does not pay.
 *
 * struct ax_spin keeps the history of one kind of wait of one connection; its owner defines what guards it. The rest is
 * atomic, and may be used by any thread.
 */
#ifndef AX_EMBED_SPIN_H
#define AX_EMBED_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define AX_SPIN_DEFAULT_US 100 /* two wake-ups: the cost when both ends sleep */
#define AX_SPIN_MAX_US 1000    /* maximum for the limit: what takes longer is no small call */
#define AX_SPIN_SKIP_MAX 1023  /* consecutive waits that sleep at once */
/*
 * Polls between two checks whether the lease is wanted, and two yields of the core, which the peer may be queued for.
 */
#define AX_SPIN_LOOK_EVERY 4

/* History of one kind of wait. All zero: nothing is known. */
struct ax_spin {
    uint32_t expected_ns; /* usual time of successful waits; 0: not known */
    uint32_t backoff;     /* number of waits that sleep after the next wait in vain */
    uint32_t skip;        /* number of waits that are still to sleep */
};

/* The state of the system. */
struct ax_spin_system {
    unsigned cores; /* available to the calling thread */
    bool is_busy;   /* more threads are runnable than there are cores */
};

/* Shared by the polling threads of a process. */
struct ax_spinners {
    struct ax_spin_system (*ask)(void);
    unsigned cores;                /* at the start */
    atomic_uint count;             /* threads that are polling */
    _Atomic uint64_t asked_at;     /* ns: time of the last query of the system; 0: never */
    _Atomic uint64_t ask_again_ns; /* ns for which that query is valid */
    atomic_uint most;              /* maximum of count; 0: polling is denied */
    atomic_bool yields;            /* polling threads yield their core now and then */
};

/* Queries the system; takes some 10 µs. */
struct ax_spin_system ax_spin_ask_system(void);

/* `ask` is ax_spin_ask_system(), except in tests. */
void ax_spinners_init(struct ax_spinners *spinners, struct ax_spin_system (*ask)(void));

/*
 * Whether a wait must sleep at once, because polling did not pay lately. To be called once for each wait, before the
 * clock is read.
 */
static inline bool ax_spin_skips(struct ax_spin *spin)
{
    if (spin->skip == 0)
        return false;
    spin->skip--;
    return true;
}

/*
 * For how many nanoseconds to poll, at time `now` (ns, monotonic); 0: sleep at once. If not 0, ax_spin_end() must
 * follow in the same thread.
 */
uint64_t ax_spin_begin(struct ax_spin *spin, struct ax_spinners *spinners, uint32_t limit_us, uint64_t now);

/* Ends polling that took took_ns; `paid`: the message has arrived. */
void ax_spin_end(struct ax_spin *spin, struct ax_spinners *spinners, uint64_t took_ns, bool paid);

#endif
