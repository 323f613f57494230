/* SPDX-License-Identifier: MIT */
#include "embed/spin.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How long a query of the system is valid: it takes 10 µs. A busy system is queried less and less often. */
#define ASK_AGAIN_NS 5000000u
#define ASK_AGAIN_MAX_NS 80000000u

#define DENIED_SKIP 7    /* waits that sleep at once where polling is denied, before the next one asks again */
#define MARGIN_NS 10000u /* a wait may take this much longer than usual, in any case */
#define FOLD 4           /* or this many times as long as usual */

/* ---- the system ---- */

/* Cores that this thread may use; many, if unknown (more cores than a cpu_set_t holds). */
static unsigned count_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return CPU_SETSIZE;
    return (unsigned)CPU_COUNT(&set);
}

/* Runnable threads of the whole system; 0: unknown. */
static unsigned count_runnable(void)
{
    char text[128];
    unsigned runnable;
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    return sscanf(text, "%*s %*s %*s %u/", &runnable) == 1 ? runnable : 0;
}

struct ax_spin_system ax_spin_ask_system(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    return (struct ax_spin_system){
        .cores = count_cores(),
        .is_busy = online > 0 && count_runnable() > (unsigned long)online,
    };
}

/* ---- who may spin ---- */

void ax_spinners_init(struct ax_spinners *spinners, struct ax_spin_system (*ask)(void))
{
    *spinners = (struct ax_spinners){.ask = ask, .cores = ask().cores};
}

static void ask(struct ax_spinners *spinners)
{
    struct ax_spin_system system = spinners->ask();
    uint64_t again = atomic_load(&spinners->ask_again_ns);

    if (!system.is_busy || again == 0)
        again = ASK_AGAIN_NS;
    else if (again < ASK_AGAIN_MAX_NS)
        again *= 2;
    atomic_store(&spinners->ask_again_ns, again);
    atomic_store(&spinners->yields, system.cores > 1);
    atomic_store(&spinners->most, system.is_busy ? 0 : spinners->cores / 2);
}

/* Enters the set of polling threads; false: it is full, or polling is denied. */
static bool enter(struct ax_spinners *spinners, uint64_t now)
{
    if (spinners->cores < 2)
        return false;
    uint64_t asked_at = atomic_load(&spinners->asked_at);
    bool is_old = asked_at == 0 || now - asked_at >= atomic_load(&spinners->ask_again_ns);
    if (is_old && atomic_compare_exchange_strong(&spinners->asked_at, &asked_at, now)) /* one thread queries */
        ask(spinners);
    if (atomic_load(&spinners->most) == 0)
        return false;
    if (atomic_fetch_add(&spinners->count, 1) < atomic_load(&spinners->most))
        return true;
    atomic_fetch_sub(&spinners->count, 1);
    return false;
}

/* ---- how long ---- */

uint64_t ax_spin_begin(struct ax_spin *spin, struct ax_spinners *spinners, uint32_t limit_us, uint64_t now)
{
    uint64_t limit = (uint64_t)(limit_us < AX_SPIN_MAX_US ? limit_us : AX_SPIN_MAX_US) * 1000;

    if (limit == 0)
        return 0;
    if (!enter(spinners, now)) {
        spin->skip = spinners->cores < 2 ? AX_SPIN_SKIP_MAX : DENIED_SKIP;
        return 0;
    }
    uint64_t usual = (uint64_t)spin->expected_ns * FOLD + MARGIN_NS;
    return spin->expected_ns > 0 && usual < limit ? usual : limit;
}

void ax_spin_end(struct ax_spin *spin, struct ax_spinners *spinners, uint64_t took_ns, bool paid)
{
    atomic_fetch_sub(&spinners->count, 1);
    if (!paid) {
        spin->skip = spin->backoff;
        spin->backoff = spin->backoff < AX_SPIN_SKIP_MAX / 2 ? spin->backoff * 2 + 1 : AX_SPIN_SKIP_MAX;
        spin->expected_ns = 0;
        return;
    }
    uint32_t took = took_ns < UINT32_MAX ? (uint32_t)took_ns | 1 : UINT32_MAX;
    spin->backoff /= 2;
    if (spin->expected_ns == 0)
        spin->expected_ns = took;
    else
        spin->expected_ns = (uint32_t)(((uint64_t)spin->expected_ns * 7 + took) / 8);
}
