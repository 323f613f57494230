/* SPDX-License-Identifier: MIT */
/*
 * Calls that fork: what a child does that comes back from one, and what it may do with the connections of its parent.
 */
#include "tests/embed/pair.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embed/call_stats.h"

static struct ax_call_stats calls;
static ax_wire_state wire;

/* How a child ended, as waitpid() tells it. */
static int status_of(pid_t child)
{
    int status = -1;

    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* What the far end does in a call, before it answers. */
static void (*serve_in_child)(struct ax_request *request);
static int child_status;

static void serve(struct ax_request *request)
{
    struct ax_buffer answer = {0};

    pair_drop(request->connection, ax_request_unpickled(request));
    pid_t child = fork();
    if (child == 0) {
        serve_in_child(request);
        return; /* to the executor */
    }
    child_status = status_of(child);
    assert_int_equal(ax_buffer_append(&answer, "done", 4), 0);
    assert_int_equal(pair_answer(request, &answer), 0);
    ax_request_free(request);
}

static const struct ax_connection_ops ops = {
    .serve = serve, .drop = pair_drop, .finished = pair_finished, .freed = pair_freed};

static int set_up(void **state)
{
    struct pair *pair = pair_on_sockets(&ops);

    pthread_mutex_lock(&pair->far->lock);
    pair->far->wire = &wire;
    pthread_mutex_unlock(&pair->far->lock);
    *state = pair;
    return 0;
}

static void call(struct pair *pair)
{
    struct ax_buffer buffer = {0};
    struct ax_pending pending;

    assert_int_equal(ax_buffer_append(&buffer, "call", 4), 0);
    assert_int_equal(pair_call(pair->near, &buffer, &pending), 0);
    assert_int_equal(await(pair->near, &pending), 0);
    assert_non_null(pending.message);
    assert_null(ax_ticket_done(pair->near, &pending.ticket));
    ax_message_free(pending.message);
}

/* ---- what the child does ---- */

static void do_nothing(struct ax_request *request)
{
    (void)request;
}

/* Checks all that a child may do with a connection of its parent. Nothing of it waits. */
static void try_everything(struct ax_request *request)
{
    struct ax_connection *connection = request->connection;
    struct ax_operation operation = {.type = AX_APPLY};
    struct ax_payload payload = {0};
    struct ax_pending pending = {0};
    struct ax_request *other;
    struct ax_release *release = malloc(sizeof *release);

    release->id = 1;
    ax_connection_release(connection, release);
    bool fine = ax_engine_is_past(connection->engine) && connection->stream.in_fd < 0 && connection->wire == NULL &&
                ax_connection_phase(connection) == AX_PHASE_FINISHED &&
                ax_connection_wait(connection, AX_PHASE_FINISHED) == 0 &&
                ax_connection_call(connection, &operation, &payload, &pending) == AX_ESTATE &&
                ax_connection_await(connection, &pending, &other) == 0 && other == NULL &&
                ax_ticket_done(connection, &request->ticket) == NULL &&
                !ax_connection_fail(connection, 0, "in the child");
    ax_connection_abandon(connection, &pending);
    ax_connection_close(connection, NULL);
    ax_connection_cancel(connection);
    _exit(fine ? 7 : 8);
}

/* Starts an engine of its own, whose counts are nobody's business. */
static void call_another(struct ax_request *request)
{
    (void)request;
    struct ax_engine *engine = ax_engine_get();
    ax_engine_call_begins(engine);
    ax_engine_call_begins(engine);
    ax_engine_call_ends(engine);
    _exit(engine->calls == NULL ? 7 : 8);
}

static int private_fd;

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void look_at_descriptors(struct ax_request *request)
{
    _exit(is_open(private_fd) || is_open(uv_backend_fd(&request->connection->engine->loop.uv)) ? 8 : 7);
}

/* ---- tests ---- */

static void a_child_that_comes_back_from_a_call_ends_with_status_0(void **state)
{
    serve_in_child = do_nothing;
    for (int i = 0; i < 5; i++) {
        child_status = -1;
        call(*state);
        assert_int_equal(child_status, 0);
    }
}

static void nothing_that_a_child_does_with_a_connection_waits_or_is_seen_by_the_parent(void **state)
{
    serve_in_child = try_everything;
    call(*state);
    assert_true(WIFEXITED(child_status));
    assert_int_equal(WEXITSTATUS(child_status), 7);
    call(*state);
}

/* Waits until the counts say so. */
static void wait_for_calls(uint32_t running)
{
    while (atomic_load(&calls.calls_running) != running)
        sched_yield();
}

static void a_child_leaves_counts_and_wire_to_its_parent(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it takes no threads of a child that was forked */
#endif
    struct pair *pair = *state;
    wait_for_calls(0);
    uint64_t done = atomic_load(&calls.calls_done);
    serve_in_child = call_another;
    call(pair);
    assert_int_equal(WEXITSTATUS(child_status), 7);
    wait_for_calls(0);
    assert_int_equal(atomic_load(&calls.calls_done), done + 1);
    assert_int_equal(atomic_load(&calls.connections), 2);
    assert_int_equal(atomic_load(&wire), AX_WIRE_EXPLAINED);
}

static void a_child_has_none_of_the_internal_descriptors(void **state)
{
    struct pair *pair = *state;

    serve_in_child = look_at_descriptors;
    call(pair);
    assert_int_equal(WEXITSTATUS(child_status), 7);
    assert_true(is_open(private_fd));
    assert_true(is_open(uv_backend_fd(&pair->near->engine->loop.uv)));
}

static int set_up_group(void **state)
{
    (void)state;
    private_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(private_fd >= 0);
    ax_fork_keep_private(private_fd);
    ax_engine_set_stats(&calls);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_child_that_comes_back_from_a_call_ends_with_status_0, set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(nothing_that_a_child_does_with_a_connection_waits_or_is_seen_by_the_parent,
                                        set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(a_child_has_none_of_the_internal_descriptors, set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(a_child_leaves_counts_and_wire_to_its_parent, set_up, pair_tear_down),
    };

    return cmocka_run_group_tests(tests, set_up_group, pair_end_group);
}
