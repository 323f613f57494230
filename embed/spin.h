/* SPDX-License-Identifier: MIT */
/*
 * For how long a thread that waits for its peer polls before it sleeps.
 *
 * To sleep and to be woken on another core takes some 25 µs and more, at either end, and much more on a virtual
 * machine: several times as long as a small call. A thread that polls instead gets its message at once, but keeps a
 * core busy. So it does that
 *
 *   for a bounded time    up to the connection's limit; as a rule for a few times as long as the peer took lately, as
 *                         adaptive mutexes do
 *   where it pays         what did not come in time makes the next waits sleep at once: 1, 3, 7, … and AX_SPIN_SKIP_MAX
 *                         in the end; each that came in time halves that number
 *   where it harms nobody not on one core; not while there are more runnable threads than cores, which the system
 *                         tells; and in half of the cores at most, for the peer needs one, too
 *
 * A process that has one core to itself when its engine starts never spins. A thread that is bound to one core later
 * spins without yielding it: then a peer on the same core can't answer in time, and that does not pay.
 *
 * Of a wait of one kind and one connection, struct ax_spin remembers how it went; who may look at it is up to its
 * owner. The rest is atomic, and may be used by any thread.
 */
#ifndef AX_EMBED_SPIN_H
#define AX_EMBED_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define AX_SPIN_DEFAULT_US 100 /* two wake-ups: what one pays when both ends sleep */
#define AX_SPIN_MAX_US 1000    /* a longer limit is cut to this: what takes longer is no small call */
#define AX_SPIN_SKIP_MAX 1023  /* waits that sleep at once, in a row */
/* Polls between two looks at what else is wanted: the reading, and the core, which the peer may be queued for. */
#define AX_SPIN_LOOK_EVERY 4

/* How waits of one kind went lately. All zero: nothing is known. */
struct ax_spin {
    uint32_t expected_ns; /* how long those took that paid; 0: not known */
    uint32_t backoff;     /* how many waits the next one that does not pay makes sleep */
    uint32_t skip;        /* how many are still to sleep */
};

/* What the system tells. */
struct ax_spin_system {
    unsigned cores; /* that the calling thread may use */
    bool is_busy;   /* there are more runnable threads than cores */
};

/* What the threads of a process that spin have in common. */
struct ax_spinners {
    struct ax_spin_system (*ask)(void);
    unsigned cores;                /* at the start */
    atomic_uint count;             /* threads that spin now */
    _Atomic uint64_t asked_at;     /* ns: when the system was last asked; 0: never */
    _Atomic uint64_t ask_again_ns; /* and how long that holds */
    atomic_uint most;              /* how many may spin: 0 where it would harm others */
    atomic_bool yields;            /* whoever spins yields its core now and then */
};

/* Asks the system of this process; takes some 10 µs. */
struct ax_spin_system ax_spin_ask_system(void);

/* `ask` is ax_spin_ask_system(), but in tests. */
void ax_spinners_init(struct ax_spinners *spinners, struct ax_spin_system (*ask)(void));

/*
 * Whether a wait is to sleep at once, because it did not pay lately. To be called once for each wait, before the clock
 * is asked.
 */
static inline bool ax_spin_skips(struct ax_spin *spin)
{
    if (spin->skip == 0)
        return false;
    spin->skip--;
    return true;
}

/*
 * For how many nanoseconds to poll, at time `now` (ns, monotonic); 0: sleep at once. Otherwise ax_spin_end() must
 * follow, in the same thread.
 */
uint64_t ax_spin_begin(struct ax_spin *spin, struct ax_spinners *spinners, uint32_t limit_us, uint64_t now);

/* It has polled for so long; `paid`: what it waited for has come. */
void ax_spin_end(struct ax_spin *spin, struct ax_spinners *spinners, uint64_t took_ns, bool paid);

#endif
