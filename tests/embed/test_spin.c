/* SPDX-License-Identifier: MIT */
/* For how long a wait polls: what it learns, and when it does not poll at all. */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sched.h>

#include "embed/spin.h"

#define LIMIT_US 100
#define LIMIT_NS 100000u
#define SECOND UINT64_C(1000000000)

static struct ax_spin_system told; /* what the system is said to tell */
static int asked;

static struct ax_spin_system ask(void)
{
    asked++;
    return told;
}

static struct ax_spinners spinners;

static int set_up(void **state)
{
    (void)state;
    told = (struct ax_spin_system){.cores = 4};
    ax_spinners_init(&spinners, ask);
    asked = 0;
    return 0;
}

/* A wait that begins at this time: its budget. It is over at once, and paid if it took less. */
static uint64_t wait_at(struct ax_spin *spin, uint64_t now, uint64_t takes)
{
    if (ax_spin_skips(spin))
        return 0;
    uint64_t budget = ax_spin_begin(spin, &spinners, LIMIT_US, now);
    if (budget > 0)
        ax_spin_end(spin, &spinners, takes, takes < budget);
    assert_int_equal(atomic_load(&spinners.count), 0);
    return budget;
}

static void at_first_it_takes_all_the_time_that_it_may(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    assert_int_equal(wait_at(&spin, SECOND, 5000), LIMIT_NS);
}

static void then_a_few_times_as_long_as_the_peer_took_lately(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    for (int i = 0; i < 100; i++)
        wait_at(&spin, SECOND, 5000);
    uint64_t quick = wait_at(&spin, SECOND, 5000);
    assert_true(quick >= 4 * 5000 && quick <= LIMIT_NS / 2);
    for (int i = 0; i < 100; i++)
        wait_at(&spin, SECOND, 15000);
    uint64_t slower = wait_at(&spin, SECOND, 15000);
    assert_true(slower >= quick + 1 && slower <= LIMIT_NS);
    for (int i = 0; i < 100; i++)
        wait_at(&spin, SECOND, 90000);
    assert_int_equal(wait_at(&spin, SECOND, 90000), LIMIT_NS);
}

static void what_does_not_pay_is_tried_less_and_less(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    int tries = 0;
    for (int i = 0; i < 100 * (AX_SPIN_SKIP_MAX + 1); i++)
        tries += wait_at(&spin, SECOND, SECOND) > 0;
    assert_true(tries >= 100 && tries <= 120);
}

static void what_pays_again_is_done_again(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    for (int i = 0; i < 5 * (AX_SPIN_SKIP_MAX + 1); i++)
        wait_at(&spin, SECOND, SECOND);
    int waits = 0;
    while (wait_at(&spin, SECOND, 5000) == 0)
        waits++;
    assert_true(waits <= AX_SPIN_SKIP_MAX);
    for (int i = 0; i < 100; i++)
        assert_true(wait_at(&spin, SECOND, 5000) > 0);
    assert_true(wait_at(&spin, SECOND, SECOND) > 0); /* a single failure is forgiven */
    assert_true(wait_at(&spin, SECOND, 5000) > 0);
}

static void a_limit_of_nothing_is_never(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    assert_int_equal(ax_spin_begin(&spin, &spinners, 0, SECOND), 0);
    assert_int_equal(asked, 0);
}

static void a_long_limit_is_cut(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    assert_int_equal(ax_spin_begin(&spin, &spinners, UINT32_MAX, SECOND), AX_SPIN_MAX_US * 1000);
}

static void never_in_a_process_with_one_core(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    told.cores = 1;
    ax_spinners_init(&spinners, ask);
    for (uint64_t now = SECOND; now < 3 * SECOND; now += SECOND / 100)
        assert_int_equal(wait_at(&spin, now, 0), 0);
}

static void never_while_more_threads_want_to_run_than_there_are_cores(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    told.is_busy = true;
    int times = 0;
    uint64_t now = SECOND;
    for (; now < 11 * SECOND; now += SECOND / 10000, times++)
        assert_int_equal(wait_at(&spin, now, 0), 0);
    assert_true(asked >= 2 && asked <= times / 100); /* the system is asked seldom, for asking costs something */
    told.is_busy = false;
    int waits = 0;
    while (wait_at(&spin, now + SECOND, 0) == 0)
        waits++;
    assert_true(waits < 10);
    told.is_busy = true;
    assert_int_equal(wait_at(&spin, now + 2 * SECOND, 0), 0);
}

static void a_thread_that_is_bound_to_a_core_does_not_yield_it(void **state)
{
    (void)state;
    struct ax_spin spin = {0};
    assert_true(wait_at(&spin, SECOND, 0) > 0);
    assert_true(atomic_load(&spinners.yields));
    told.cores = 1;
    assert_true(wait_at(&spin, 2 * SECOND, 0) > 0);
    assert_false(atomic_load(&spinners.yields));
}

static void half_of_the_cores_at_most(void **state)
{
    (void)state;
    struct ax_spin spins[3] = {0};
    assert_true(ax_spin_begin(&spins[0], &spinners, LIMIT_US, SECOND) > 0);
    assert_true(ax_spin_begin(&spins[1], &spinners, LIMIT_US, SECOND) > 0);
    assert_int_equal(ax_spin_begin(&spins[2], &spinners, LIMIT_US, SECOND), 0);
    ax_spin_end(&spins[0], &spinners, 0, true);
    assert_true(ax_spin_begin(&spins[2], &spinners, LIMIT_US, SECOND) > 0);
}

static void *work(void *unused)
{
    volatile atomic_bool *stop = unused;

    while (!atomic_load(stop))
        continue;
    return NULL;
}

static void the_system_tells_of_cores_and_of_threads_that_want_to_run(void **state)
{
    (void)state;
    cpu_set_t before;
    cpu_set_t one;
    atomic_bool stop = false;
    pthread_t threads[2];
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(ax_spin_ask_system().cores, CPU_COUNT(&before));
    size_t core = 0;
    while (!CPU_ISSET(core, &before))
        core++;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(ax_spin_ask_system().cores, 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    if (CPU_COUNT(&before) <= 2) { /* with more, it would take too many threads */
        for (int i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, work, &stop);
        while (!ax_spin_ask_system().is_busy)
            continue;
        atomic_store(&stop, true);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(at_first_it_takes_all_the_time_that_it_may, set_up),
        cmocka_unit_test_setup(then_a_few_times_as_long_as_the_peer_took_lately, set_up),
        cmocka_unit_test_setup(what_does_not_pay_is_tried_less_and_less, set_up),
        cmocka_unit_test_setup(what_pays_again_is_done_again, set_up),
        cmocka_unit_test_setup(a_limit_of_nothing_is_never, set_up),
        cmocka_unit_test_setup(a_long_limit_is_cut, set_up),
        cmocka_unit_test_setup(never_in_a_process_with_one_core, set_up),
        cmocka_unit_test_setup(never_while_more_threads_want_to_run_than_there_are_cores, set_up),
        cmocka_unit_test_setup(a_thread_that_is_bound_to_a_core_does_not_yield_it, set_up),
        cmocka_unit_test_setup(half_of_the_cores_at_most, set_up),
        cmocka_unit_test_setup(the_system_tells_of_cores_and_of_threads_that_want_to_run, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
