/* SPDX-License-Identifier: MIT */
/*
 * Every way to end a connection, in every state, opposite a peer that reads nothing: what ends at once, what waits, and
 * what the loop polls for meanwhile. No session here has a timeout that would help.
 */
#include "tests/embed/testing.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "embed/connection.h"
#include "embed/connection_calls.h"
#include "embed/connection_releases.h"
#include "embed/engine.h"
#include "embed/reader.h"
#include "tests/embed/pair.h"

#define PAYLOAD (4u << 20) /* more than any socket or pipe holds */

static void serve(struct ax_request *request)
{
    (void)request;
    fail_msg("nobody calls here");
}

static const struct ax_connection_ops ops = {
    .serve = serve, .drop = pair_drop, .finished = pair_finished, .freed = pair_freed};

/* ---- the peer: bytes of a plain one ---- */

struct peer {
    int in_fd, out_fd; /* equal for a socket */
    struct ax_connection *connection;
    struct ax_pending pending;
    bool called;
};

static const unsigned char superblock[16] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2};
static const unsigned char greeting[10] = {0, 0, 0, 0, 0, 0, 0, 4, 0, 0};
static const unsigned char goodbye[9] = {0, 0, 0, 0, 0, 0, 0, 2, 3};

static void say(const struct peer *peer, const unsigned char *bytes, size_t size)
{
    assert_int_equal(write(peer->out_fd, bytes, size), size);
}

static void end_stream(struct peer *peer)
{
    if (peer->in_fd == peer->out_fd) {
        assert_int_equal(shutdown(peer->out_fd, SHUT_WR), 0);
    } else {
        close(peer->out_fd);
        peer->out_fd = -1;
    }
}

/* Reads to the end of the stream; whether the last thing that came was a GOODBYE. */
static bool read_all(const struct peer *peer)
{
    static unsigned char buffer[1 << 16];
    unsigned char last[sizeof goodbye] = {0};
    ssize_t size;

    while ((size = read(peer->in_fd, buffer, sizeof buffer)) > 0) {
        size_t got = (size_t)size < sizeof last ? (size_t)size : sizeof last;
        memmove(last, last + got, sizeof last - got);
        memcpy(last + sizeof last - got, buffer + size - got, got);
    }
    return memcmp(last, goodbye, sizeof last) == 0;
}

/* ---- states ---- */

enum stage {
    NOT_STARTED,
    SUPERBLOCK,
    GREETING,
    READY,
    READY_BLOCKED,
    CLOSING,
    CLOSING_BLOCKED,
    CLOSED_BY_PEER,   /* it said GOODBYE and ended its stream; our output is blocked */
    CLOSED_BY_BOTH,   /* the same after our close() */
    CLOSED_BY_ENDING, /* after our close() the peer just ended its stream */
    FAILED,
    FINISHED,
    STAGES
};

static enum ax_session_state state_of(struct ax_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    enum ax_session_state state = connection->session.state;
    pthread_mutex_unlock(&connection->lock);
    return state;
}

static void await_state(struct ax_connection *connection, enum ax_session_state state)
{
    while (state_of(connection) != state)
        sched_yield();
}

static void start(struct peer *peer, bool on_pipes)
{
    int there[2], back[2];

    if (on_pipes) {
        assert_int_equal(pipe2(there, O_CLOEXEC) | pipe2(back, O_CLOEXEC), 0);
        peer->in_fd = there[0];
        peer->out_fd = back[1];
        assert_int_equal(ax_connection_start(peer->connection, back[0], there[1], NULL, 0), 0);
    } else {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, there), 0);
        peer->in_fd = peer->out_fd = there[0];
        assert_int_equal(ax_connection_start(peer->connection, there[1], there[1], NULL, 0), 0);
    }
}

static void block_output(struct peer *peer)
{
    struct ax_buffer payload = {.data = calloc(1, PAYLOAD), .size = PAYLOAD, .capacity = PAYLOAD};

    assert_int_equal(pair_call(peer->connection, &payload, &peer->pending), 0);
    peer->called = true;
}

static bool is_blocked(enum stage stage)
{
    return stage == READY_BLOCKED || (stage >= CLOSING_BLOCKED && stage <= CLOSED_BY_ENDING);
}

static void reach(struct peer *peer, enum stage stage, bool on_pipes)
{
    struct ax_session_config config = {.role = AX_ACCEPTOR, .minor = 2, .features = AX_FEATURES_ALL};

    ax_limits_init(&config.limits);
    config.limits.close_ms = AX_TIMEOUT_MAX_MS;
    *peer = (struct peer){.in_fd = -1, .out_fd = -1};
    peer->connection = ax_connection_new(ax_engine_get(), &ops, &config, NULL);
    assert_non_null(peer->connection);
    if (stage >= SUPERBLOCK)
        start(peer, on_pipes);
    if (stage >= GREETING) {
        say(peer, superblock, sizeof superblock);
        await_state(peer->connection, AX_STATE_GREETING);
    }
    if (stage >= READY) {
        say(peer, greeting, sizeof greeting);
        await_state(peer->connection, AX_STATE_READY);
    }
    if (is_blocked(stage))
        block_output(peer);
    if (stage == CLOSING || stage == CLOSING_BLOCKED || stage == CLOSED_BY_BOTH || stage == CLOSED_BY_ENDING)
        ax_connection_close(peer->connection, NULL);
    if (stage == CLOSED_BY_PEER || stage == CLOSED_BY_BOTH)
        say(peer, goodbye, sizeof goodbye);
    if (stage >= CLOSED_BY_PEER && stage <= CLOSED_BY_ENDING) {
        end_stream(peer);
        await_state(peer->connection, AX_STATE_CLOSED);
    }
    if (stage >= FAILED)
        end_stream(peer);
    if (stage == FAILED)
        await_state(peer->connection, AX_STATE_FAILED);
    if (stage == FINISHED)
        assert_int_equal(wait_phase(peer->connection, AX_PHASE_FINISHED), 0);
}

static void leave(struct peer *peer)
{
    assert_int_equal(wait_phase(peer->connection, AX_PHASE_FINISHED), 0);
    if (peer->called) {
        assert_int_equal(await(peer->connection, &peer->pending), 0);
        assert_null(peer->pending.message);
    }
    ax_connection_unref(peer->connection);
    if (peer->in_fd >= 0)
        close(peer->in_fd);
    if (peer->out_fd >= 0 && peer->out_fd != peer->in_fd)
        close(peer->out_fd);
    assert_true(ax_engine_wait_quiet(ax_engine_get(), UINT32_MAX));
}

/* What the connection ended with, if cancel() came last. */
static enum ax_end end_of(enum stage stage)
{
    if (stage < CLOSED_BY_PEER)
        return AX_END_CANCELLED;
    if (stage >= FAILED)
        return AX_END_FAILED;
    return stage == CLOSED_BY_PEER ? AX_END_REMOTE : AX_END_CLOSED;
}

/* ---- tests ---- */

static void in_every_state(void (*test)(enum stage stage, struct peer *peer))
{
    for (int on_pipes = 0; on_pipes < 2; on_pipes++)
        for (enum stage stage = 0; stage < STAGES; stage++) {
            struct peer peer;
            reach(&peer, stage, on_pipes);
            test(stage, &peer);
            leave(&peer);
        }
}

static void cancel_in(enum stage stage, struct peer *peer)
{
    ax_connection_cancel(peer->connection);
    ax_connection_cancel(peer->connection);
    assert_int_equal(wait_phase(peer->connection, AX_PHASE_FINISHED), 0);
    assert_int_equal(peer->connection->end, end_of(stage));
}

static void cancelling_ends_at_once_in_every_state(void **state)
{
    (void)state;
    in_every_state(cancel_in);
}

static void fail_in(enum stage stage, struct peer *peer)
{
    bool counts = ax_connection_fail(peer->connection, EIO, "the channel broke");

    assert_int_equal(counts, stage < CLOSED_BY_PEER);
    assert_int_equal(wait_phase(peer->connection, AX_PHASE_FINISHED), 0);
    assert_int_equal(peer->connection->end, stage < CLOSED_BY_PEER ? AX_END_FAILED : end_of(stage));
    assert_int_equal(peer->connection->io_error, counts ? EIO : 0);
}

static void a_failure_ends_at_once_in_every_state(void **state)
{
    (void)state;
    in_every_state(fail_in);
}

/* Closing waits for the peer; cancelling ends that. */
static void close_in(enum stage stage, struct peer *peer)
{
    ax_connection_close(peer->connection, NULL);
    assert_true(ax_connection_phase(peer->connection) >= AX_PHASE_STOPPING);
    if (stage < READY || stage >= FAILED)
        assert_int_equal(wait_phase(peer->connection, AX_PHASE_FINISHED), 0);
    else
        assert_true(ax_connection_phase(peer->connection) < AX_PHASE_FINISHED);
    ax_connection_cancel(peer->connection);
}

static void closing_in_every_state_can_be_cancelled(void **state)
{
    (void)state;
    in_every_state(close_in);
}

/* What came before the end still counts: here a GOODBYE, behind which nothing is left to fail. */
static void the_end_of_the_stream_may_have_a_reason(void **state)
{
    (void)state;
    for (int with_goodbye = 0; with_goodbye < 2; with_goodbye++) {
        struct peer peer;
        reach(&peer, READY, false);
        assert_int_equal(ax_connection_fail_at_end(peer.connection, "the channel broke"), 0);
        assert_int_equal(ax_connection_fail_at_end(peer.connection, "the second one"), 0);
        assert_int_equal(state_of(peer.connection), AX_STATE_READY);
        if (with_goodbye != 0)
            say(&peer, goodbye, sizeof goodbye);
        end_stream(&peer);
        assert_int_equal(wait_phase(peer.connection, AX_PHASE_FINISHED), 0);
        assert_int_equal(peer.connection->end, with_goodbye ? AX_END_REMOTE : AX_END_FAILED);
        assert_string_equal(ax_session_reason(&peer.connection->session), with_goodbye ? "" : "the channel broke");
        leave(&peer);
    }
}

/* Nothing is lost when the peer reads on after it has ended its own side. */
static void what_is_queued_is_sent_before_the_stream_is_closed(void **state)
{
    (void)state;
    for (int on_pipes = 0; on_pipes < 2; on_pipes++)
        for (enum stage stage = CLOSED_BY_PEER; stage <= CLOSED_BY_ENDING; stage++) {
            struct peer peer;
            reach(&peer, stage, on_pipes);
            assert_true(read_all(&peer));
            leave(&peer);
        }
}

struct look {
    struct ax_task task;
    struct ax_connection *connection;
    unsigned polled;
    sem_t done;
};

static void look(struct ax_task *task)
{
    struct look *look = CONTAINER_OF(task, struct look, task);

    look->polled = look->connection->reader.polled;
    sem_post(&look->done);
}

/* What the loop polls for, asked in its own thread. */
static unsigned polled_by_loop(struct ax_connection *connection)
{
    struct look ask = {.connection = connection};

    ax_task_init(&ask.task, look);
    sem_init(&ask.done, 0, 0);
    ax_loop_post(&connection->engine->loop, &ask.task);
    wait_for(&ask.done, 1);
    sem_destroy(&ask.done);
    return ask.polled;
}

/* The end of a stream is readable for ever: who polls for it, once it is known, never sleeps again. */
static void a_closed_connection_polls_for_writing_alone(void **state)
{
    (void)state;
    for (int on_pipes = 0; on_pipes < 2; on_pipes++)
        for (enum stage stage = CLOSED_BY_PEER; stage <= CLOSED_BY_ENDING; stage++) {
            struct peer peer;
            reach(&peer, stage, on_pipes);
            while (polled_by_loop(peer.connection) != AX_INTEREST_WRITE)
                sched_yield();
            ax_connection_cancel(peer.connection);
            leave(&peer);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelling_ends_at_once_in_every_state),
        cmocka_unit_test(a_failure_ends_at_once_in_every_state),
        cmocka_unit_test(closing_in_every_state_can_be_cancelled),
        cmocka_unit_test(the_end_of_the_stream_may_have_a_reason),
        cmocka_unit_test(what_is_queued_is_sent_before_the_stream_is_closed),
        cmocka_unit_test(a_closed_connection_polls_for_writing_alone),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, pair_end_group);
}
