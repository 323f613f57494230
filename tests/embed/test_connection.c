/* SPDX-License-Identifier: MIT */
/* Two connections of one process talk over a socket pair or pipes; calls are bytes, and no Python is there. */
#include "tests/embed/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "embed/connection.h"
#include "embed/connection_calls.h"
#include "embed/connection_releases.h"
#include "embed/engine.h"
#include "tests/embed/pair.h"

/* ---- what the layer above does here: the first byte of a call says it ---- */

static sem_t stuck, unstick;   /* 's': runs until it is told to end */
static sem_t unpickled, go_on; /* 'h': holds its ticket until it is told to give it back */
static sem_t dropped;          /* once for each object */
static sem_t finished_event;   /* once for each connection */
static atomic_int objects_alive;

static void drop(struct ax_connection *connection, struct ax_object *doomed)
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

/* The linker puts this in the place of malloc(). */
static _Thread_local bool has_no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    return has_no_memory ? NULL : __real_malloc(size);
}

/* 'm': not even a refusal can be sent. */
static void refuse_without_memory(struct ax_request *request)
{
    char text[4000]; /* more than fits into what the session has already */
    memset(text, 'm', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    has_no_memory = true;
    ax_request_fail(request, text);
    has_no_memory = false;
}

static void serve(struct ax_request *request)
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
        ax_request_fail(request, "as you wish");
    else if (what == 'm')
        refuse_without_memory(request);
    else
        pair_answer(request, &payload);
    ax_buffer_fini(&payload);
    ax_request_free(request);
}

static void finished(struct ax_connection *connection)
{
    (void)connection;
    sem_post(&finished_event);
}

static void freed(void *above)
{
    (void)above;
}

static const struct ax_connection_ops ops = {.serve = serve, .drop = drop, .finished = finished, .freed = freed};

/* ---- pairs ---- */

static int set_up(void **state)
{
    *state = pair_on_sockets(&ops);
    return 0;
}

static int set_up_pipes(void **state)
{
    struct pair *pair = malloc(sizeof *pair);
    int there[2], back[2];
    assert_int_equal(pipe2(there, O_CLOEXEC) | pipe2(back, O_CLOEXEC), 0);
    pair_start(pair, &ops, 0, (int[2]){back[0], there[1]}, (int[2]){there[0], back[1]});
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    pair_end(*state);
    wait_for(&finished_event, 2);
    return 0;
}

static struct ax_buffer bytes(const void *data, size_t size)
{
    struct ax_buffer buffer = {0};
    assert_int_equal(ax_buffer_append(&buffer, data, size), 0);
    return buffer;
}

static void send_call(struct ax_connection *connection, const void *data, size_t size, struct ax_pending *pending)
{
    struct ax_buffer payload = bytes(data, size);
    assert_int_equal(pair_call(connection, &payload, pending), 0);
}

/* Takes the result of a call, which must be the bytes that were sent. */
static void expect_echo(struct ax_connection *connection, struct ax_pending *pending, const void *data, size_t size)
{
    assert_int_equal(await(connection, pending), 0);
    assert_non_null(pending->message);
    assert_int_equal(pending->message->kind, AX_RESULT_SUCCESS);
    assert_int_equal(pending->message->buffers[0].size, size);
    assert_memory_equal(pending->message->buffers[0].data, data, size);
    drop(connection, ax_ticket_done(connection, &pending->ticket));
    ax_message_free(pending->message);
}

static void call(struct ax_connection *connection, const void *data, size_t size)
{
    struct ax_pending pending;
    send_call(connection, data, size, &pending);
    expect_echo(connection, &pending, data, size);
}

/* ---- calls ---- */

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
    assert_int_equal(pending.message->text_size, 11);
    assert_memory_equal(pending.message->text, "as you wish", 11);
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

/* ---- objects ---- */

static uint64_t enter_object(struct ax_connection *connection)
{
    static int value;
    uint64_t id;
    assert_int_equal(ax_objects_put(&connection->objects, &value, &id), 0);
    atomic_fetch_add(&objects_alive, 1);
    return id;
}

static void release(struct ax_connection *connection, uint64_t id)
{
    struct ax_release *node = malloc(sizeof *node);
    node->id = id;
    ax_connection_release(connection, node);
}

static void a_released_object_is_dropped(void **state)
{
    struct pair *pair = *state;
    uint64_t id = enter_object(pair->far);
    release(pair->near, id);
    wait_for(&dropped, 1);
    assert_null(ax_objects_get(&pair->far->objects, id));
}

static void an_object_is_there_for_the_messages_before_its_release(void **state)
{
    struct pair *pair = *state;
    struct ax_pending first, second;
    uint64_t id = enter_object(pair->far);
    send_call(pair->near, "h", 1, &first);
    wait_for(&unpickled, 1);
    send_call(pair->near, "h", 1, &second);
    wait_for(&unpickled, 1);
    release(pair->near, id);
    call(pair->near, "e", 1); /* the release has certainly arrived */
    assert_non_null(ax_objects_get(&pair->far->objects, id));
    sem_post(&go_on);
    sem_post(&go_on);
    expect_echo(pair->near, &first, "h", 1);
    expect_echo(pair->near, &second, "h", 1);
    wait_for(&dropped, 1);
    assert_null(ax_objects_get(&pair->far->objects, id));
}

static void releasing_what_is_not_there_breaks_the_connection(void **state)
{
    struct pair *pair = *state;
    release(pair->near, 77);
    assert_int_equal(wait_phase(pair->far, AX_PHASE_STOPPING), 0);
    assert_int_equal(pair->far->end, AX_END_FAILED);
    assert_string_equal(ax_session_reason(&pair->far->session), "Object not found: 77");
    assert_int_equal(wait_phase(pair->near, AX_PHASE_STOPPING), 0);
    assert_string_equal(ax_session_reason(&pair->near->session), "Object not found: 77"); /* the peer was told */
}

static void objects_that_nobody_releases_go_with_the_connection(void **state)
{
    struct pair *pair = *state;
    enter_object(pair->far);
    enter_object(pair->near);
    ax_connection_close(pair->far, NULL);
    wait_for(&dropped, 2);
    assert_int_equal(objects_alive, 0);
}

/* ---- ends ---- */

static void closing_ends_both_sides_in_order(void **state)
{
    struct pair *pair = *state;
    ax_connection_close(pair->near, "done");
    assert_int_equal(wait_phase(pair->far, AX_PHASE_FINISHED), 0);
    assert_int_equal(wait_phase(pair->near, AX_PHASE_FINISHED), 0);
    assert_int_equal(pair->near->end, AX_END_CLOSED);
    assert_int_equal(pair->far->end, AX_END_REMOTE);
    assert_string_equal(ax_session_reason(&pair->far->session), "done");
    assert_int_equal(pair->near->stream.in_fd, -1);
    struct ax_buffer payload = bytes("e", 1);
    struct ax_pending pending;
    assert_int_equal(pair_call(pair->near, &payload, &pending), AX_ESTATE);
    ax_buffer_fini(&payload);
}

static void a_call_that_waits_ends_with_the_connection(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;
    send_call(pair->near, "s", 1, &pending);
    wait_for(&stuck, 1);
    ax_connection_close(pair->far, NULL);
    assert_int_equal(await(pair->near, &pending), 0);
    assert_null(pending.message);
    sem_post(&unstick); /* its result goes nowhere */
}

static void cancelling_ends_it_at_once(void **state)
{
    struct pair *pair = *state;
    struct ax_pending pending;
    send_call(pair->near, "s", 1, &pending);
    wait_for(&stuck, 1);
    ax_connection_cancel(pair->near);
    ax_connection_cancel(pair->near);
    assert_int_equal(await(pair->near, &pending), 0);
    assert_null(pending.message);
    assert_int_equal(pair->near->end, AX_END_CANCELLED);
    sem_post(&unstick);
}

static void a_failure_from_outside_keeps_the_first_reason(void **state)
{
    struct pair *pair = *state;
    assert_true(ax_connection_fail(pair->near, EIO, "the first"));
    assert_false(ax_connection_fail(pair->near, 0, "the second"));
    assert_string_equal(ax_session_reason(&pair->near->session), "the first");
    assert_int_equal(pair->near->io_error, EIO);
}

/* ---- connections without a peer that answers ---- */

static struct ax_connection *start_alone(enum ax_role role, int *peer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct ax_connection *connection = pair_connection(&ops, role);
    assert_int_equal(ax_connection_start(connection, fds[0], fds[0], NULL, 0), 0);
    *peer = fds[1];
    return connection;
}

static void finish_alone(struct ax_connection *connection)
{
    assert_int_equal(wait_phase(connection, AX_PHASE_FINISHED), 0);
    wait_for(&finished_event, 1);
    ax_connection_unref(connection);
    assert_true(ax_engine_wait_quiet(ax_engine_get(), UINT32_MAX));
}

static void garbage_breaks_a_connection(void **state)
{
    (void)state;
    int peer;
    struct ax_connection *connection = start_alone(AX_ACCEPTOR, &peer);
    assert_int_equal(write(peer, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    assert_int_equal(wait_phase(connection, AX_PHASE_STOPPING), 0);
    assert_int_equal(connection->session.error, AX_EPROTOCOL);
    assert_string_equal(ax_session_reason(&connection->session), "Invalid magic: 0x47455420");
    close(peer);
    finish_alone(connection);
}

static void a_peer_that_goes_breaks_a_connection(void **state)
{
    (void)state;
    int peer;
    struct ax_connection *connection = start_alone(AX_OPENER, &peer);
    close(peer);
    assert_int_equal(wait_phase(connection, AX_PHASE_STOPPING), 0);
    assert_int_equal(connection->end, AX_END_FAILED);
    finish_alone(connection);
}

/* Its peer is there, and would wait. */
static void a_stream_that_takes_nothing_breaks_a_connection(void **state)
{
    (void)state;
    int in[2], out[2];
    struct ax_connection *connection = pair_connection(&ops, AX_OPENER);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    assert_int_equal(ax_connection_start(connection, in[0], out[0], NULL, 0), 0); /* which is the end to read from */
    assert_int_equal(wait_phase(connection, AX_PHASE_STOPPING), 0);
    assert_int_equal(connection->end, AX_END_FAILED);
    assert_int_equal(connection->io_error, EBADF);
    finish_alone(connection);
    close(in[1]);
    close(out[1]);
}

static void a_connection_may_end_before_it_starts(void **state)
{
    (void)state;
    struct ax_connection *connection = pair_connection(&ops, AX_OPENER);
    int fds[2];
    assert_true(ax_connection_fail(connection, ECONNREFUSED, "refused"));
    assert_int_equal(wait_phase(connection, AX_PHASE_FINISHED), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(ax_connection_start(connection, fds[0], fds[0], NULL, 0), 0); /* closes the descriptor */
    char byte;
    assert_int_equal(read(fds[1], &byte, 1), 0);
    close(fds[1]);
    finish_alone(connection);
}

static void a_regular_file_is_refused(void **state)
{
    (void)state;
    struct ax_connection *connection = pair_connection(&ops, AX_OPENER);
    FILE *file = tmpfile();
    int fd = dup(fileno(file));
    assert_int_equal(ax_connection_start(connection, fd, fd, NULL, 0), -EPERM);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was ours to close */
    fclose(file);
    ax_connection_unref(connection);
}

/* What an honest peer sends in the handshake, and nothing after it: it neither reads nor answers. */
static void shake_hands(int peer)
{
    static const unsigned char hello[] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* superblock */
                                          0,    0,    0,    0,    0, 0, 0, 4, 0, 0};                  /* GREETING */
    assert_int_equal(write(peer, hello, sizeof hello), sizeof hello);
}

struct sender {
    struct ax_connection *connection;
    atomic_int sent;
    int error;
    sem_t blocked_soon;
    pthread_t thread;
};

static void *send_until_it_fails(void *arg)
{
    struct sender *sender = arg;
    size_t size = 1u << 20;
    char *data = calloc(1, size);
    struct ax_pending *pendings = calloc(4096, sizeof *pendings);
    while (sender->error == 0) {
        struct ax_buffer payload = bytes(data, size);
        int count = atomic_load(&sender->sent);
        sender->error = pair_call(sender->connection, &payload, &pendings[count]);
        if (sender->error == 0)
            atomic_store(&sender->sent, count + 1);
        ax_buffer_fini(&payload);
        sem_post(&sender->blocked_soon);
    }
    for (int i = 0; i < sender->sent; i++) {
        assert_int_equal(await(sender->connection, &pendings[i]), 0);
        assert_null(pendings[i].message);
    }
    free(pendings);
    free(data);
    return NULL;
}

static void sender_that_is_held_back_is_woken_when_it_ends(void **state)
{
    (void)state;
    int peer;
    struct sender sender = {0};
    sem_init(&sender.blocked_soon, 0, 0);
    sender.connection = start_alone(AX_OPENER, &peer);
    shake_hands(peer);
    assert_int_equal(wait_phase(sender.connection, AX_PHASE_RUNNING), 0);
    pthread_create(&sender.thread, NULL, send_until_it_fails, &sender);
    /* Bounded: beyond max_queued the sender waits, as a watcher of the connection. */
    for (;;) {
        pthread_mutex_lock(&sender.connection->lock);
        bool held_back = sender.connection->watchers != NULL;
        uint64_t queued = sender.connection->session.output.size;
        uint64_t bound = sender.connection->session.config.limits.max_queued;
        pthread_mutex_unlock(&sender.connection->lock);
        assert_true(queued <= bound + (2u << 20));
        if (held_back)
            break;
        sched_yield();
    }
    ax_connection_cancel(sender.connection);
    pthread_join(sender.thread, NULL);
    assert_int_equal(sender.error, AX_ESTATE);
    close(peer);
    finish_alone(sender.connection);
}

static void *cancel_it(void *connection)
{
    ax_connection_cancel(connection);
    return NULL;
}

static void starting_and_ending_may_race(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        int fds[2];
        pthread_t canceller;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        struct ax_connection *near = pair_connection(&ops, AX_OPENER), *far = pair_connection(&ops, AX_ACCEPTOR);
        pthread_create(&canceller, NULL, cancel_it, i % 2 == 0 ? near : far);
        assert_int_equal(ax_connection_start(near, fds[0], fds[0], NULL, 0), 0);
        assert_int_equal(ax_connection_start(far, fds[1], fds[1], NULL, 0), 0);
        pthread_join(canceller, NULL);
        assert_int_equal(wait_phase(near, AX_PHASE_FINISHED), 0);
        assert_int_equal(wait_phase(far, AX_PHASE_FINISHED), 0);
        wait_for(&finished_event, 2);
        ax_connection_unref(near);
        ax_connection_unref(far);
    }
    assert_true(ax_engine_wait_quiet(ax_engine_get(), UINT32_MAX));
}

static int start_group(void **state)
{
    (void)state;
    sem_t *events[] = {&stuck, &unstick, &unpickled, &go_on, &dropped, &finished_event};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        sem_init(events[i], 0, 0);
    return 0;
}

static int end_group(void **state)
{
    (void)state;
    ax_engine_stop();
    assert_int_equal(objects_alive, 0);
    return 0;
}

#define ON_SOCKETS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ON_PIPES(test) cmocka_unit_test_setup_teardown(test, set_up_pipes, tear_down)

int main(void)
{
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
        ON_SOCKETS(a_released_object_is_dropped),
        ON_SOCKETS(an_object_is_there_for_the_messages_before_its_release),
        ON_SOCKETS(releasing_what_is_not_there_breaks_the_connection),
        ON_SOCKETS(objects_that_nobody_releases_go_with_the_connection),
        ON_SOCKETS(closing_ends_both_sides_in_order),
        ON_PIPES(closing_ends_both_sides_in_order),
        ON_SOCKETS(a_call_that_waits_ends_with_the_connection),
        ON_SOCKETS(cancelling_ends_it_at_once),
        ON_SOCKETS(a_failure_from_outside_keeps_the_first_reason),
        cmocka_unit_test(garbage_breaks_a_connection),
        cmocka_unit_test(a_peer_that_goes_breaks_a_connection),
        cmocka_unit_test(a_stream_that_takes_nothing_breaks_a_connection),
        cmocka_unit_test(a_connection_may_end_before_it_starts),
        cmocka_unit_test(a_regular_file_is_refused),
        cmocka_unit_test(sender_that_is_held_back_is_woken_when_it_ends),
        cmocka_unit_test(starting_and_ending_may_race),
    };
    return cmocka_run_group_tests(tests, start_group, end_group);
}
