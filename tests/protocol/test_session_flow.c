/* SPDX-License-Identifier: MIT */
/*
 * Large messages go in chunks between which others pass, and what the peer has not read yet holds back what comes next.
 */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

#define LARGE (3 * AX_CHUNK_SIZE + 1000) /* a buffer of four chunks */

static struct peer opener;
static struct peer acceptor;

static void connect_peers(uint32_t features, uint64_t window, uint32_t max_calls)
{
    struct ax_limits limits;

    ax_limits_init(&limits);
    limits.window = window;
    limits.max_calls = max_calls;
    peer_connect(&opener, &acceptor, features, &limits);
}

static int set_up(void **state)
{
    (void)state;
    connect_peers(AX_FEATURES_ALL, 8 * LARGE, 100);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&opener);
    peer_fini(&acceptor);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static int ask(size_t size, int byte, uint64_t within)
{
    struct ax_operation operation = {.type = AX_APPLY, .within = within};
    struct ax_buffer buffer = make_buffer(size, byte);
    struct ax_payload payload = {.buffers = &buffer, .buffer_count = 1};
    uint64_t id;
    int error = ax_session_call(&opener.session, &operation, &payload, (void *)42, opener.now, &id);

    ax_buffer_fini(&buffer); /* the empty one, when it was taken */
    return error;
}

/* Passes what one write takes, at most `most` bytes, from the opener to the acceptor. */
static size_t pass_some(size_t most)
{
    struct ax_slice slices[4];
    size_t count = ax_session_pending(&opener.session, slices, 4);
    size_t passed = 0;

    for (size_t i = 0; i < count && passed < most; i++) {
        size_t size = slices[i].size < most - passed ? slices[i].size : most - passed;
        peer_feed(&acceptor, slices[i].data, size);
        passed += size;
    }
    ax_session_sent(&opener.session, passed, opener.now);
    return passed;
}

/* The log says that a call came with this payload, and then `rest`. */
static void assert_large_call_and(struct peer *peer, uint64_t id, size_t size, char byte, const char *rest)
{
    char *expected = malloc(size + 100);
    int length = snprintf(expected, 100, "call %llu refs buffers 1 ", (unsigned long long)id);

    memset(expected + length, byte, size);
    snprintf(expected + (size_t)length + size, 50, "\n%s", rest);
    assert_log(peer, expected);
    free(expected);
}

static void assert_large_call(struct peer *peer, uint64_t id, size_t size, char byte)
{
    assert_large_call_and(peer, id, size, byte, "");
}

/* ---- chunks ---- */

static void a_large_message_arrives_whole_however_it_is_fed(void **state)
{
    (void)state;
    for (enum feeding feeding = 0; feeding < FEEDINGS; feeding++) {
        acceptor.feeding = feeding;
        assert_int_equal(ask(LARGE, 'a', 0), 0);
        peer_exchange(&opener, &acceptor);
        assert_large_call(&acceptor, feeding, LARGE, 'a');
    }
}

static void small_messages_pass_between_chunks(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    assert_true(pass_some(AX_CHUNK_SIZE / 2) > 0);
    assert_int_equal(ask(1, 'b', 0), 0);
    while (acceptor.log.size == 0)
        assert_true(pass_some(SIZE_MAX) > 0);
    assert_log(&acceptor, "call 1 refs buffers 1 b\n");
    peer_exchange(&opener, &acceptor);
    assert_large_call(&acceptor, 0, LARGE, 'a');
}

/* Nor for room in the second lane; what is large waits for that. */
static void small_messages_do_not_wait_for_large_ones(void **state)
{
    (void)state;
    opener.session.config.limits.max_queued = LARGE;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    assert_int_equal(ask(LARGE, 'b', 0), AX_EFULL);
    assert_int_equal(ask(1, 'c', 0), 0);
    while (!opener.session.drained)
        assert_true(pass_some(AX_CHUNK_SIZE) > 0);
    assert_int_equal(ask(LARGE, 'b', 0), 0);
    peer_exchange(&opener, &acceptor);
    wire_free(&acceptor.log);
}

static void large_messages_keep_their_order(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    assert_int_equal(ask(LARGE, 'b', 0), 0);
    pass_some(100);
    while (acceptor.log.size == 0)
        assert_true(pass_some(SIZE_MAX) > 0);
    assert_large_call(&acceptor, 0, LARGE, 'a');
    peer_exchange(&opener, &acceptor);
    assert_large_call(&acceptor, 1, LARGE, 'b');
}

/* A large message may mention the object. */
static void what_was_released_after_a_large_message_does_not_overtake_it(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    pass_some(100);
    assert_int_equal(ax_session_release(&opener.session, 7), 0);
    peer_exchange(&opener, &acceptor);
    assert_large_call_and(&acceptor, 0, LARGE, 'a', "release 7\n");
    assert_int_equal(ax_session_release(&opener.session, 8), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "release 8\n");
}

static void a_goodbye_waits_for_what_was_queued(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    pass_some(100);
    ax_session_close(&opener.session, "enough", opener.now);
    peer_exchange(&opener, &acceptor);
    assert_large_call_and(&acceptor, 0, LARGE, 'a', "closed enough\n");
    assert_log(&opener, "closed\n");
    while (ax_session_next_waiter(&opener.session) != NULL)
        ;
}

static void a_failure_cuts_the_lane_and_still_says_why(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    pass_some(100);
    ax_session_fail(&opener.session, AX_EPROTOCOL, "broken");
    assert_true(ax_session_unsent(&opener.session) < AX_CHUNK_SIZE + 100);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "closed broken\n");
    while (ax_session_next_waiter(&opener.session) != NULL)
        ;
}

static void without_memory_a_chunk_follows_later(void **state)
{
    struct ax_slice slices[4];

    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    for (unsigned attempt = 1; attempt <= 2; attempt++) {
        alloc_fail_at(attempt);
        assert_int_equal(ax_session_pending(&opener.session, slices, 4), 0);
        assert_true(alloc_has_failed());
    }
    alloc_fail_at(0);
    peer_exchange(&opener, &acceptor);
    assert_large_call(&acceptor, 0, LARGE, 'a');
}

static void a_chunk_in_a_chunk_is_refused(void **state)
{
    struct wire inner = {0};
    struct wire wire = {0};

    (void)state;
    wire_frame(&inner, "\x0a", 1, true);
    wire_frame(&wire, "\x0a", 1, true);
    wire_frame(&wire, inner.data, inner.size, false);
    wire_free(&inner);
    peer_feed_wire(&acceptor, &wire);
    assert_failed(&acceptor, AX_EPROTOCOL, "Invalid message in ready state: 10");
}

/* What comes in chunks keeps the same limits. */
static void a_message_in_chunks_is_limited(void **state)
{
    struct wire inner = {0};
    struct wire wire = {0};

    (void)state;
    wire_u64(&inner, (1ull << 40) << 1);
    wire_frame(&wire, "\x0a", 1, true);
    wire_frame(&wire, inner.data, inner.size, false);
    wire_free(&inner);
    peer_feed_wire(&acceptor, &wire);
    assert_failed(&acceptor, AX_EPROTOCOL, "Message head of 1099511627776 bytes is larger than the limit of 1048576");
}

static void an_empty_chunk_is_nothing(void **state)
{
    struct wire wire = {0};

    (void)state;
    wire_frame(&wire, "\x0a", 1, true);
    wire_frame(&wire, "", 0, true);
    wire_frame(&wire, "", 0, false);
    wire_frame(&wire, "\x0a", 1, false);
    peer_feed_wire(&acceptor, &wire);
    assert_log(&acceptor, "");
    assert_int_equal(acceptor.session.state, AX_STATE_READY);
}

/* ---- the window ---- */

static void large_calls_wait_until_the_peer_has_read(void **state)
{
    (void)state;
    tear_down(NULL);
    connect_peers(AX_FEATURES_ALL, 2 * AX_COUNTED_MIN, 100);
    assert_int_equal(ask(AX_COUNTED_MIN, 'a', 0), 0);
    assert_int_equal(ask(AX_COUNTED_MIN, 'b', 0), 0);
    assert_int_equal(ask(AX_COUNTED_MIN, 'c', 0), AX_EFULL);
    assert_int_equal(ask(1, 'd', 0), 0);
    assert_int_equal(ask(AX_COUNTED_MIN, 'e', 9), 0); /* within a call of the peer, which waits for it */
    peer_exchange(&opener, &acceptor);
    assert_false(opener.session.drained);
    assert_int_equal(ask(AX_COUNTED_MIN, 'c', 0), AX_EFULL);
    assert_int_equal(ax_session_consumed(&acceptor.session, AX_COUNTED_MIN, acceptor.now), 0);
    peer_exchange(&opener, &acceptor);
    assert_true(opener.session.drained);
    assert_int_equal(ask(AX_COUNTED_MIN, 'c', 0), 0);
    wire_free(&acceptor.log);
}

static void a_call_that_is_larger_than_the_window_goes_alone(void **state)
{
    (void)state;
    tear_down(NULL);
    connect_peers(AX_FEATURES_ALL, 1, 100);
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    assert_int_equal(ask(LARGE, 'b', 0), AX_EFULL);
    peer_exchange(&opener, &acceptor);
    assert_large_call(&acceptor, 0, LARGE, 'a');
    assert_int_equal(acceptor.session.unread, LARGE);
    assert_int_equal(ax_session_consumed(&acceptor.session, LARGE, acceptor.now), 0);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(opener.session.uncredited, 0);
    assert_int_equal(ask(LARGE, 'b', 0), 0);
}

static void a_large_call_that_is_refused_holds_back_no_other(void **state)
{
    (void)state;
    tear_down(NULL);
    connect_peers(AX_FEATURES_ALL, 1, 100);
    acceptor.session.config.refuse_requests = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(LARGE, 'a', 0), 0);
        peer_exchange(&opener, &acceptor);
        assert_int_equal(opener.session.uncredited, 0);
    }
    assert_int_equal(acceptor.session.unread, 0);
    wire_free(&opener.log);
}

static void calls_wait_until_the_peer_has_answered(void **state)
{
    (void)state;
    tear_down(NULL);
    connect_peers(AX_FEATURES_ALL, 1, 2);
    assert_int_equal(ask(1, 'a', 0), 0);
    assert_int_equal(ask(1, 'b', 0), 0);
    assert_int_equal(ask(1, 'c', 0), AX_EFULL);
    peer_exchange(&opener, &acceptor);
    wire_free(&acceptor.log);
    assert_int_equal(peer_result(&acceptor, 1, AX_RESULT_SUCCESS, "x"), 0);
    peer_exchange(&opener, &acceptor);
    assert_true(opener.session.drained);
    assert_int_equal(ask(1, 'c', 0), 0);
    wire_free(&opener.log);
}

static void too_much_credit_is_no_more_than_enough(void **state)
{
    struct wire wire = {0};

    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    wire_frame(&wire, "\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10, false);
    peer_feed_wire(&opener, &wire);
    assert_int_equal(opener.session.uncredited, 0);
}

static void nobody_is_told_after_the_end(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    peer_exchange(&opener, &acceptor);
    assert_large_call(&acceptor, 0, LARGE, 'a');
    ax_session_close(&acceptor.session, NULL, acceptor.now);
    peer_forget_sent(&acceptor);
    assert_int_equal(ax_session_consumed(&acceptor.session, LARGE, acceptor.now), 0);
    assert_int_equal(acceptor.session.unread, 0);
    assert_int_equal(peer_collect(&acceptor), 0);
}

static void credit_needs_memory(void **state)
{
    (void)state;
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    peer_exchange(&opener, &acceptor);
    assert_large_call(&acceptor, 0, LARGE, 'a');
    alloc_fail_from(1);
    assert_int_equal(ax_session_consumed(&acceptor.session, LARGE, acceptor.now), AX_ENOMEM);
    alloc_fail_from(0);
    assert_int_equal(acceptor.session.state, AX_STATE_FAILED);
}

/* ---- plain peers ---- */

static void a_plain_peer_gets_whole_messages(void **state)
{
    size_t header = 2 * AX_FRAME_HEADER_SIZE + 3;

    (void)state;
    tear_down(NULL);
    connect_peers(0, 1, 1);
    assert_int_equal(ask(LARGE, 'a', 0), 0);
    assert_int_equal(ask(LARGE, 'b', 0), 0); /* nothing is held back */
    assert_int_equal(peer_collect(&opener), 2 * (header + LARGE));
}

/* It knows no window. What is far beyond it, and not read yet, is refused, and the connection lives. */
static void a_plain_peer_is_refused_what_is_too_much(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    struct wire wire = {0};
    char *buffer = malloc(AX_COUNTED_MIN + 1);

    (void)state;
    memset(buffer, 'p', AX_COUNTED_MIN);
    buffer[AX_COUNTED_MIN] = '\0';
    peer_fini(&acceptor);
    config.limits.window = AX_COUNTED_MIN;
    config.limits.max_message = AX_COUNTED_MIN + 100;
    peer_init(&acceptor, &config);
    wire_superblock(&wire, 0, 2, 0);
    wire_greeting(&wire, 0);
    for (uint64_t call = 0; call < 3; call++)
        wire_apply(&wire, call, NULL, 0, buffer);
    peer_feed_wire(&acceptor, &wire);
    free(buffer);
    assert_int_equal(acceptor.session.calls_in_progress, 2);
    assert_int_equal(acceptor.session.unread, 2 * AX_COUNTED_MIN);
    wire_free(&acceptor.log);
    peer_forget_sent(&acceptor);
    wire_apply(&wire, 3, NULL, 0, "small");
    peer_feed_wire(&acceptor, &wire);
    assert_log(&acceptor, "call 3 refs buffers 1 small\n");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_large_message_arrives_whole_however_it_is_fed),
        TEST(small_messages_pass_between_chunks),
        TEST(small_messages_do_not_wait_for_large_ones),
        TEST(large_messages_keep_their_order),
        TEST(what_was_released_after_a_large_message_does_not_overtake_it),
        TEST(a_goodbye_waits_for_what_was_queued),
        TEST(a_failure_cuts_the_lane_and_still_says_why),
        TEST(without_memory_a_chunk_follows_later),
        TEST(a_chunk_in_a_chunk_is_refused),
        TEST(a_message_in_chunks_is_limited),
        TEST(an_empty_chunk_is_nothing),
        TEST(large_calls_wait_until_the_peer_has_read),
        TEST(a_call_that_is_larger_than_the_window_goes_alone),
        TEST(a_large_call_that_is_refused_holds_back_no_other),
        TEST(calls_wait_until_the_peer_has_answered),
        TEST(too_much_credit_is_no_more_than_enough),
        TEST(nobody_is_told_after_the_end),
        TEST(credit_needs_memory),
        TEST(a_plain_peer_gets_whole_messages),
        TEST(a_plain_peer_is_refused_what_is_too_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
