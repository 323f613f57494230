/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

static struct peer peer;

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&peer);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void make_ready(uint32_t features)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    config.features = features;
    peer_make_ready(&peer, &config, 0, features);
}

static void start(enum ax_role role)
{
    struct ax_session_config config = peer_config(role);

    peer_init(&peer, &config);
    peer_forget_sent(&peer);
}

static void feed_goodbye(const char *text)
{
    struct wire wire = {0};

    wire_goodbye(&wire, text);
    peer_feed_wire(&peer, &wire);
}

static void assert_goodbye_sent(const char *text)
{
    struct wire expected = {0};

    wire_goodbye(&expected, text);
    assert_sent(&peer, &expected);
}

static void close_now(const char *reason)
{
    ax_session_close(&peer.session, reason, peer.now);
}

/* ---- both say goodbye ---- */

static void we_say_goodbye_and_wait_for_the_peers(void **state)
{
    (void)state;
    make_ready(0);
    close_now(NULL);
    assert_int_equal(peer.session.state, AX_STATE_CLOSING);
    assert_goodbye_sent(NULL);
    assert_log(&peer, "");
    feed_goodbye(NULL);
    assert_log(&peer, "closed\n");
    assert_int_equal(peer.session.state, AX_STATE_CLOSED);
    assert_int_equal(peer_collect(&peer), 0);
    assert_true(peer.session.peer_said_goodbye);
}

static void a_goodbye_is_answered(void **state)
{
    (void)state;
    make_ready(0);
    feed_goodbye(NULL);
    assert_log(&peer, "closed\n");
    assert_int_equal(peer.session.state, AX_STATE_CLOSED);
    assert_true(peer.session.peer_said_goodbye);
    assert_goodbye_sent(NULL);
}

static void two_sessions_may_close_at_once(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);
    struct peer other;

    (void)state;
    for (int both = 0; both <= 1; both++) {
        config.role = AX_OPENER;
        peer_init(&peer, &config);
        config.role = AX_ACCEPTOR;
        peer_init(&other, &config);
        peer_exchange(&peer, &other);
        close_now(NULL);
        if (both != 0)
            ax_session_close(&other.session, NULL, other.now);
        peer_exchange(&peer, &other);
        assert_log(&peer, "ready\nclosed\n");
        assert_log(&other, "ready\nclosed\n");
        peer_fini(&other);
        peer_fini(&peer);
    }
}

static void bytes_behind_a_goodbye_are_ignored(void **state)
{
    struct wire wire = {0};

    (void)state;
    make_ready(0);
    wire_goodbye(&wire, NULL);
    wire_raw(&wire, "anything else", 13);
    peer_feed_wire(&peer, &wire);
    peer_feed(&peer, "and more", 8);
    peer_feed_eof(&peer);
    assert_log(&peer, "closed\n");
}

static void nothing_follows_our_goodbye(void **state)
{
    struct wire wire = {0};
    uint64_t id;

    (void)state;
    make_ready(0);
    wire_apply(&wire, 0, NULL, 0, "x");
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "call 0 refs buffers 1 x\n");
    assert_int_equal(ax_session_release(&peer.session, 1), 0);
    close_now(NULL);
    assert_int_equal(peer_call(&peer, "x", 1, &id), AX_ESTATE);
    assert_int_equal(peer_result(&peer, 0, AX_RESULT_SUCCESS, "x"), AX_ESTATE);
    assert_int_equal(ax_session_result_failed(&peer.session, 0, "x", peer.now), AX_ESTATE);
    assert_int_equal(ax_session_release(&peer.session, 1), 0);
    close_now(NULL);
    assert_goodbye_sent(NULL);
}

static void what_comes_while_closing_is_dropped(void **state)
{
    struct wire wire = {0};
    uint64_t id;

    (void)state;
    make_ready(0);
    assert_int_equal(peer_call(&peer, "x", 1, &id), 0);
    close_now(NULL);
    wire_apply(&wire, 0, NULL, 0, "x");
    wire_result(&wire, id, 2, (uint64_t[]){5}, 1, "x");
    wire_result(&wire, 99, 9, NULL, 0, "x");
    wire_del_objs(&wire, (uint64_t[]){5}, 1);
    wire_bare_message(&wire, 77);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "");
    assert_int_equal((uintptr_t)ax_session_next_waiter(&peer.session), 1);
    peer_forget_sent(&peer);
    feed_goodbye(NULL);
    assert_log(&peer, "closed\n");
}

/* ---- the end of the stream ---- */

static void the_peer_may_just_go_when_we_have_said_goodbye(void **state)
{
    (void)state;
    make_ready(0);
    close_now(NULL);
    peer_feed_eof(&peer);
    assert_log(&peer, "closed\n");
    assert_false(peer.session.peer_said_goodbye);
}

static void a_stream_that_ends_without_a_goodbye_is_a_failure(void **state)
{
    (void)state;
    make_ready(0);
    peer_feed_eof(&peer);
    assert_failed(&peer, AX_EEOF, "Incomplete frame size");
    peer_feed_eof(&peer);
    assert_log(&peer, "");
}

/* ---- reasons ---- */

static void a_reason_is_told_where_the_peer_understands_one(void **state)
{
    (void)state;
    make_ready(AX_FEATURE_REASON);
    close_now("The show is over");
    assert_goodbye_sent("The show is over");
    peer_fini(&peer);
    make_ready(AX_FEATURE_REASON);
    close_now(NULL);
    assert_goodbye_sent(NULL);
    peer_fini(&peer);
    make_ready(AX_FEATURE_REASON);
    close_now("");
    assert_goodbye_sent(NULL);
    peer_fini(&peer);
    make_ready(0);
    close_now("The show is over");
    assert_goodbye_sent(NULL);
}

static void a_long_reason_is_cut(void **state)
{
    char reason[400];

    (void)state;
    memset(reason, 'r', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    make_ready(AX_FEATURE_REASON);
    close_now(reason);
    reason[AX_REASON_SIZE - 1] = '\0';
    assert_goodbye_sent(reason);
}

static void the_peers_reason_is_kept_and_made_harmless(void **state)
{
    char reason[400];
    char expected[AX_REASON_SIZE + 10] = "closed ";

    (void)state;
    make_ready(AX_FEATURE_REASON);
    feed_goodbye("Bye\n\x1b[2J\xff!");
    assert_log(&peer, "closed Bye  [2J?!\n");
    peer_fini(&peer);

    memset(reason, 'r', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    make_ready(AX_FEATURE_REASON);
    feed_goodbye(reason);
    memset(expected + 7, 'r', AX_REASON_SIZE - 1);
    expected[7 + AX_REASON_SIZE - 1] = '\n';
    assert_log(&peer, expected);
}

static void a_reason_that_was_not_agreed_on_is_ignored(void **state)
{
    (void)state;
    make_ready(0);
    feed_goodbye("Bye");
    assert_log(&peer, "closed\n");
    assert_string_equal(ax_session_reason(&peer.session), "");
}

/* ---- before READY ---- */

static void closing_before_the_superblocks_sends_nothing_more(void **state)
{
    (void)state;
    for (enum ax_role role = AX_OPENER; role <= AX_ACCEPTOR; role++) {
        start(role);
        close_now("reason");
        assert_int_equal(peer.session.state, AX_STATE_CLOSED);
        assert_int_equal(peer_collect(&peer), 0);
        peer_feed(&peer, "anything at all!", 16);
        peer_feed_eof(&peer);
        assert_log(&peer, "");
        peer_fini(&peer);
    }
}

static void closing_before_the_peers_greeting_says_goodbye_behind_ours(void **state)
{
    struct wire wire = {0};

    (void)state;
    start(AX_ACCEPTOR);
    wire_superblock(&wire, 0, 2, 0);
    peer_feed_wire(&peer, &wire);
    close_now(NULL);
    assert_int_equal(peer.session.state, AX_STATE_CLOSED);
    wire_superblock(&wire, 0, 2, 0);
    wire_greeting(&wire, 0);
    wire_goodbye(&wire, NULL);
    assert_sent(&peer, &wire);
    assert_log(&peer, "");
}

/* ---- waiters ---- */

static void waiters_are_handed_back_once_the_session_ends(void **state)
{
    uint64_t id;
    uintptr_t sum = 0;
    void *waiter;

    (void)state;
    make_ready(0);
    for (uintptr_t i = 1; i <= 100; i++) {
        assert_int_equal(peer_call(&peer, "x", i, &id), 0);
        if (i % 2 != 0)
            ax_session_forget(&peer.session, id);
    }
    assert_null(ax_session_next_waiter(&peer.session));
    assert_int_equal(peer.session.calls.count, 100);
    close_now(NULL);
    while ((waiter = ax_session_next_waiter(&peer.session)) != NULL) {
        assert_int_equal((uintptr_t)waiter % 2, 0);
        sum += (uintptr_t)waiter;
    }
    assert_int_equal(sum, 50 * 51);
    assert_int_equal(peer.session.calls.count, 0);
}

/* ---- failing from outside ---- */

static void break_off(const char *reason)
{
    ax_session_fail(&peer.session, AX_EEOF, reason);
}

static void a_failure_from_outside_keeps_the_first_reason(void **state)
{
    (void)state;
    make_ready(0);
    break_off("Connection reset");
    ax_session_fail(&peer.session, AX_EPROTOCOL, "Something else");
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_int_equal(peer.session.error, AX_EEOF);
    assert_string_equal(ax_session_reason(&peer.session), "Connection reset");
    close_now("too late");
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_int_equal(peer_collect(&peer), 0);
    peer_feed(&peer, "x", 1);
    assert_log(&peer, "");
}

static void a_failure_is_told_where_the_peer_understands_a_reason(void **state)
{
    struct wire wire = {0};

    (void)state;
    make_ready(AX_FEATURE_REASON);
    break_off("Out of luck");
    assert_goodbye_sent("Out of luck");
    peer_fini(&peer);

    make_ready(AX_FEATURE_REASON);
    wire_bare_message(&wire, 9);
    peer_feed_wire(&peer, &wire);
    assert_goodbye_sent("Invalid message in ready state: 9");
    assert_failed(&peer, AX_EPROTOCOL, "Invalid message in ready state: 9");
}

static void a_failure_after_our_goodbye_is_not_told(void **state)
{
    (void)state;
    make_ready(AX_FEATURE_REASON);
    close_now("Bye");
    break_off("Out of luck");
    assert_goodbye_sent("Bye");
}

static void a_closed_session_fails_with_the_peers_reason(void **state)
{
    (void)state;
    make_ready(AX_FEATURE_REASON);
    feed_goodbye("Bye");
    assert_log(&peer, "closed Bye\n");
    peer_forget_sent(&peer);
    break_off("Connection reset");
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_string_equal(ax_session_reason(&peer.session), "Bye");
    assert_int_equal(peer_collect(&peer), 0);
}

static void a_failure_in_the_middle_of_a_body_frees_it(void **state)
{
    struct ax_event event;
    void *memory;

    (void)state;
    make_ready(0);
    peer_feed(&peer, "\0\0\0\0\0\0\0\7\1\0\0", 11);
    peer_feed(&peer, "\0\0\0\0\0\1\0\0", 8);
    assert_int_equal(ax_session_space(&peer.session, &memory), 32768);
    break_off("Connection reset");
    assert_null(peer.session.lane.message);
    assert_int_equal(ax_session_space(&peer.session, &memory), 0);
    ax_session_filled(&peer.session, 10, peer.now, &event);
    assert_int_equal(event.type, AX_EVENT_NONE);
}

static void an_unfinished_message_is_freed_with_its_session(void **state)
{
    (void)state;
    make_ready(0);
    peer_feed(&peer, "\0\0\0\0\0\0\0\7\1\0\0", 11);
    peer_feed(&peer, "\0\0\0\0\0\1\0\0partial", 15);
    assert_non_null(peer.session.lane.message);
}

/* ---- without memory ---- */

static void without_memory_for_goodbye_the_session_fails(void **state)
{
    (void)state;
    make_ready(0);
    alloc_fail_at(1);
    close_now(NULL);
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_int_equal(peer.session.error, AX_ENOMEM);
    assert_string_equal(ax_session_reason(&peer.session), "Out of memory");
}

static void without_memory_a_goodbye_is_not_answered(void **state)
{
    struct wire wire = {0};

    (void)state;
    make_ready(0);
    wire_goodbye(&wire, NULL);
    peer_feed(&peer, wire.data, wire.size - 1);
    alloc_fail_at(2); /* behind the head's own */
    peer_feed(&peer, wire.data + wire.size - 1, 1);
    assert_true(alloc_has_failed());
    assert_log(&peer, "closed\n");
    assert_int_equal(peer_collect(&peer), 0);
    wire_free(&wire);
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(we_say_goodbye_and_wait_for_the_peers),
        TEST(a_goodbye_is_answered),
        TEST(two_sessions_may_close_at_once),
        TEST(bytes_behind_a_goodbye_are_ignored),
        TEST(nothing_follows_our_goodbye),
        TEST(what_comes_while_closing_is_dropped),
        TEST(the_peer_may_just_go_when_we_have_said_goodbye),
        TEST(a_stream_that_ends_without_a_goodbye_is_a_failure),
        TEST(a_reason_is_told_where_the_peer_understands_one),
        TEST(a_long_reason_is_cut),
        TEST(the_peers_reason_is_kept_and_made_harmless),
        TEST(a_reason_that_was_not_agreed_on_is_ignored),
        TEST(closing_before_the_superblocks_sends_nothing_more),
        TEST(closing_before_the_peers_greeting_says_goodbye_behind_ours),
        TEST(waiters_are_handed_back_once_the_session_ends),
        TEST(a_failure_from_outside_keeps_the_first_reason),
        TEST(a_failure_is_told_where_the_peer_understands_a_reason),
        TEST(a_failure_after_our_goodbye_is_not_told),
        TEST(a_closed_session_fails_with_the_peers_reason),
        TEST(a_failure_in_the_middle_of_a_body_frees_it),
        TEST(an_unfinished_message_is_freed_with_its_session),
        TEST(without_memory_for_goodbye_the_session_fails),
        TEST(without_memory_a_goodbye_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
