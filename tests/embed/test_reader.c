/* SPDX-License-Identifier: MIT */
/* The entry for bytes: those that were read before the start come first, and are all that is needed for a call. */
#include "tests/embed/testing.h"

#include <sys/socket.h>

#include "tests/embed/echo.h"

#define LARGE ((size_t)3 << 20)

/* Reads exactly so many bytes. */
static void read_all(int fd, unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t got = read(fd, data, size);
        assert_true(got > 0);
        data += got;
        size -= (size_t)got;
    }
}

/* The opener's superblock, in part read by somebody else. */
static void bytes_that_were_read_before_the_start_come_first(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 16; size++) {
        struct pair *pair = malloc(sizeof *pair);
        unsigned char received[16];
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        pair->near = pair_connection(&ops, AX_OPENER);
        pair->far = pair_connection(&ops, AX_ACCEPTOR);
        assert_int_equal(ax_connection_start(pair->near, fds[0], fds[0], NULL, 0), 0);
        read_all(fds[1], received, size);
        assert_int_equal(ax_connection_start(pair->far, fds[1], fds[1], received, size), 0);
        assert_int_equal(wait_phase(pair->far, AX_PHASE_RUNNING), 0);
        call(pair->near, "ping", 4);
        call(pair->far, "ping", 4);
        tear_down((void **)&pair);
    }
}

/* All that a peer says before it is answered, and more: a whole connection, read by somebody else. */
static struct ax_buffer record(const void *data, size_t size)
{
    struct ax_session_config config = {
        .role = AX_OPENER, .minor = 2, .timeout_ms = 60000, .features = AX_FEATURES_ALL & ~AX_FEATURE_FLOW};
    struct ax_session_config other = config;
    struct ax_session near, far;
    struct ax_buffer said = {0};
    struct ax_buffer buffer = bytes(data, size);
    struct ax_payload payload = {.buffers = &buffer, .buffer_count = 1};
    struct ax_operation operation = {.type = AX_APPLY};
    uint64_t id;

    ax_limits_init(&config.limits);
    other = config;
    other.role = AX_ACCEPTOR;
    assert_int_equal(ax_session_init(&near, &config, 0), 0);
    assert_int_equal(ax_session_init(&far, &other, 0), 0);
    struct ax_session *from = &near, *to = &far;
    bool called = false;
    for (;;) {
        struct ax_slice slice;
        struct ax_event event;
        if (near.state == AX_STATE_READY && !called) {
            assert_int_equal(ax_session_call(&near, &operation, &payload, &near, 0, &id), 0);
            called = true;
        }
        if (ax_session_pending(from, &slice, 1) == 0) {
            if (called && from == &near)
                break;
            struct ax_session *turn = from;
            from = to;
            to = turn;
            continue;
        }
        if (from == &near)
            assert_int_equal(ax_buffer_append(&said, slice.data, slice.size), 0);
        if (!called)
            for (size_t fed = 0; fed < slice.size;)
                fed += ax_session_feed(to, (const char *)slice.data + fed, slice.size - fed, 0, &event);
        ax_session_sent(from, slice.size, 0);
    }
    while (ax_session_next_waiter(&near) != NULL)
        continue;
    ax_session_fini(&near);
    ax_session_fini(&far);
    return said;
}

static void a_call_that_was_read_before_the_start_is_served(void **state)
{
    (void)state;
    unsigned char *data = malloc(LARGE);
    memset(data, 's', LARGE); /* stuck, until it is told to end */
    for (size_t size = 1; size <= LARGE; size *= LARGE - 1) {
        struct ax_buffer said = record(data, size);
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        struct ax_connection *connection = pair_connection(&ops, AX_ACCEPTOR);
        assert_int_equal(ax_connection_start(connection, fds[1], fds[1], said.data, said.size), 0);
        wait_for(&stuck, 1); /* it runs */
        sem_post(&unstick);
        close(fds[0]);
        assert_int_equal(wait_phase(connection, AX_PHASE_FINISHED), 0);
        wait_for(&finished_event, 1);
        ax_connection_unref(connection);
        assert_true(ax_engine_wait_quiet(ax_engine_get(), UINT32_MAX));
        ax_buffer_fini(&said);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_that_were_read_before_the_start_come_first),
        cmocka_unit_test(a_call_that_was_read_before_the_start_is_served),
    };

    return cmocka_run_group_tests(tests, start_group, end_group);
}
