/* SPDX-License-Identifier: MIT */
/* Connections whose calls are bytes that come back; the first byte of a call may ask for something else. */
#ifndef AX_TESTS_EMBED_ECHO_H
#define AX_TESTS_EMBED_ECHO_H

#include "tests/embed/testing.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/embed/pair.h"

/* ---- what the layer above does here: the first byte of a call says it ---- */

static sem_t stuck, unstick;   /* 's': runs until it is told to end */
static sem_t unpickled, go_on; /* 'h': holds its ticket until it is told to give it back */
static sem_t dropped;          /* once for each object */
static sem_t finished_event;   /* once for each connection */
static atomic_int objects_alive;

static inline void drop(struct ax_connection *connection, struct ax_object *doomed)
{
    (void)connection;
    while (doomed != NULL) {
        struct ax_object *next = doomed->next;
        atomic_fetch_sub(&objects_alive, 1);
        sem_post(&dropped);
        free(doomed);
        doomed = next;
    }
}

static void (*refuse_without_memory)(struct ax_request *request); /* 'm': not even a refusal can be sent */

static inline void serve(struct ax_request *request)
{
    struct ax_buffer payload = ax_buffer_take(&request->message->buffers[0]);
    char what = (char)payload.data[0];

    if (what == 'h') {
        sem_post(&unpickled);
        wait_for(&go_on, 1);
    }
    drop(request->connection, ax_request_unpickled(request));
    if (what == 's') {
        sem_post(&stuck);
        wait_for(&unstick, 1);
    }
    if (what == 'f')
        ax_request_fail(request, "as requested");
    else if (what == 'm')
        refuse_without_memory(request);
    else
        pair_answer(request, &payload);
    ax_buffer_fini(&payload);
    ax_request_free(request);
}

static inline void finished(struct ax_connection *connection)
{
    (void)connection;
    sem_post(&finished_event);
}

static inline void freed(void *above)
{
    (void)above;
}

static const struct ax_connection_ops ops = {.serve = serve, .drop = drop, .finished = finished, .freed = freed};

/* ---- pairs ---- */

static inline int set_up(void **state)
{
    *state = pair_on_sockets(&ops);
    return 0;
}

static inline int set_up_pipes(void **state)
{
    struct pair *pair = malloc(sizeof *pair);
    int there[2], back[2];

    assert_int_equal(pipe2(there, O_CLOEXEC) | pipe2(back, O_CLOEXEC), 0);
    pair_start(pair, &ops, 0, (int[2]){back[0], there[1]}, (int[2]){there[0], back[1]});
    *state = pair;
    return 0;
}

static inline int tear_down(void **state)
{
    pair_end(*state);
    wait_for(&finished_event, 2);
    return 0;
}

static inline struct ax_buffer bytes(const void *data, size_t size)
{
    struct ax_buffer buffer = {0};

    assert_int_equal(ax_buffer_append(&buffer, data, size), 0);
    return buffer;
}

static inline void send_call(struct ax_connection *connection, const void *data, size_t size,
                             struct ax_pending *pending)
{
    struct ax_buffer payload = bytes(data, size);

    assert_int_equal(pair_call(connection, &payload, pending), 0);
}

/* Takes the result of a call, which must be the bytes that were sent. */
static inline void expect_echo(struct ax_connection *connection, struct ax_pending *pending, const void *data,
                               size_t size)
{
    assert_int_equal(await(connection, pending), 0);
    assert_non_null(pending->message);
    assert_int_equal(pending->message->kind, AX_RESULT_SUCCESS);
    assert_int_equal(pending->message->buffers[0].size, size);
    assert_memory_equal(pending->message->buffers[0].data, data, size);
    drop(connection, ax_ticket_done(connection, &pending->ticket));
    ax_message_free(pending->message);
}

static inline void call(struct ax_connection *connection, const void *data, size_t size)
{
    struct ax_pending pending;

    send_call(connection, data, size, &pending);
    expect_echo(connection, &pending, data, size);
}

static inline int start_group(void **state)
{
    (void)state;
    sem_t *events[] = {&stuck, &unstick, &unpickled, &go_on, &dropped, &finished_event};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        sem_init(events[i], 0, 0);
    return 0;
}

static inline int end_group(void **state)
{
    (void)state;
    ax_engine_stop();
    assert_int_equal(objects_alive, 0);
    return 0;
}

#define ON_SOCKETS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ON_PIPES(test) cmocka_unit_test_setup_teardown(test, set_up_pipes, tear_down)

#endif
