/* SPDX-License-Identifier: MIT */
/* Objects that a peer releases are dropped, but not before the messages that came earlier have been unpickled. */
#include "tests/embed/testing.h"

#include "tests/embed/echo.h"

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

/* ---- a drop after the end of its connection ---- */

static _Thread_local bool keeps; /* a drop has left something in this thread */
static sem_t forgotten;

static void drop_and_keep(struct ax_connection *connection, struct ax_object *doomed)
{
    keeps = keeps || doomed != NULL;
    drop(connection, doomed);
}

static void renew_thread(void)
{
    if (keeps)
        sem_post(&forgotten);
    keeps = false;
}

static int start_group_with_hooks(void **state)
{
    const struct ax_executor_hooks hooks = {.thread_renew = renew_thread};

    sem_init(&forgotten, 0, 0);
    ax_engine_set_hooks(&hooks);
    return start_group(state);
}

static void what_a_late_drop_leaves_in_its_thread_goes(void **state)
{
    static const struct ax_connection_ops keeping = {
        .serve = serve, .drop = drop_and_keep, .finished = finished, .freed = freed};
    struct pair *pair = pair_on_sockets(&keeping);
    struct ax_connection *connection = pair->far;
    struct ax_object *late = calloc(1, sizeof *late);
    (void)state;

    ax_connection_ref(connection);
    pair_end(pair); /* its threads have been renewed, or will be */
    wait_for(&finished_event, 2);
    atomic_fetch_add(&objects_alive, 1);
    ax_connection_drop_later(connection, late);
    wait_for(&dropped, 1);
    wait_for(&forgotten, 1); /* no other job, and no other end, would lead to it */
    ax_connection_unref(connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SOCKETS(a_released_object_is_dropped),
        ON_SOCKETS(an_object_is_there_for_the_messages_before_its_release),
        ON_SOCKETS(releasing_what_is_not_there_breaks_the_connection),
        ON_SOCKETS(objects_that_nobody_releases_go_with_the_connection),
        cmocka_unit_test(what_a_late_drop_leaves_in_its_thread_goes),
    };

    return cmocka_run_group_tests(tests, start_group_with_hooks, end_group);
}
