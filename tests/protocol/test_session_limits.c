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

/* READY, with these limits; the defaults when there are none. */
static void make_ready(const struct ax_limits *limits)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    if (limits != NULL)
        config.limits = *limits;
    peer_make_ready(&peer, &config, 0, 0);
    alloc_reset_largest();
}

static void feed_header(uint64_t length, bool more)
{
    struct wire wire = {0};

    wire_u64(&wire, length << 1 | more);
    peer_feed_wire(&peer, &wire);
}

static void feed_frame(const void *body, size_t size, bool more)
{
    struct wire wire = {0};

    wire_frame(&wire, body, size, more);
    peer_feed_wire(&peer, &wire);
}

static void feed_apply(uint64_t call, const uint64_t *refs, size_t ref_count)
{
    struct wire wire = {0};

    wire_apply(&wire, call, refs, ref_count, "x");
    peer_feed_wire(&peer, &wire);
}

/* ---- sizes ---- */

static void a_head_may_be_as_large_as_the_limit(void **state)
{
    static char head[1000] = {5};
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_head = sizeof head;
    make_ready(&limits);
    feed_frame(head, sizeof head, false);
    assert_log(&peer, "");
    feed_header(sizeof head + 1, false);
    assert_failed(&peer, AX_EPROTOCOL, "Message head of 1001 bytes is larger than the limit of 1000");
}

static void a_message_may_be_as_large_as_the_limit(void **state)
{
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_message = 10;
    make_ready(&limits);
    for (int i = 0; i < 2; i++) { /* the count starts anew with each message */
        feed_frame("\1\0\0", 3, true);
        feed_frame("1234", 4, true);
        feed_frame("567", 3, false);
        assert_log(&peer, "call 0 refs buffers 2 1234\n");
    }
    feed_frame("\1\0\0", 3, true);
    feed_frame("1234", 4, true);
    feed_header(4, false);
    assert_failed(&peer, AX_EPROTOCOL, "Message of 11 bytes is larger than the limit of 10");
}

static void a_head_counts_as_part_of_its_message(void **state)
{
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_message = 10;
    make_ready(&limits);
    feed_header(11, false);
    assert_failed(&peer, AX_EPROTOCOL, "Message of 11 bytes is larger than the limit of 10");
}

static void the_largest_length_is_refused_without_a_byte_of_memory(void **state)
{
    (void)state;
    make_ready(NULL);
    size_t blocks = alloc_blocks();
    feed_header(AX_FRAME_MAX_LENGTH, true);
    assert_failed(&peer, AX_EPROTOCOL, "Message head of 9223372036854775807 bytes is larger than the limit of 1048576");
    assert_int_equal(alloc_largest(), 0);
    assert_int_equal(alloc_blocks(), blocks);
}

static void a_buffer_of_the_largest_length_is_refused_before_it_comes(void **state)
{
    (void)state;
    make_ready(NULL);
    feed_frame("\1\0\0", 3, true);
    feed_header(AX_FRAME_MAX_LENGTH, false);
    assert_failed(&peer, AX_EPROTOCOL, "Message of 9223372036854775810 bytes is larger than the limit of 1073741824");
    assert_true(alloc_largest() < 1024);
}

static void without_limits_a_length_costs_what_arrives(void **state)
{
    struct ax_limits limits;
    static char bytes[1000];
    void *memory;

    (void)state;
    ax_limits_init(&limits);
    limits.max_message = UINT64_MAX;
    for (enum feeding feeding = 0; feeding < FEEDINGS; feeding++) {
        make_ready(&limits);
        peer.feeding = feeding;
        feed_frame("\1\0\0", 3, true);
        feed_header(AX_FRAME_MAX_LENGTH, false);
        assert_true(alloc_largest() < 1024);
        assert_int_equal(ax_session_space(&peer.session, &memory), AX_BODY_FIRST_STEP);
        for (size_t size = 0; size < 500000; size += sizeof bytes) {
            peer_feed(&peer, bytes, sizeof bytes);
            assert_true(alloc_largest() <= AX_BODY_FIRST_STEP + 2 * size + 2 * sizeof bytes);
        }
        assert_log(&peer, "");
        peer_fini(&peer);
    }
}

static void a_sum_of_lengths_does_not_wrap(void **state)
{
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_message = UINT64_MAX - 1;
    make_ready(&limits);
    feed_frame("\1\0\0", 3, true);
    peer.session.lane.size = UINT64_MAX - 1; /* as if that much had come */
    feed_header(AX_FRAME_MAX_LENGTH, false);
    assert_failed(&peer, AX_EPROTOCOL,
                  "Message of 18446744073709551615 bytes is larger than the limit of 18446744073709551614");
}

static void frames_without_bytes_are_counted(void **state)
{
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_frames = 4;
    make_ready(&limits);
    feed_frame("\1\0\0", 3, true);
    feed_frame("", 0, true);
    feed_frame("", 0, true);
    feed_frame("", 0, false);
    assert_log(&peer, "call 0 refs buffers 3 \n");
    feed_frame("\1\1\0", 3, true);
    for (int i = 0; i < 3; i++)
        feed_frame("", 0, true);
    feed_header(0, false);
    assert_failed(&peer, AX_EPROTOCOL, "Message of 5 frames is longer than the limit of 4");
}

/* ---- where bodies go ---- */

static void only_a_large_body_asks_for_its_bytes(void **state)
{
    static char bytes[AX_BODY_DIRECT_MIN];
    void *memory = bytes;

    (void)state;
    make_ready(NULL);
    assert_int_equal(ax_session_space(&peer.session, &memory), 0);
    assert_null(memory);
    feed_frame("\1\0\0", 3, true);
    assert_int_equal(ax_session_space(&peer.session, &memory), 0);
    feed_header(AX_BODY_DIRECT_MIN + 1, false);
    assert_int_equal(ax_session_space(&peer.session, &memory), AX_BODY_DIRECT_MIN + 1);
    assert_non_null(memory);
    peer_feed(&peer, bytes, 2);
    assert_int_equal(ax_session_space(&peer.session, &memory), 0);
    assert_null(memory);
}

static void a_body_asks_for_no_more_than_what_is_missing(void **state)
{
    static char bytes[100000];
    struct ax_event event;
    void *memory;

    (void)state;
    make_ready(NULL);
    feed_frame("\1\0\0", 3, true);
    feed_header(sizeof bytes, false);
    assert_int_equal(ax_session_space(&peer.session, &memory), AX_BODY_FIRST_STEP);
    memset(memory, 'x', AX_BODY_FIRST_STEP);
    ax_session_filled(&peer.session, AX_BODY_FIRST_STEP, peer.now, &event);
    assert_int_equal(event.type, AX_EVENT_NONE);
    assert_int_equal(ax_session_space(&peer.session, &memory), sizeof bytes - AX_BODY_FIRST_STEP);
    memset(memory, 'x', sizeof bytes - AX_BODY_FIRST_STEP);
    ax_session_filled(&peer.session, sizeof bytes - AX_BODY_FIRST_STEP, peer.now, &event);
    assert_int_equal(event.type, AX_EVENT_CALL);
    assert_int_equal(event.message->buffers[0].size, sizeof bytes);
    assert_int_equal(event.message->buffers[0].capacity, sizeof bytes);
    ax_message_free(event.message);
}

static void without_memory_for_a_body_the_session_fails(void **state)
{
    void *memory = &memory;

    (void)state;
    make_ready(NULL);
    feed_frame("\1\0\0", 3, true);
    feed_header(100000, false);
    alloc_fail_at(1);
    assert_int_equal(ax_session_space(&peer.session, &memory), 0);
    assert_null(memory);
    alloc_fail_at(1);
    peer_feed(&peer, "x", 1);
    assert_failed(&peer, AX_ENOMEM, "Out of memory");
}

/* ---- lists of ids ---- */

static void a_list_may_be_as_long_as_the_limit(void **state)
{
    const uint64_t ids[] = {1, 2, 3, 4};
    struct ax_limits limits;
    struct wire wire = {0};

    (void)state;
    ax_limits_init(&limits);
    limits.max_ids = 3;
    make_ready(&limits);
    wire_del_objs(&wire, ids, 3);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "release 1,2,3\n");
    wire_del_objs(&wire, ids, 4);
    peer_feed_wire(&peer, &wire);
    assert_failed(&peer, AX_EPROTOCOL, "List of 4 ids is longer than the limit of 3");
}

static void a_count_that_the_head_does_not_hold_is_refused(void **state)
{
    (void)state;
    make_ready(NULL);
    feed_frame("\1\0\3\1\2", 5, true); /* refused before the buffer comes */
    assert_failed(&peer, AX_EPROTOCOL, "List of 3 ids does not fit into the 2 bytes of its head");
}

static void the_largest_count_is_refused(void **state)
{
    (void)state;
    make_ready(NULL);
    feed_frame("\4\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10, false);
    assert_failed(&peer, AX_EPROTOCOL, "List of 18446744073709551615 ids is longer than the limit of 65536");
    assert_true(alloc_largest() < 1024);
}

/* ---- what nobody wants ---- */

/* To free much takes long: an owner with a lock asks for it, and does it elsewhere. What is small is freed at once. */
static void large_messages_that_nobody_wants_may_be_kept_for_the_owner(void **state)
{
    static unsigned char body[AX_DISCARDED_MIN];
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    (void)state;
    config.keeps_discarded = true;
    peer_make_ready(&peer, &config, 0, 0);
    ax_session_close(&peer.session, NULL, peer.now); /* what comes now is dropped */
    feed_frame("\1\0\0", 3, true);
    feed_frame("small", 5, false);
    assert_null(ax_session_take_discarded(&peer.session));
    feed_frame("\1\0\0", 3, true);
    feed_frame(body, sizeof body, false);
    feed_frame("\1\0\0", 3, true);
    feed_header(sizeof body, false);
    peer_feed(&peer, body, sizeof body - 1);
    struct ax_message *whole = ax_session_take_discarded(&peer.session);
    assert_non_null(whole);
    assert_null(whole->next);
    ax_message_free_all(whole);
    ax_session_fail(&peer.session, AX_EEOF, "on purpose"); /* in the middle of a body */
    struct ax_message *part = ax_session_take_discarded(&peer.session);
    assert_non_null(part);
    assert_null(part->next);
    ax_message_free_all(part);
}

/* ---- calls ---- */

static void one_call_too_many_is_refused_and_its_references_are_answered_for(void **state)
{
    const uint64_t refs[] = {8, 9};
    struct ax_limits limits;
    struct wire expected = {0};

    (void)state;
    ax_limits_init(&limits);
    limits.max_calls = 2;
    make_ready(&limits);
    feed_apply(0, NULL, 0);
    feed_apply(1, NULL, 0);
    wire_free(&peer.log);
    feed_apply(2, refs, 2);
    feed_apply(3, NULL, 0);
    assert_log(&peer, "");
    wire_operation_error(&expected, 2, "Too many calls at a time: the limit is 2");
    wire_del_objs(&expected, refs, 2);
    wire_operation_error(&expected, 3, "Too many calls at a time: the limit is 2");
    assert_sent(&peer, &expected);

    assert_int_equal(peer_result(&peer, 0, AX_RESULT_SUCCESS, "x"), 0);
    feed_apply(4, NULL, 0);
    assert_log(&peer, "call 4 refs buffers 1 x\n");
}

static void refusals_that_nobody_reads_fail_the_session(void **state)
{
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_calls = 0;
    limits.max_queued = 100;
    make_ready(&limits);
    /* Each refusal is 52 bytes: 8 of header, 4 of fields, 40 of text. */
    for (int i = 0; i < 4; i++)
        feed_apply(0, NULL, 0);
    assert_int_equal(peer.session.output.size, 4 * 52);
    assert_log(&peer, "");
    feed_apply(0, NULL, 0);
    assert_failed(&peer, AX_EFULL, "The peer lets its results pile up: 208 bytes wait");
}

static void without_memory_to_refuse_a_call_the_session_fails(void **state)
{
    struct ax_limits limits;
    const uint64_t refs[] = {1};

    (void)state;
    ax_limits_init(&limits);
    limits.max_calls = 0;
    for (unsigned n = 2; n <= 3; n++) {
        struct wire wire = {0};
        make_ready(&limits);
        wire_apply(&wire, 0, refs, 1, "x");
        peer_feed(&peer, wire.data, wire.size - 1);
        alloc_fail_at(n); /* behind the body's own: the id to release, or the refusal */
        peer_feed(&peer, "x", 1);
        assert_true(alloc_has_failed());
        if (n == 2) {
            assert_log(&peer, ""); /* the id is forgotten, and that is all */
            assert_int_equal(peer.session.state, AX_STATE_READY);
        } else {
            assert_failed(&peer, AX_ENOMEM, "Out of memory");
        }
        wire_free(&wire);
        peer_fini(&peer);
    }
}

/* ---- what waits to be sent ---- */

static void nothing_more_is_queued_when_enough_waits(void **state)
{
    struct ax_limits limits;
    uint64_t id;

    (void)state;
    ax_limits_init(&limits);
    limits.max_queued = 40;
    make_ready(&limits);
    feed_apply(0, NULL, 0);
    feed_apply(1, NULL, 0);
    wire_free(&peer.log);
    /* 8 of header, 3 of head, 8 of header: 19 bytes and the payload. */
    assert_int_equal(peer_call(&peer, "1234567890123456789x", 1, &id), 0);
    assert_int_equal(peer_call(&peer, "x", 2, &id), 0);
    assert_true(peer.session.output.size >= 40);
    size_t size = peer.session.output.size;
    assert_int_equal(peer_call(&peer, "x", 3, &id), AX_EFULL);
    assert_int_equal(peer_result(&peer, 0, AX_RESULT_SUCCESS, "x"), AX_EFULL);
    assert_int_equal(peer.session.output.size, size);
    assert_int_equal(peer.session.calls.count, 2);
    assert_int_equal(ax_session_result_failed(&peer.session, 1, "x", peer.now), 0);
    peer_collect(&peer);
    assert_int_equal(peer_result(&peer, 0, AX_RESULT_SUCCESS, "x"), 0);
}

static void something_may_always_be_queued_when_nothing_waits(void **state)
{
    struct ax_limits limits;
    uint64_t id;

    (void)state;
    ax_limits_init(&limits);
    limits.max_queued = 0;
    make_ready(&limits);
    assert_int_equal(peer_call(&peer, "x", 1, &id), 0);
    assert_int_equal(peer_call(&peer, "x", 2, &id), AX_EFULL);
    peer_collect(&peer);
    assert_int_equal(peer_call(&peer, "x", 2, &id), 0);
}

static void error_texts_that_nobody_reads_fail_the_session(void **state)
{
    struct ax_limits limits;

    (void)state;
    ax_limits_init(&limits);
    limits.max_queued = 10;
    make_ready(&limits);
    for (uint64_t i = 0; i < 3; i++)
        feed_apply(i, NULL, 0);
    wire_free(&peer.log);
    assert_int_equal(ax_session_result_failed(&peer.session, 0, "text", peer.now), 0); /* 16 bytes */
    assert_int_equal(ax_session_result_failed(&peer.session, 1, "text", peer.now), 0);
    assert_int_equal(ax_session_result_failed(&peer.session, 2, "text", peer.now), AX_ESTATE);
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_int_equal(peer.session.error, AX_EFULL);
    assert_string_equal(ax_session_reason(&peer.session), "The peer lets its results pile up: 32 bytes wait");
    assert_log(&peer, "");
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_head_may_be_as_large_as_the_limit),
        TEST(a_message_may_be_as_large_as_the_limit),
        TEST(a_head_counts_as_part_of_its_message),
        TEST(the_largest_length_is_refused_without_a_byte_of_memory),
        TEST(a_buffer_of_the_largest_length_is_refused_before_it_comes),
        TEST(without_limits_a_length_costs_what_arrives),
        TEST(a_sum_of_lengths_does_not_wrap),
        TEST(frames_without_bytes_are_counted),
        TEST(only_a_large_body_asks_for_its_bytes),
        TEST(a_body_asks_for_no_more_than_what_is_missing),
        TEST(without_memory_for_a_body_the_session_fails),
        TEST(a_list_may_be_as_long_as_the_limit),
        TEST(a_count_that_the_head_does_not_hold_is_refused),
        TEST(the_largest_count_is_refused),
        TEST(large_messages_that_nobody_wants_may_be_kept_for_the_owner),
        TEST(one_call_too_many_is_refused_and_its_references_are_answered_for),
        TEST(refusals_that_nobody_reads_fail_the_session),
        TEST(without_memory_to_refuse_a_call_the_session_fails),
        TEST(nothing_more_is_queued_when_enough_waits),
        TEST(something_may_always_be_queued_when_nothing_waits),
        TEST(error_texts_that_nobody_reads_fail_the_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
