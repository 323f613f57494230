/* SPDX-License-Identifier: MIT */
/* The life of connections: how they start, close and break, with a peer and without one that answers. */
#include "tests/embed/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/embed/echo.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
