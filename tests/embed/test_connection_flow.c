/* SPDX-License-Identifier: MIT */
/* Callers that the peer holds back: they wait, go on when it has room again, and can be interrupted. */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/embed/pair.h"

#define LIMIT 3 /* calls that the far end serves at a time */

static sem_t begun, go_on;

/* Each call waits until it may end. */
static void serve(struct ax_request *request)
{
    struct ax_buffer payload = ax_buffer_take(&request->message->buffers[0]);

    pair_drop(request->connection, ax_request_unpickled(request));
    sem_post(&begun);
    wait_for(&go_on, 1);
    pair_answer(request, &payload);
    ax_buffer_fini(&payload);
    ax_request_free(request);
}

static const struct ax_connection_ops ops = {
    .serve = serve, .drop = pair_drop, .finished = pair_finished, .freed = pair_freed};

struct caller {
    pthread_t thread;
    struct ax_connection *connection;
    int error; /* of sending */
};

static void *call(void *arg)
{
    struct caller *caller = arg;
    struct ax_buffer payload = {0};
    struct ax_pending pending;

    assert_int_equal(ax_buffer_append(&payload, "x", 1), 0);
    caller->error = pair_call(caller->connection, &payload, &pending);
    if (caller->error != 0) {
        ax_buffer_fini(&payload);
        return NULL;
    }
    await(caller->connection, &pending);
    if (pending.message != NULL) {
        pair_drop(caller->connection, ax_ticket_done(caller->connection, &pending.ticket));
        ax_message_free(pending.message);
    }
    return NULL;
}

static void start(struct caller *caller, struct ax_connection *connection)
{
    caller->connection = connection;
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
}

static bool is_somebody_held_back(struct ax_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    bool held_back = connection->watchers != NULL;
    pthread_mutex_unlock(&connection->lock);
    return held_back;
}

/* As many callers as are served, and one more. */
static struct pair *start_callers(struct caller callers[LIMIT + 1])
{
    struct pair *pair = pair_with_limit(&ops, LIMIT);

    for (int i = 0; i < LIMIT; i++)
        start(&callers[i], pair->near);
    wait_for(&begun, LIMIT);
    start(&callers[LIMIT], pair->near);
    while (!is_somebody_held_back(pair->near))
        sched_yield();
    return pair;
}

/* ---- tests ---- */

static void one_call_too_many_waits_for_an_answer_to_another(void **state)
{
    struct caller callers[LIMIT + 1];
    struct pair *pair = start_callers(callers);

    (void)state;
    sem_post(&go_on);
    wait_for(&begun, 1);
    for (int i = 0; i < LIMIT; i++)
        sem_post(&go_on);
    for (int i = 0; i <= LIMIT; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].error, 0);
    }
    pair_end(pair);
}

static void an_end_wakes_who_is_held_back(void **state)
{
    struct caller callers[LIMIT + 1];
    struct pair *pair = start_callers(callers);

    (void)state;
    ax_connection_cancel(pair->near);
    for (int i = 0; i < LIMIT; i++)
        sem_post(&go_on);
    for (int i = 0; i <= LIMIT; i++)
        pthread_join(callers[i].thread, NULL);
    assert_int_equal(callers[LIMIT].error, AX_ESTATE);
    pair_end(pair);
}

static void on_signal(int number)
{
    (void)number;
}

static void a_signal_interrupts_who_is_held_back(void **state)
{
    struct caller callers[LIMIT + 1];
    struct pair *pair = start_callers(callers);

    (void)state;
    while (pthread_tryjoin_np(callers[LIMIT].thread, NULL) != 0) { /* a signal before it waits interrupts nothing */
        pthread_kill(callers[LIMIT].thread, SIGUSR1);
        sched_yield();
    }
    assert_int_equal(callers[LIMIT].error, -EINTR);
    assert_false(is_somebody_held_back(pair->near));
    for (int i = 0; i < LIMIT; i++)
        sem_post(&go_on);
    for (int i = 0; i < LIMIT; i++)
        pthread_join(callers[i].thread, NULL);
    pair_end(pair);
}

static int start_group(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    sem_init(&begun, 0, 0);
    sem_init(&go_on, 0, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_too_many_waits_for_an_answer_to_another),
        cmocka_unit_test(an_end_wakes_who_is_held_back),
        cmocka_unit_test(a_signal_interrupts_who_is_held_back),
    };

    return cmocka_run_group_tests(tests, start_group, pair_end_group);
}
