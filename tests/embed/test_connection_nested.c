/* SPDX-License-Identifier: MIT */
/* Calls that the peer makes while it serves one: they run in the thread that waits for that one. */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/embed/pair.h"

static sem_t served, go_on;
static pthread_t last_server; /* the thread that served the last 't' */

/* A call of one letter, sent but not waited for. */
static void send_letter(struct ax_connection *connection, const struct ax_request *within, char letter,
                        struct ax_pending *pending)
{
    struct ax_buffer payload = {0};

    assert_int_equal(ax_buffer_append(&payload, &letter, 1), 0);
    int error;
    do
        error = pair_call_within(connection, within, &payload, pending);
    while (error == -EINTR);
    assert_int_equal(error, 0);
}

static void receive(struct ax_connection *connection, struct ax_pending *pending)
{
    await(connection, pending);
    if (pending->message == NULL)
        return;
    pair_drop(connection, ax_ticket_done(connection, &pending->ticket));
    ax_message_free(pending->message);
}

static void call(struct ax_connection *connection, const struct ax_request *within, char letter)
{
    struct ax_pending pending;

    send_letter(connection, within, letter, &pending);
    receive(connection, &pending);
}

/*
 * What a call does: 't' notes its thread, 'b' has the caller do that, 'd' the same at a depth that goes down from 'i',
 * 'w' calls back and goes on without the answer.
 */
static void serve(struct ax_request *request)
{
    struct ax_connection *connection = request->connection;
    struct ax_buffer payload = ax_buffer_take(&request->message->buffers[0]);
    struct ax_pending pending;
    char letter = (char)payload.data[0];

    pair_drop(connection, ax_request_unpickled(request));
    if (letter == 't') {
        last_server = pthread_self();
        sem_post(&served);
    } else if (letter == 'b') {
        call(connection, request, 't');
    } else if (letter >= 'd' && letter <= 'i') {
        call(connection, request, letter == 'd' ? 't' : (char)(letter - 1));
    } else if (letter == 'w') {
        send_letter(connection, request, 't', &pending);
        wait_for(&go_on, 1);
        receive(connection, &pending);
    }
    pair_answer(request, &payload);
    ax_buffer_fini(&payload);
    ax_request_free(request);
}

static const struct ax_connection_ops ops = {
    .serve = serve, .drop = pair_drop, .finished = pair_finished, .freed = pair_freed};

static int set_up(void **state)
{
    *state = pair_on_sockets(&ops);
    return 0;
}

/* ---- tests ---- */

static void a_call_back_runs_in_the_thread_that_waits(void **state)
{
    struct pair *pair = *state;

    for (int i = 0; i < 100; i++) {
        call(pair->near, NULL, 'b');
        wait_for(&served, 1);
        assert_true(pthread_equal(last_server, pthread_self()));
    }
}

static void calls_back_and_forth_stay_in_their_two_threads(void **state)
{
    struct pair *pair = *state;

    for (char letter = 'd'; letter <= 'i'; letter++) {
        bool here = (letter - 'd') % 2 == 0;
        call(pair->near, NULL, letter);
        wait_for(&served, 1);
        assert_int_equal(pthread_equal(last_server, pthread_self()) != 0, here);
    }
}

static void other_calls_run_in_other_threads(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_letter(pair->near, NULL, 'w', &pending);
    call(pair->far, NULL, 't');
    wait_for(&served, 1);
    assert_false(pthread_equal(last_server, pthread_self()));
    sem_post(&go_on);
    receive(pair->near, &pending);
    wait_for(&served, 1);
}

static bool has_request(struct ax_connection *connection, const struct ax_pending *pending)
{
    pthread_mutex_lock(&connection->lock);
    bool has = pending->requests.first != NULL;
    pthread_mutex_unlock(&connection->lock);
    return has;
}

/* The call back has come when the caller gives up: somebody else runs it. */
static void a_call_back_that_waits_is_served_although_its_caller_gives_up(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_letter(pair->near, NULL, 'w', &pending);
    while (!has_request(pair->near, &pending))
        sched_yield();
    ax_connection_abandon(pair->near, &pending);
    wait_for(&served, 1);
    assert_false(pthread_equal(last_server, pthread_self()));
    sem_post(&go_on);
}

/* The caller has given up before: nobody waits for the outer call any more. */
static void a_call_back_of_a_call_that_was_given_up_is_served(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_letter(pair->near, NULL, 'b', &pending);
    ax_connection_abandon(pair->near, &pending);
    wait_for(&served, 1);
    assert_false(pthread_equal(last_server, pthread_self()));
}

static void an_end_finds_calls_back_that_nobody_has_served(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_letter(pair->near, NULL, 'w', &pending);
    while (!has_request(pair->near, &pending))
        sched_yield();
    ax_connection_cancel(pair->far);
    assert_int_equal(wait_phase(pair->near, AX_PHASE_STOPPING), 0);
    receive(pair->near, &pending);
    assert_null(pending.message);
    wait_for(&served, 1);
    sem_post(&go_on);
}

static int start_group(void **state)
{
    (void)state;
    sem_init(&served, 0, 0);
    sem_init(&go_on, 0, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_back_runs_in_the_thread_that_waits, set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(calls_back_and_forth_stay_in_their_two_threads, set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(other_calls_run_in_other_threads, set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(a_call_back_that_waits_is_served_although_its_caller_gives_up, set_up,
                                        pair_tear_down),
        cmocka_unit_test_setup_teardown(a_call_back_of_a_call_that_was_given_up_is_served, set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(an_end_finds_calls_back_that_nobody_has_served, set_up, pair_tear_down),
    };

    return cmocka_run_group_tests(tests, start_group, pair_end_group);
}
