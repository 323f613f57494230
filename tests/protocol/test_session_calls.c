/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "peer.h"

static struct peer opener;
static struct peer acceptor;

static int set_up(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);

    (void)state;
    peer_init(&opener, &config);
    config = peer_config(AX_ACCEPTOR);
    peer_init(&acceptor, &config);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "ready\n");
    assert_log(&acceptor, "ready\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&opener);
    peer_fini(&acceptor);
    return 0;
}

static void a_call_arrives_and_its_result_finds_the_waiter(void **state)
{
    uint64_t id;

    (void)state;
    assert_int_equal(peer_call(&opener, "question", 42, &id), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 refs buffers 1 question\n");
    assert_int_equal(peer_result(&acceptor, id, AX_RESULT_SUCCESS, "answer"), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "result 0 kind 2 waiter 42 refs buffers 1 answer\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_arrives_and_its_result_finds_the_waiter, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
