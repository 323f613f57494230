/* SPDX-License-Identifier: MIT */
/* A session that refuses requests: its owner asks, and is never asked. */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

#define REFUSAL "The peer refuses calls: it takes data, and runs nothing for others"

static struct peer peer;

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&peer);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void make_ready(enum ax_role role)
{
    struct ax_session_config config = peer_config(role);

    config.refuse_requests = true;
    peer_make_ready(&peer, &config, 0, 0);
}

static void feed_apply(uint64_t call, const uint64_t *refs, size_t ref_count)
{
    struct wire wire = {0};

    wire_apply(&wire, call, refs, ref_count, "x");
    peer_feed_wire(&peer, &wire);
}

static void a_call_is_refused_and_its_references_are_answered_for(void **state)
{
    const uint64_t refs[] = {8, 300};
    struct wire expected = {0};

    (void)state;
    for (enum ax_role role = AX_OPENER; role <= AX_ACCEPTOR; role++) {
        make_ready(role);
        feed_apply(0, NULL, 0);
        feed_apply(1, refs, 2);
        assert_log(&peer, ""); /* nobody above hears of them */
        assert_int_equal(peer.session.calls_in_progress, 0);
        wire_operation_error(&expected, 0, REFUSAL);
        wire_operation_error(&expected, 1, REFUSAL);
        wire_del_objs(&expected, refs, 2);
        assert_sent(&peer, &expected);
        if (role == AX_OPENER)
            peer_fini(&peer);
    }
}

static void so_is_every_other_request(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);
    const uint64_t types[] = {AX_CREATE, AX_REPLICATE, AX_COPY, AX_METHOD};
    struct wire expected = {0};

    (void)state;
    config.refuse_requests = true;
    config.features = AX_FEATURES_ALL;
    peer_make_ready(&peer, &config, 0, AX_FEATURES_ALL);
    for (uint64_t i = 0; i < COUNT_OF(types); i++) {
        const unsigned char head[] = {(unsigned char)types[i], (unsigned char)i};
        struct wire wire = {0};
        assert_true(ax_is_request(types[i]));
        wire_frame(&wire, head, sizeof head, true);
        wire_frame(&wire, "x", 1, false);
        peer_feed_wire(&peer, &wire);
        wire_operation_error(&expected, i, REFUSAL);
    }
    assert_log(&peer, "");
    assert_sent(&peer, &expected);
}

static void a_call_without_a_buffer_is_still_a_breach(void **state)
{
    struct wire wire = {0};

    (void)state;
    make_ready(AX_OPENER);
    wire_bare_message(&wire, AX_APPLY);
    peer_feed_wire(&peer, &wire);
    assert_failed(&peer, AX_EPROTOCOL, "Call 0 has no buffer");
}

static void refusals_that_nobody_reads_fail_the_session(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);
    const size_t size = 8 + 4 + strlen(REFUSAL); /* header, fields, text */

    (void)state;
    config.refuse_requests = true;
    config.limits.max_queued = size;
    peer_make_ready(&peer, &config, 0, 0);
    for (int i = 0; i < 3; i++)
        feed_apply(0, NULL, 0);
    assert_log(&peer, "");
    assert_int_equal(peer.session.output.size, 3 * size);
    feed_apply(0, NULL, 0);
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_int_equal(peer.session.error, AX_EFULL);
}

static void answers_and_releases_are_taken(void **state)
{
    const uint64_t ids[] = {1, 2};
    struct wire wire = {0};
    uint64_t id;

    (void)state;
    make_ready(AX_OPENER);
    assert_int_equal(peer_call(&peer, "question", 7, &id), 0);
    wire_result(&wire, id, AX_RESULT_SUCCESS, NULL, 0, "answer");
    wire_del_objs(&wire, ids, 2);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "result 0 kind 2 waiter 7 refs buffers 1 answer\nrelease 1,2\n");
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_is_refused_and_its_references_are_answered_for),
        TEST(so_is_every_other_request),
        TEST(a_call_without_a_buffer_is_still_a_breach),
        TEST(refusals_that_nobody_reads_fail_the_session),
        TEST(answers_and_releases_are_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
