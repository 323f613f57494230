/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

#define START 1000u /* what the clock says when a peer starts */

static struct peer peer;

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&peer);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void make_ready(uint32_t timeout_ms, uint32_t peer_timeout_ms)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    config.timeout_ms = timeout_ms;
    peer_make_ready(&peer, &config, peer_timeout_ms, 0);
}

static void feed_idle(uint64_t now)
{
    struct wire wire = {0};

    peer.now = now;
    wire_idle(&wire);
    peer_feed_wire(&peer, &wire);
}

/* Nothing happens up to a millisecond before the deadline. */
static void assert_deadline(uint64_t expected)
{
    assert_true(ax_session_deadline(&peer.session) == expected);
    peer_expire(&peer, expected - 1);
    assert_log(&peer, "");
    assert_true(ax_session_deadline(&peer.session) == expected);
}

static void without_timeouts_nothing_is_ever_due(void **state)
{
    (void)state;
    make_ready(0, 0);
    assert_true(ax_session_deadline(&peer.session) == AX_NEVER);
    peer_expire(&peer, AX_NEVER - 1);
    assert_log(&peer, "");
    assert_int_equal(peer.session.output.size, 0);
}

/* ---- the handshake ---- */

static void the_handshake_has_a_time_limit_as_a_whole(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);
    struct wire wire = {0};

    (void)state;
    config.handshake_timeout_ms = 500;
    peer_init(&peer, &config);
    peer_collect(&peer);
    assert_deadline(START + 500);
    wire_superblock(&wire, 0, 2, 0);
    peer_feed_wire(&peer, &wire); /* bytes do not move it */
    assert_deadline(START + 500);
    peer_expire(&peer, START + 500);
    assert_failed(&peer, AX_ETIMEDOUT, "The handshake was not finished within 500 ms");
    assert_true(ax_session_deadline(&peer.session) == AX_NEVER);
}

static void a_finished_handshake_has_no_time_limit(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    (void)state;
    config.handshake_timeout_ms = 500;
    peer_make_ready(&peer, &config, 0, 0);
    assert_true(ax_session_deadline(&peer.session) == AX_NEVER);
}

static void a_silent_peer_fails_the_handshake_too(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    (void)state;
    config.timeout_ms = 300;
    config.handshake_timeout_ms = 500;
    peer_init(&peer, &config);
    assert_deadline(START + 300);
    peer_expire(&peer, START + 300);
    assert_failed(&peer, AX_ETIMEDOUT, "Nothing was received for 300 ms");
}

/* ---- receiving ---- */

static void a_silent_peer_fails(void **state)
{
    (void)state;
    make_ready(300, 0);
    assert_deadline(START + 300);
    feed_idle(START + 299);
    assert_deadline(START + 599);
    peer_expire(&peer, START + 599);
    assert_failed(&peer, AX_ETIMEDOUT, "Nothing was received for 300 ms");
}

static void any_byte_is_a_sign_of_life(void **state)
{
    (void)state;
    make_ready(300, 0);
    peer.now = START + 100;
    peer_feed(&peer, "", 1);
    assert_deadline(START + 400);
}

static void bytes_in_memory_of_our_own_count_as_well(void **state)
{
    struct ax_event event;
    void *memory;

    (void)state;
    make_ready(300, 0);
    peer_feed(&peer, "\0\0\0\0\0\0\x40\0", 8); /* a head of 8 KiB */
    assert_true(ax_session_space(&peer.session, &memory) >= 1);
    memset(memory, 5, 1);
    ax_session_filled(&peer.session, 1, START + 200, &event);
    assert_int_equal(event.type, AX_EVENT_NONE);
    assert_deadline(START + 500);
    ax_session_filled(&peer.session, 0, START + 300, &event); /* nothing is no sign of life */
    assert_deadline(START + 500);
}

/* ---- sending ---- */

static void a_peer_that_does_not_read_fails(void **state)
{
    uint64_t id;

    (void)state;
    make_ready(300, 0);
    peer.now = START + 100;
    assert_int_equal(peer_call(&peer, "abcdef", 1, &id), 0);
    feed_idle(START + 350);
    assert_deadline(START + 400);
    ax_session_sent(&peer.session, 0, START + 399); /* nothing went out */
    assert_true(ax_session_deadline(&peer.session) == START + 400);
    ax_session_sent(&peer.session, 1, START + 399);
    feed_idle(START + 600);
    assert_deadline(START + 699);
    peer_expire(&peer, START + 699);
    assert_failed(&peer, AX_ETIMEDOUT, "Nothing could be sent for 300 ms");
    assert_int_equal((uintptr_t)ax_session_next_waiter(&peer.session), 1);
}

static void more_to_send_does_not_move_the_deadline(void **state)
{
    uint64_t id;

    (void)state;
    make_ready(300, 0);
    assert_int_equal(peer_call(&peer, "abcdef", 1, &id), 0);
    feed_idle(START + 200);
    assert_int_equal(peer_call(&peer, "abcdef", 1, &id), 0);
    assert_deadline(START + 300);
}

static void what_was_gathered_counts_from_when_the_clock_is_known(void **state)
{
    struct ax_slice slice;

    (void)state;
    make_ready(300, 0);
    assert_int_equal(ax_session_release(&peer.session, 5), 0);
    assert_int_equal(ax_session_pending(&peer.session, &slice, 1), 1);
    assert_int_equal(ax_session_deadline(&peer.session), 0);
    peer_expire(&peer, START + 200);
    feed_idle(START + 250);
    assert_log(&peer, "");
    assert_deadline(START + 500);
    peer_expire(&peer, START + 500);
    assert_failed(&peer, AX_ETIMEDOUT, "Nothing could be sent for 300 ms");
}

/* ---- IDLE ---- */

static void assert_idle_sent(void)
{
    struct wire expected = {0};

    wire_idle(&expected);
    assert_sent(&peer, &expected);
}

static void idle_is_sent_after_half_of_the_peers_timeout(void **state)
{
    (void)state;
    make_ready(0, 1001);
    assert_deadline(START + 500);
    assert_int_equal(peer_collect(&peer), 0);
    peer_expire(&peer, START + 500);
    assert_idle_sent();
    assert_deadline(START + 1000);
    peer_expire(&peer, START + 1000);
    assert_idle_sent();
    assert_log(&peer, "");
}

static void whatever_is_sent_puts_idle_off(void **state)
{
    uint64_t id;

    (void)state;
    make_ready(0, 1000);
    peer.now = START + 400;
    assert_int_equal(peer_call(&peer, "abcdef", 1, &id), 0);
    assert_true(ax_session_deadline(&peer.session) == AX_NEVER); /* what waits will do */
    peer.now = START + 450;
    peer_forget_sent(&peer);
    assert_deadline(START + 950);
}

static void idle_has_a_floor_whatever_the_peer_asks_for(void **state)
{
    (void)state;
    for (uint32_t timeout = 1; timeout <= 100; timeout++) {
        make_ready(0, timeout);
        assert_deadline(START + 50);
        peer_fini(&peer);
    }
    make_ready(0, 102);
    assert_deadline(START + 51);
}

static void without_a_floor_idle_is_sent_every_millisecond_at_the_most(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    (void)state;
    config.limits.idle_floor_ms = 0;
    peer_make_ready(&peer, &config, 1, 0);
    assert_deadline(START + 1);
}

static void without_memory_for_idle_the_session_fails(void **state)
{
    (void)state;
    make_ready(0, 1000);
    alloc_fail_at(1);
    peer_expire(&peer, START + 500);
    assert_failed(&peer, AX_ENOMEM, "Out of memory");
}

/* ---- closing ---- */

static void a_peer_that_does_not_answer_goodbye_fails(void **state)
{
    (void)state;
    make_ready(300, 1000);
    ax_session_close(&peer.session, NULL, START + 100);
    peer_collect(&peer);
    feed_idle(START + 350); /* bytes do not move it, and we are not idle any more */
    assert_deadline(START + 400);
    peer_expire(&peer, START + 400);
    assert_failed(&peer, AX_ETIMEDOUT, "The peer did not close within 300 ms");
}

static void closing_without_a_timeout_has_a_limit_of_its_own(void **state)
{
    (void)state;
    make_ready(0, 0);
    ax_session_close(&peer.session, NULL, START);
    peer_collect(&peer);
    assert_deadline(START + 60000);
    peer_expire(&peer, START + 60000);
    assert_failed(&peer, AX_ETIMEDOUT, "The peer did not close within 60000 ms");
}

static void a_closed_session_that_cannot_send_the_rest_fails(void **state)
{
    struct wire wire = {0};

    (void)state;
    make_ready(300, 0);
    peer.now = START + 100;
    wire_goodbye(&wire, NULL);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "closed\n");
    assert_deadline(START + 400);
    peer_expire(&peer, START + 400);
    assert_failed(&peer, AX_ETIMEDOUT, "The peer did not close within 300 ms");
    peer_expire(&peer, START + 4000);
    assert_log(&peer, "");
}

static void a_closed_session_that_has_sent_all_waits_for_nothing(void **state)
{
    struct wire wire = {0};

    (void)state;
    make_ready(300, 1000);
    wire_goodbye(&wire, NULL);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "closed\n");
    peer_collect(&peer);
    assert_true(ax_session_deadline(&peer.session) == AX_NEVER);
}

static void a_clock_near_its_end_does_not_wrap(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    struct ax_event event;

    (void)state;
    config.timeout_ms = 300;
    config.handshake_timeout_ms = 500;
    assert_int_equal(ax_session_init(&peer.session, &config, AX_NEVER - 100), 0);
    assert_true(ax_session_deadline(&peer.session) == AX_NEVER);
    ax_session_expire(&peer.session, AX_NEVER - 1, &event);
    assert_int_equal(event.type, AX_EVENT_NONE);
    assert_int_equal(peer.session.state, AX_STATE_SUPERBLOCK);
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_timeouts_nothing_is_ever_due),
        TEST(the_handshake_has_a_time_limit_as_a_whole),
        TEST(a_finished_handshake_has_no_time_limit),
        TEST(a_silent_peer_fails_the_handshake_too),
        TEST(a_silent_peer_fails),
        TEST(any_byte_is_a_sign_of_life),
        TEST(bytes_in_memory_of_our_own_count_as_well),
        TEST(a_peer_that_does_not_read_fails),
        TEST(more_to_send_does_not_move_the_deadline),
        TEST(what_was_gathered_counts_from_when_the_clock_is_known),
        TEST(idle_is_sent_after_half_of_the_peers_timeout),
        TEST(whatever_is_sent_puts_idle_off),
        TEST(idle_has_a_floor_whatever_the_peer_asks_for),
        TEST(without_a_floor_idle_is_sent_every_millisecond_at_the_most),
        TEST(without_memory_for_idle_the_session_fails),
        TEST(a_peer_that_does_not_answer_goodbye_fails),
        TEST(closing_without_a_timeout_has_a_limit_of_its_own),
        TEST(a_closed_session_that_cannot_send_the_rest_fails),
        TEST(a_closed_session_that_has_sent_all_waits_for_nothing),
        TEST(a_clock_near_its_end_does_not_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
