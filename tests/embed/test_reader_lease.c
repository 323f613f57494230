/* SPDX-License-Identifier: MIT */
/*
 * Threads that call each other, and read for themselves meanwhile: nothing may be lost, late for ever, or answered
 * twice.
 */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "embed/reader.h"
#include "tests/embed/pair.h"

/* ---- what a call does: its first byte says it ---- */

static sem_t stuck, unstick;    /* 's': runs until it is told to end */
static atomic_uint seed_of_all; /* of each thread's random numbers, so that none repeats another's */

static unsigned random_below(unsigned limit)
{
    static _Thread_local unsigned seed;
    if (seed == 0)
        seed = atomic_fetch_add(&seed_of_all, 7919) + 1;
    return (unsigned)rand_r(&seed) % limit;
}

/* For some part of the time in which a lease may be left alone, or for more. */
static void dawdle(void)
{
    struct timespec time = {.tv_nsec = random_below(3000) * 1000};

    if (random_below(4) == 0)
        nanosleep(&time, NULL);
}

static bool call(struct ax_connection *connection, const struct ax_request *within, const char *text);

static void serve(struct ax_request *request)
{
    struct ax_buffer payload = ax_buffer_take(&request->message->buffers[0]);

    pair_drop(request->connection, ax_request_unpickled(request));
    switch (payload.data[0]) {
    case 'd':
        dawdle();
        break;
    case 's':
        sem_post(&stuck);
        wait_for(&unstick, 1);
        break;
    case 'n': /* calls back: another thread, and the one that waits, which does the same with one letter less */
        call(request->connection, NULL, "back");
        call(request->connection, request, "dback");
        call(request->connection, request, (const char[]){(char)(payload.size > 1 ? 'n' : 'x'), '\0'});
        break;
    }
    pair_answer(request, &payload);
    ax_buffer_fini(&payload);
    ax_request_free(request);
}

static const struct ax_connection_ops ops = {
    .serve = serve, .drop = pair_drop, .finished = pair_finished, .freed = pair_freed};

/* Whether there was an answer, and then the right one. */
static bool call(struct ax_connection *connection, const struct ax_request *within, const char *text)
{
    struct ax_buffer payload = {0};
    struct ax_pending pending;
    size_t size = strlen(text);

    assert_int_equal(ax_buffer_reserve(&payload, size), 0);
    memcpy(payload.data, text, size);
    payload.size = size;
    int error;
    do
        error = pair_call_within(connection, within, &payload, &pending);
    while (error == -EINTR);
    if (error != 0) {
        ax_buffer_fini(&payload);
        return false;
    }
    await(connection, &pending);
    if (pending.message == NULL)
        return false;
    assert_int_equal(pending.message->buffers[0].size, size);
    assert_memory_equal(pending.message->buffers[0].data, text, size);
    pair_drop(connection, ax_ticket_done(connection, &pending.ticket));
    ax_message_free(pending.message);
    return true;
}

/* ---- pairs ---- */

static uint32_t spin_us; /* for which all of them may poll; 0 in the first group of tests */

/* A machine with cores to spare, whatever this one is busy with. */
static struct ax_spin_system ask_idle_system(void)
{
    return (struct ax_spin_system){.cores = 8};
}

static struct pair *make_pair(void)
{
    struct pair *pair = pair_on_sockets(&ops);

    pthread_mutex_lock(&pair->near->lock);
    ax_reader_set_spin(pair->near, spin_us);
    pthread_mutex_unlock(&pair->near->lock);
    pthread_mutex_lock(&pair->far->lock);
    ax_reader_set_spin(pair->far, spin_us);
    pthread_mutex_unlock(&pair->far->lock);
    return pair;
}

static int set_up(void **state)
{
    *state = make_pair();
    return 0;
}

static enum ax_lease_state state_of(struct ax_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    enum ax_lease_state state = connection->reader.state;
    pthread_mutex_unlock(&connection->lock);
    return state;
}

static void make_hot(const struct pair *pair)
{
    while (state_of(pair->near) == AX_LEASE_LOOP)
        assert_true(call(pair->near, NULL, "hello"));
}

/* ---- tests ---- */

static void a_caller_reads_its_own_answers(void **state)
{
    struct pair *pair = *state;
    int leased = 0;

    for (int i = 0; i < 1000; i++) {
        assert_true(call(pair->near, NULL, "hello"));
        leased += state_of(pair->near) != AX_LEASE_LOOP;
    }
    assert_true(leased >= 100); /* nearly all, unless the machine is busy with something else */
}

static void the_loop_reads_again_when_nobody_calls(void **state)
{
    struct pair *pair = *state;

    make_hot(pair);
    while (state_of(pair->near) != AX_LEASE_LOOP || state_of(pair->far) != AX_LEASE_LOOP)
        sched_yield();
    assert_true(call(pair->far, NULL, "from the other side"));
}

static void *make_one_call(void *connection)
{
    assert_true(call(connection, NULL, "s"));
    return NULL;
}

/* The one that is served first has taken the lease of the far side; the near one's is with the first caller. */
static void a_stuck_call_delays_no_other(void **state)
{
    struct pair *pair = *state;
    pthread_t thread;

    for (int i = 0; i < 20; i++) {
        make_hot(pair);
        pthread_create(&thread, NULL, make_one_call, pair->near);
        wait_for(&stuck, 1);
        assert_true(call(pair->near, NULL, "not stuck"));
        assert_true(call(pair->far, NULL, "nor this"));
        sem_post(&unstick);
        pthread_join(thread, NULL);
    }
}

static void *call_many(void *connection)
{
    static const char *const texts[] = {"hello", "d", "nested", "hello again"};

    for (int i = 0; i < 500; i++) {
        assert_true(call(connection, NULL, texts[random_below(4)]));
        dawdle();
    }
    return NULL;
}

static void threads_on_both_sides_get_their_answers(void **state)
{
    struct pair *pair = *state;
    pthread_t threads[6];

    for (size_t i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, call_many, i % 3 == 0 ? pair->far : pair->near);
    for (size_t i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
}

static void *call_until_it_ends(void *connection)
{
    while (call(connection, NULL, random_below(2) == 0 ? "hello" : "d"))
        continue;
    return NULL;
}

static void an_end_wakes_whoever_reads(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct pair *pair = make_pair();
        pthread_t threads[2];
        make_hot(pair);
        for (int j = 0; j < 2; j++)
            pthread_create(&threads[j], NULL, call_until_it_ends, pair->near);
        dawdle();
        if (i % 3 == 0)
            ax_connection_cancel(pair->near);
        else if (i % 3 == 1)
            ax_connection_close(pair->far, "Enough");
        else
            ax_connection_fail(pair->far, 0, "Broken");
        for (int j = 0; j < 2; j++)
            pthread_join(threads[j], NULL);
        pair_end(pair);
    }
}

/* One who holds it, waiting in a call that does not end. */
static void an_end_wakes_one_who_waits_for_long(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct pair *pair = make_pair();
        pthread_t thread;
        make_hot(pair);
        pthread_create(&thread, NULL, call_until_it_ends, pair->near);
        assert_true(call(pair->far, NULL, "hello"));
        ax_connection_cancel(i % 2 == 0 ? pair->near : pair->far);
        pthread_join(thread, NULL);
        pair_end(pair);
    }
}

static void a_caller_that_polls_gets_its_answers_without_sleeping(void **state)
{
    struct pair *pair = *state;

    while (pair->near->reader.spin_result.expected_ns == 0) /* nobody else waits for results */
        assert_true(call(pair->near, NULL, "hello"));
}

/* One that would poll for longer than it takes to tell it. */
static void a_caller_that_polls_gives_the_reading_back(void **state)
{
    struct pair *pair = *state;
    pthread_t thread;

    for (int i = 0; i < 20; i++) {
        make_hot(pair);
        pthread_create(&thread, NULL, make_one_call, pair->near);
        wait_for(&stuck, 1);
        assert_true(call(pair->far, NULL, "read by the one that waits"));
        assert_true(call(pair->near, NULL, "read by the loop, in the end"));
        sem_post(&unstick);
        pthread_join(thread, NULL);
    }
}

static int start_group(void **state)
{
    (void)state;
    sem_init(&stuck, 0, 0);
    sem_init(&unstick, 0, 0);
    return 0;
}

static int start_spinning(void **state)
{
    (void)state;
    spin_us = AX_SPIN_MAX_US;
    ax_spinners_init(&ax_engine_get()->spinners, ask_idle_system);
    return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, pair_tear_down)
#define LEASES                                                                                                         \
    TEST(a_caller_reads_its_own_answers), TEST(the_loop_reads_again_when_nobody_calls),                                \
        TEST(a_stuck_call_delays_no_other), TEST(threads_on_both_sides_get_their_answers),                             \
        cmocka_unit_test(an_end_wakes_whoever_reads), cmocka_unit_test(an_end_wakes_one_who_waits_for_long)
    const struct CMUnitTest sleeping[] = {LEASES};
    const struct CMUnitTest spinning[] = {
        LEASES,
        TEST(a_caller_that_polls_gets_its_answers_without_sleeping),
        TEST(a_caller_that_polls_gives_the_reading_back),
    };
    return cmocka_run_group_tests(sleeping, start_group, pair_end_group) +
           cmocka_run_group_tests(spinning, start_spinning, pair_end_group);
}
