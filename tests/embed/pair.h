/* SPDX-License-Identifier: MIT */
/* Two connections of one process that talk to each other. */
#ifndef AX_TESTS_EMBED_PAIR_H
#define AX_TESTS_EMBED_PAIR_H

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "embed/connection.h"
#include "embed/connection_calls.h"
#include "embed/connection_releases.h"
#include "embed/engine.h"
#include "tests/embed/testing.h"

/* ---- waiting on, where Python would have looked for signals ---- */

static inline int wait_phase(struct ax_connection *connection, enum ax_phase phase)
{
    int error;

    do
        error = ax_connection_wait(connection, phase);
    while (error == -EINTR);
    return error;
}

static inline int await(struct ax_connection *connection, struct ax_pending *pending)
{
    struct ax_request *request;
    int error;

    do {
        error = ax_connection_await(connection, pending, &request);
        if (request != NULL)
            connection->ops->serve(request);
    } while (error == -EINTR || request != NULL);
    return error;
}

/* ---- calls of one buffer ---- */

/* `within`: the request that is being served meanwhile, or NULL. */
static inline int pair_call_within(struct ax_connection *connection, const struct ax_request *within,
                                   struct ax_buffer *buffer, struct ax_pending *pending)
{
    struct ax_operation operation = {.type = AX_APPLY, .within = within != NULL ? within->message->call + 1 : 0};
    struct ax_payload payload = {.buffers = buffer, .buffer_count = 1};

    return ax_connection_call(connection, &operation, &payload, pending);
}

static inline int pair_call(struct ax_connection *connection, struct ax_buffer *buffer, struct ax_pending *pending)
{
    return pair_call_within(connection, NULL, buffer, pending);
}

static inline int pair_answer(struct ax_request *request, struct ax_buffer *buffer)
{
    struct ax_payload payload = {.buffers = buffer, .buffer_count = 1};

    return ax_request_result(request, AX_RESULT_SUCCESS, &payload);
}

/* ---- ops of tests to which an end is nothing special ---- */

static inline void pair_finished(struct ax_connection *connection)
{
    (void)connection;
}

static inline void pair_freed(void *above)
{
    (void)above;
}

/* For objects, of which there are none. */
static inline void pair_drop(struct ax_connection *connection, struct ax_object *doomed)
{
    (void)connection;
    assert_null(doomed);
}

/* ---- pairs ---- */

struct pair {
    struct ax_connection *near, *far;
};

/* `max_calls`: how many it serves at a time; 0: as many as by default. */
static inline struct ax_connection *pair_limited_connection(const struct ax_connection_ops *ops, enum ax_role role,
                                                            uint32_t max_calls)
{
    struct ax_session_config config = {
        .role = role, .minor = 2, .timeout_ms = 60000, .handshake_timeout_ms = 60000, .features = AX_FEATURES_ALL};

    ax_limits_init(&config.limits);
    if (max_calls > 0)
        config.limits.max_calls = max_calls;
    struct ax_connection *connection = ax_connection_new(ax_engine_get(), ops, &config, NULL);
    assert_non_null(connection);
    return connection;
}

static inline struct ax_connection *pair_connection(const struct ax_connection_ops *ops, enum ax_role role)
{
    return pair_limited_connection(ops, role, 0);
}

static inline void pair_start(struct pair *pair, const struct ax_connection_ops *ops, uint32_t max_calls,
                              const int near_fds[2], const int far_fds[2])
{
    pair->near = pair_connection(ops, AX_OPENER);
    pair->far = pair_limited_connection(ops, AX_ACCEPTOR, max_calls);
    assert_int_equal(ax_connection_start(pair->near, near_fds[0], near_fds[1], NULL, 0), 0);
    assert_int_equal(ax_connection_start(pair->far, far_fds[0], far_fds[1], NULL, 0), 0);
    assert_int_equal(wait_phase(pair->near, AX_PHASE_RUNNING), 0);
    assert_int_equal(wait_phase(pair->far, AX_PHASE_RUNNING), 0);
    assert_int_equal(ax_connection_phase(pair->near), AX_PHASE_RUNNING);
    assert_int_equal(ax_connection_phase(pair->far), AX_PHASE_RUNNING);
}

/* A running pair over sockets, whose far end serves `max_calls` at a time; pair_end() frees it. */
static inline struct pair *pair_with_limit(const struct ax_connection_ops *ops, uint32_t max_calls)
{
    struct pair *pair = malloc(sizeof *pair);
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pair_start(pair, ops, max_calls, (int[2]){fds[0], fds[0]}, (int[2]){fds[1], fds[1]});
    return pair;
}

static inline struct pair *pair_on_sockets(const struct ax_connection_ops *ops)
{
    return pair_with_limit(ops, 0);
}

/* Closes it, if that has not happened yet; nothing of it may be left. */
static inline void pair_end(struct pair *pair)
{
    ax_connection_close(pair->near, NULL);
    assert_int_equal(wait_phase(pair->near, AX_PHASE_FINISHED), 0);
    assert_int_equal(wait_phase(pair->far, AX_PHASE_FINISHED), 0);
    assert_int_equal(ax_objects_count(&pair->near->objects) + ax_objects_count(&pair->far->objects), 0);
    ax_connection_unref(pair->near);
    ax_connection_unref(pair->far);
    free(pair);
    assert_true(ax_engine_wait_quiet(ax_engine_get(), UINT32_MAX));
}

/* For cmocka: ends the pair that a test's state is, and what a group of tests has left. */
static inline int pair_tear_down(void **state)
{
    pair_end(*state);
    return 0;
}

static inline int pair_end_group(void **state)
{
    (void)state;
    ax_engine_stop();
    return 0;
}

#endif
