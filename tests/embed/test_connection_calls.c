/* SPDX-License-Identifier: MIT */
/* Calls between two connections of one process, over a socket pair or pipes; no Python is there. */
#include "tests/embed/testing.h"

#include <pthread.h>

#include "tests/embed/echo.h"

/* The linker puts this in the place of malloc(). */
static _Thread_local bool has_no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    return has_no_memory ? NULL : __real_malloc(size);
}

static void refuse(struct ax_request *request)
{
    char text[4000]; /* more than fits into what the session has already */

    memset(text, 'm', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    has_no_memory = true;
    ax_request_fail(request, text);
    has_no_memory = false;
}

static void nobody_waits_for_an_answer_that_there_was_no_memory_for(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_call(pair->near, "m", 1, &pending);
    assert_int_equal(await(pair->near, &pending), 0);
    assert_null(pending.message);
    assert_int_equal(wait_phase(pair->far, AX_PHASE_STOPPING), 0);
    assert_int_equal(pair->far->session.error, AX_ENOMEM);
}

static void a_call_is_answered_in_both_directions(void **state)
{
    struct pair *pair = *state;

    call(pair->near, "ehello", 6);
    call(pair->far, "eworld", 6);
}

static void large_payloads_cross_unchanged(void **state)
{
    struct pair *pair = *state;
    size_t size = 8u << 20;
    unsigned char *data = malloc(size);

    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 2654435761u >> 13);
    data[0] = 'e';
    call(pair->near, data, size);
    call(pair->far, data, size);
    free(data);
}

static void a_stuck_call_delays_no_other(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_call(pair->near, "s", 1, &pending);
    wait_for(&stuck, 1);
    for (int i = 0; i < 100; i++)
        call(pair->near, "e", 1);
    sem_post(&unstick);
    expect_echo(pair->near, &pending, "s", 1);
}

static void a_failed_call_has_its_text(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_call(pair->near, "f", 1, &pending);
    assert_int_equal(await(pair->near, &pending), 0);
    assert_int_equal(pending.message->kind, AX_RESULT_OPERATION_ERROR);
    assert_int_equal(pending.message->text_size, 12);
    assert_memory_equal(pending.message->text, "as requested", 12);
    drop(pair->near, ax_ticket_done(pair->near, &pending.ticket));
    ax_message_free(pending.message);
}

static void an_abandoned_call_leaves_the_connection_usable(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_call(pair->near, "s", 1, &pending);
    wait_for(&stuck, 1);
    ax_connection_abandon(pair->near, &pending);
    sem_post(&unstick);
    for (int i = 0; i < 100; i++) { /* answered before, or never looked at */
        send_call(pair->near, "e", 1, &pending);
        ax_connection_abandon(pair->near, &pending);
    }
    call(pair->near, "e", 1);
}

#define CALLERS 8
#define CALLS 300

static void *call_many(void *arg)
{
    struct ax_connection *connection = arg;
    char data[64];

    for (int i = 0; i < CALLS; i++) {
        int size = snprintf(data, sizeof data, "e%d of %p", i, (void *)&i);
        call(connection, data, (size_t)size);
    }
    return NULL;
}

static void threads_get_each_its_own_answer(void **state)
{
    struct pair *pair = *state;
    pthread_t threads[CALLERS];

    for (int i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, call_many, i % 2 == 0 ? pair->near : pair->far);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    refuse_without_memory = refuse;
    const struct CMUnitTest tests[] = {
        ON_SOCKETS(a_call_is_answered_in_both_directions),
        ON_PIPES(a_call_is_answered_in_both_directions),
        ON_SOCKETS(nobody_waits_for_an_answer_that_there_was_no_memory_for),
        ON_SOCKETS(large_payloads_cross_unchanged),
        ON_PIPES(large_payloads_cross_unchanged),
        ON_SOCKETS(a_stuck_call_delays_no_other),
        ON_SOCKETS(a_failed_call_has_its_text),
        ON_SOCKETS(an_abandoned_call_leaves_the_connection_usable),
        ON_SOCKETS(threads_get_each_its_own_answer),
        ON_PIPES(threads_get_each_its_own_answer),
    };
    return cmocka_run_group_tests(tests, start_group, end_group);
}
