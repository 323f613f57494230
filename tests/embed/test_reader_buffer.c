/* SPDX-License-Identifier: MIT */
/* Receiving large bodies into memory that the layer above allocates: in time, too late, or not at all. */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "embed/connection.h"
#include "embed/connection_calls.h"
#include "embed/connection_releases.h"
#include "embed/engine.h"
#include "embed/reader_private.h"
#include "tests/embed/pair.h"

#define BODY (2 * AX_READER_PAUSE_MIN)

/* ---- the layer above: allocates buffers, and echoes what it receives ---- */

/* Freed when both shares are dropped: that of the buffer, and that of the thread that copies its beginning. */
struct receive_buffer {
    unsigned char *data;
    sem_t copied;
    atomic_int shares;
};

static atomic_int allocated;              /* that were given */
static atomic_int freed_count;            /* buffers that were freed */
static atomic_bool refuses;               /* allocate() fails */
static atomic_bool is_slow;               /* allocate() waits until the body has arrived */
static sem_t body_has_arrived;            /* for that */
static sem_t buffer_freed;                /* for each */
static atomic_bool was_received_in_place; /* where the last body was */

static void drop_share(void *owner)
{
    struct receive_buffer *receive_buffer = owner;

    if (atomic_fetch_sub(&receive_buffer->shares, 1) > 1)
        return;
    free(receive_buffer->data);
    sem_destroy(&receive_buffer->copied);
    free(receive_buffer);
    atomic_fetch_add(&freed_count, 1);
    sem_post(&buffer_freed);
}

static bool allocate(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                     struct ax_buffer *memory)
{
    (void)connection;
    if (atomic_load(&refuses))
        return false;
    if (atomic_load(&is_slow))
        wait_for(&body_has_arrived, 1);
    struct receive_buffer *receive_buffer = malloc(sizeof *receive_buffer);
    assert_non_null(receive_buffer);
    receive_buffer->data = malloc(buffer_request->size);
    assert_non_null(receive_buffer->data);
    sem_init(&receive_buffer->copied, 0, 0);
    atomic_init(&receive_buffer->shares, 2);
    *memory = (struct ax_buffer){.data = receive_buffer->data, .release = drop_share, .owner = receive_buffer};
    atomic_fetch_add(&allocated, 1);
    return true;
}

static void copied(void *owner)
{
    sem_post(&((struct receive_buffer *)owner)->copied);
    drop_share(owner);
}

static void serve(struct ax_request *request)
{
    struct ax_message *message = request->message;
    struct ax_buffer buffer = ax_buffer_take(&message->buffers[1]);
    bool in_place = buffer.release == drop_share;

    atomic_store(&was_received_in_place, in_place);
    if (in_place)
        wait_for(&((struct receive_buffer *)buffer.owner)->copied, 1);
    if (atomic_load(&is_slow))
        sem_post(&body_has_arrived);
    assert_null(ax_request_unpickled(request));
    pair_answer(request, &buffer);
    ax_buffer_fini(&buffer);
    ax_request_free(request);
}

static void drop(struct ax_connection *connection, struct ax_object *doomed)
{
    (void)connection;
    assert_null(doomed);
}

static void finished(struct ax_connection *connection)
{
    (void)connection;
}

static void freed(void *above)
{
    (void)above;
}

static const struct ax_connection_ops ops = {
    .serve = serve, .drop = drop, .finished = finished, .freed = freed, .allocate = allocate, .copied = copied};

static int set_up(void **state)
{
    atomic_store(&allocated, 0);
    atomic_store(&freed_count, 0);
    atomic_store(&refuses, false);
    atomic_store(&is_slow, false);
    sem_init(&body_has_arrived, 0, 0);
    sem_init(&buffer_freed, 0, 0);
    *state = pair_on_sockets(&ops);
    return 0;
}

static int tear_down(void **state)
{
    pair_end(*state);
    wait_for(&buffer_freed, atomic_load(&allocated));
    assert_int_equal(atomic_load(&freed_count), atomic_load(&allocated));
    return 0;
}

/* ---- calls ---- */

static unsigned char pattern[BODY];

static struct ax_buffer copy_of_pattern(size_t size)
{
    struct ax_buffer buffer = {.data = malloc(size), .size = size, .capacity = size};

    assert_non_null(buffer.data);
    memcpy(buffer.data, pattern, size);
    return buffer;
}

/* Sends a large out-of-band buffer. */
static void send_body(struct ax_connection *connection, uint64_t kind, struct ax_pending *pending)
{
    struct ax_operation operation = {.type = AX_APPLY};
    struct ax_buffer buffers[2] = {copy_of_pattern(1), copy_of_pattern(BODY)};
    struct ax_payload payload = {.buffers = buffers, .buffer_count = 2, .kinds = &kind, .kind_count = 1};

    assert_int_equal(ax_connection_call(connection, &operation, &payload, pending), 0);
}

/* Its echo, which comes as the pickle of the result. */
static void expect_body(struct ax_connection *connection, struct ax_pending *pending)
{
    assert_int_equal(await(connection, pending), 0);
    assert_non_null(pending->message);
    assert_int_equal(pending->message->kind, AX_RESULT_SUCCESS);
    const struct ax_buffer *body = &pending->message->buffers[0];
    assert_int_equal(body->size, BODY);
    assert_int_equal(memcmp(body->data, pattern, BODY), 0);
    assert_null(ax_ticket_done(connection, &pending->ticket));
    ax_message_free(pending->message);
}

static void echo_body(struct pair *pair, uint64_t kind)
{
    struct ax_pending pending;

    send_body(pair->near, kind, &pending);
    expect_body(pair->near, &pending);
}

/* The service may be too late at any time, so try until it is not. */
static void an_object_is_received_into_its_memory(void **state)
{
    static const uint64_t kinds[] = {AX_BUFFER_BYTES, AX_BUFFER_BYTEARRAY};

    for (size_t i = 0; i < 2; i++)
        do
            echo_body(*state, kinds[i]);
        while (!atomic_load(&was_received_in_place));
}

static void a_buffer_that_comes_too_late_is_released(void **state)
{
    struct pair *pair = *state;

    atomic_store(&is_slow, true);
    echo_body(pair, AX_BUFFER_BYTES);
    assert_false(atomic_load(&was_received_in_place));
}

static void without_a_buffer_the_body_arrives_all_the_same(void **state)
{
    struct pair *pair = *state;

    atomic_store(&refuses, true);
    echo_body(pair, AX_BUFFER_BYTES);
    assert_int_equal(atomic_load(&allocated), 0);
}

static void raw_memory_is_not_requested_from_above(void **state)
{
    struct pair *pair = *state;

    atomic_store(&refuses, true);
    for (int i = 0; i < 3; i++)
        echo_body(pair, AX_BUFFER_MEMORY);
    assert_int_equal(atomic_load(&allocated), 0);
}

/* A buffer that is given while the connection breaks is released. */
static void a_connection_may_break_in_the_middle(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;

    send_body(pair->near, AX_BUFFER_BYTES, &pending);
    ax_connection_cancel(pair->far);
    assert_int_equal(await(pair->near, &pending), 0);
    if (pending.message != NULL) { /* it was quicker */
        assert_null(ax_ticket_done(pair->near, &pending.ticket));
        ax_message_free(pending.message);
    }
}

static void a_failed_allocation_pauses_no_reader(void **state)
{
    struct pair *pair = *state;

    atomic_store(&refuses, true);
    echo_body(pair, AX_BUFFER_BYTES);
    ax_connection_lock(pair->far);
    assert_false(pair->far->reader.paused);
    ax_connection_unlock(pair->far);
}

/* Neither the loop nor the connection waits for the allocation: here the buffer comes after the body. */
static void a_pause_ends_by_itself(void **state)
{
    struct pair *pair = *state;

    atomic_store(&is_slow, true);
    echo_body(pair, AX_BUFFER_BYTEARRAY);
    assert_false(atomic_load(&was_received_in_place));
}

/* Memory that is being filled stays until it is, whatever becomes of the message that it is for. */
static void a_connection_may_break_while_a_body_moves(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        struct pair *pair = pair_on_sockets(&ops);
        struct ax_pending pending;
        send_body(pair->near, AX_BUFFER_MEMORY, &pending);
        for (int wait = 0; wait < i; wait++)
            sched_yield();
        ax_connection_cancel(i % 2 != 0 ? pair->near : pair->far);
        assert_int_equal(await(pair->near, &pending), 0);
        if (pending.message != NULL) { /* it was quicker */
            assert_null(ax_ticket_done(pair->near, &pending.ticket));
            ax_message_free(pending.message);
        }
        pair_end(pair);
    }
}

static void *echo_some(void *arg)
{
    for (int i = 0; i < 3; i++)
        echo_body(arg, i % 2 != 0 ? AX_BUFFER_BYTES : AX_BUFFER_MEMORY);
    return NULL;
}

static void several_threads_send_large_bodies(void **state)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, echo_some, *state), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_object_is_received_into_its_memory),
        TEST(a_buffer_that_comes_too_late_is_released),
        TEST(without_a_buffer_the_body_arrives_all_the_same),
        TEST(raw_memory_is_not_requested_from_above),
        TEST(a_failed_allocation_pauses_no_reader),
        TEST(a_pause_ends_by_itself),
        cmocka_unit_test(a_connection_may_break_while_a_body_moves),
        TEST(a_connection_may_break_in_the_middle),
        TEST(several_threads_send_large_bodies),
    };

    for (size_t i = 0; i < BODY; i++)
        pattern[i] = (unsigned char)(i * 7 + i / 256);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
