/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
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
    peer_forget_sent(&opener);
    peer_forget_sent(&acceptor);
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

static void call(uintptr_t waiter)
{
    uint64_t id;

    assert_int_equal(peer_call(&opener, "question", waiter, &id), 0);
}

/* ---- there and back ---- */

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
    assert_int_equal(acceptor.session.calls_in_progress, 0);
    assert_int_equal(opener.session.calls.count, 0);
}

static void an_error_is_a_result_of_another_kind(void **state)
{
    (void)state;
    call(1);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_ERROR, "record"), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "result 0 kind 3 waiter 1 refs buffers 1 record\n");
}

static void an_operation_error_is_a_text(void **state)
{
    (void)state;
    call(1);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(ax_session_result_failed(&acceptor.session, 0, "It is broken", acceptor.now), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "result 0 kind 4 waiter 1 refs buffers 0 It is broken\n");
    assert_int_equal(acceptor.session.calls_in_progress, 0);
}

static void a_long_operation_error_is_cut_between_characters(void **state)
{
    static char text[6001];
    struct wire expected = {0};

    (void)state;
    text[0] = 'x';
    for (size_t i = 1; i < 6000; i += 2)
        memcpy(text + i, "\xc3\xa4", 2); /* so that 4096 falls inside of one */
    text[5999] = '\0';
    call(1);
    peer_exchange(&opener, &acceptor);
    peer_forget_sent(&acceptor);
    assert_int_equal(ax_session_result_failed(&acceptor.session, 0, text, acceptor.now), 0);
    text[4095] = '\0';
    wire_operation_error(&expected, 0, text);
    assert_sent(&acceptor, &expected);
}

static void references_travel_with_calls_and_results(void **state)
{
    const uint64_t call_refs[] = {0, 252, 253, 65536, 5000000000};
    const uint64_t result_refs[] = {7};
    struct ax_buffer payload = make_buffer(2, 'p');
    uint64_t id;

    (void)state;
    assert_int_equal(apply(&opener.session, call_refs, 5, &payload, (void *)9, opener.now, &id), 0);
    assert_null(payload.data);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 refs 0,252,253,65536,5000000000 buffers 1 pp\n");
    payload = make_buffer(3, 'q');
    assert_int_equal(answer(&acceptor.session, id, AX_RESULT_SUCCESS, result_refs, 1, &payload, acceptor.now), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "result 0 kind 2 waiter 9 refs 7 buffers 1 qqq\n");
}

static void results_may_come_in_any_order(void **state)
{
    (void)state;
    for (uintptr_t waiter = 10; waiter < 13; waiter++)
        call(waiter);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(acceptor.session.calls_in_progress, 3);
    assert_int_equal(peer_result(&acceptor, 2, AX_RESULT_SUCCESS, "c"), 0);
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_SUCCESS, "a"), 0);
    assert_int_equal(peer_result(&acceptor, 1, AX_RESULT_SUCCESS, "b"), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "result 2 kind 2 waiter 12 refs buffers 1 c\n"
                        "result 0 kind 2 waiter 10 refs buffers 1 a\n"
                        "result 1 kind 2 waiter 11 refs buffers 1 b\n");
}

static void both_sides_call_with_ids_of_their_own(void **state)
{
    uint64_t id;

    (void)state;
    opener.answer = acceptor.answer = true;
    for (uint64_t i = 0; i < 300; i++) {
        char log[100];
        assert_int_equal(peer_call(&opener, "o", 1, &id), 0);
        assert_int_equal(id, i);
        assert_int_equal(peer_call(&acceptor, "a", 2, &id), 0);
        assert_int_equal(id, i);
        peer_exchange(&opener, &acceptor);
        snprintf(log, sizeof log, "call %d refs buffers 1 a\nresult %d kind 2 waiter 1 refs buffers 1 o\n", (int)i,
                 (int)i);
        assert_log(&opener, log);
        snprintf(log, sizeof log, "call %d refs buffers 1 o\nresult %d kind 2 waiter 2 refs buffers 1 a\n", (int)i,
                 (int)i);
        assert_log(&acceptor, log);
    }
}

/* ---- payloads ---- */

static void an_empty_payload_is_a_buffer_too(void **state)
{
    struct ax_buffer payload = {0};
    uint64_t id;

    (void)state;
    acceptor.answer = true;
    assert_int_equal(apply(&opener.session, NULL, 0, &payload, (void *)1, opener.now, &id), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 refs buffers 1 \n");
    assert_log(&opener, "result 0 kind 2 waiter 1 refs buffers 1 \n");
}

static void payloads_of_any_size_come_through(void **state)
{
    const size_t sizes[] = {AX_OUTPUT_COPY_MAX, AX_OUTPUT_COPY_MAX + 1, AX_BODY_FIRST_STEP, AX_BODY_FIRST_STEP + 1,
                            1000000};

    (void)state;
    for (enum feeding feeding = 0; feeding < FEEDINGS; feeding++) {
        opener.feeding = acceptor.feeding = feeding;
        acceptor.answer = true;
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            struct ax_buffer payload = make_buffer(sizes[i], 'x');
            uint64_t id;
            assert_int_equal(apply(&opener.session, NULL, 0, &payload, (void *)1, opener.now, &id), 0);
            peer_exchange(&opener, &acceptor);
            char begin[64];
            snprintf(begin, sizeof begin, "result %d kind 2 waiter 1 refs buffers 1 ", (int)id);
            size_t length = strlen(begin);
            assert_int_equal(opener.log.size, length + sizes[i] + 1);
            assert_memory_equal(opener.log.data, begin, length);
            for (size_t j = 0; j < sizes[i]; j++)
                assert_true(opener.log.data[length + j] == 'x');
            wire_free(&opener.log);
        }
    }
}

static int released;

static void count_release(void *owner)
{
    (void)owner;
    released++;
}

static void a_borrowed_payload_is_given_back_when_it_is_sent(void **state)
{
    static unsigned char memory[AX_OUTPUT_COPY_MAX + 1];
    uint64_t id;

    (void)state;
    for (size_t size = AX_OUTPUT_COPY_MAX; size <= sizeof memory; size++) {
        struct ax_buffer payload = {.data = memory, .size = size, .release = count_release};
        released = 0;
        assert_int_equal(apply(&opener.session, NULL, 0, &payload, (void *)1, opener.now, &id), 0);
        assert_int_equal(released, size <= AX_OUTPUT_COPY_MAX ? 1 : 0);
        peer_collect(&opener);
        assert_int_equal(released, 1);
    }
}

static void more_buffers_than_one_arrive_with_their_call(void **state)
{
    struct wire wire = {0};

    (void)state;
    wire_frame(&wire, "\1\5\0", 3, true);
    wire_frame(&wire, "first", 5, true);
    wire_frame(&wire, "", 0, true);
    wire_frame(&wire, "third", 5, false);
    peer_feed_wire(&acceptor, &wire);
    assert_log(&acceptor, "call 5 refs buffers 3 first\n");
}

/* ---- what goes wrong ---- */

static void a_result_without_a_call_is_refused(void **state)
{
    struct wire wire = {0};

    (void)state;
    wire_result(&wire, 77, 2, NULL, 0, "x");
    peer_feed_wire(&opener, &wire);
    assert_failed(&opener, AX_EPROTOCOL, "Call not found: 77");
}

static void a_second_result_of_a_call_is_refused(void **state)
{
    struct wire wire = {0};

    (void)state;
    call(1);
    wire_result(&wire, 0, 2, NULL, 0, "x");
    wire_result(&wire, 0, 2, NULL, 0, "x");
    peer_feed_wire(&opener, &wire);
    assert_log(&opener, "result 0 kind 2 waiter 1 refs buffers 1 x\nfailed -1 Call not found: 0\n");
}

/*
 * Feeds a message whose head is these bytes and that has no buffer; the waiter of call 0 gets nothing but the failure.
 */
static void check_refused(const char *head, size_t size, const char *text)
{
    struct wire wire = {0};

    wire_frame(&wire, head, size, false);
    peer_feed_wire(&opener, &wire);
    assert_failed(&opener, AX_EPROTOCOL, text);
    assert_int_equal((uintptr_t)ax_session_next_waiter(&opener.session), 1);
    assert_null(ax_session_next_waiter(&opener.session));
}

static void a_result_of_an_unknown_kind_is_refused(void **state)
{
    (void)state;
    call(1);
    check_refused("\2\0\5", 3, "Result of call 0 has an unknown kind: 5");
}

static void a_result_without_a_buffer_is_refused(void **state)
{
    (void)state;
    call(1);
    check_refused("\2\0\2\0", 4, "Result of call 0 has no buffer");
}

static void an_error_without_a_buffer_is_refused(void **state)
{
    (void)state;
    call(1);
    check_refused("\2\0\3\0", 4, "Result of call 0 has no buffer");
}

static void a_call_without_a_buffer_is_refused(void **state)
{
    (void)state;
    call(1);
    check_refused("\1\3\0", 3, "Call 3 has no buffer");
}

static void results_need_a_call_and_a_kind(void **state)
{
    (void)state;
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_SUCCESS, "x"), AX_ESTATE);
    assert_int_equal(ax_session_result_failed(&acceptor.session, 0, "x", acceptor.now), AX_ESTATE);
    call(1);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_OPERATION_ERROR, "x"), AX_ERANGE);
    assert_int_equal(peer_result(&acceptor, 0, 0, "x"), AX_ERANGE);
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_SUCCESS, "x"), 0);
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_SUCCESS, "x"), AX_ESTATE);
}

static void without_memory_a_call_was_not_made(void **state)
{
    /* The map of calls, which stays afterwards; the head; the payload behind the head. */
    const unsigned failing[] = {1, 2, 2};
    struct ax_buffer payload = make_buffer(AX_OUTPUT_COPY_MAX + 1, 'x');
    uint64_t id = 99;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(failing); i++) {
        alloc_fail_at(failing[i]);
        assert_int_equal(apply(&opener.session, NULL, 0, &payload, (void *)1, opener.now, &id), AX_ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(id, 99);
        assert_int_equal(opener.session.output.size, 0);
        assert_int_equal(opener.session.calls.count, 0);
        assert_int_equal(payload.size, AX_OUTPUT_COPY_MAX + 1);
    }
    assert_int_equal(apply(&opener.session, NULL, 0, &payload, (void *)1, opener.now, &id), 0);
    assert_int_equal(id, 0);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(acceptor.session.calls_in_progress, 1);
}

static void without_memory_a_result_was_not_sent(void **state)
{
    (void)state;
    call(1);
    peer_exchange(&opener, &acceptor);
    alloc_fail_at(2); /* behind the payload's own */
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_SUCCESS, "x"), AX_ENOMEM);
    alloc_fail_at(1);
    assert_int_equal(ax_session_result_failed(&acceptor.session, 0, "x", acceptor.now), AX_ENOMEM);
    assert_int_equal(acceptor.session.calls_in_progress, 1);
    assert_int_equal(peer_result(&acceptor, 0, AX_RESULT_SUCCESS, "x"), 0);
}

/* ---- calls that nobody waits for ---- */

static void the_result_of_a_forgotten_call_is_answered_for_and_dropped(void **state)
{
    const uint64_t refs[] = {3, 1000};
    struct wire wire = {0};

    (void)state;
    call(1);
    call(2);
    peer_forget_sent(&opener);
    ax_session_forget(&opener.session, 0);
    wire_result(&wire, 0, 2, refs, 2, "x");
    wire_result(&wire, 1, 2, refs, 2, "y");
    peer_feed_wire(&opener, &wire);
    assert_log(&opener, "result 1 kind 2 waiter 2 refs 3,1000 buffers 1 y\n");
    wire_del_objs(&wire, refs, 2);
    assert_sent(&opener, &wire);
}

static void an_operation_error_of_a_forgotten_call_is_dropped(void **state)
{
    struct wire wire = {0};

    (void)state;
    call(1);
    peer_forget_sent(&opener);
    ax_session_forget(&opener.session, 0);
    wire_operation_error(&wire, 0, "x");
    peer_feed_wire(&opener, &wire);
    assert_log(&opener, "");
    assert_int_equal(peer_collect(&opener), 0);
}

static void forgetting_a_call_that_is_not_there_does_nothing(void **state)
{
    (void)state;
    ax_session_forget(&opener.session, 5);
    call(1);
    ax_session_forget(&opener.session, 5);
    assert_int_equal(opener.session.calls.count, 1);
}

/* ---- released objects ---- */

static void released_objects_are_told(void **state)
{
    const uint64_t ids[] = {1, 2, 300};
    struct wire wire = {0};

    (void)state;
    wire_del_objs(&wire, ids, 3);
    wire_del_objs(&wire, NULL, 0);
    peer_feed_wire(&opener, &wire);
    assert_log(&opener, "release 1,2,300\nrelease\n");
}

static void our_releases_are_gathered_into_messages_of_1024(void **state)
{
    static uint64_t ids[2500];
    struct wire expected = {0};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        ids[i] = i * 3;
        assert_int_equal(ax_session_release(&opener.session, ids[i]), 0);
    }
    wire_del_objs(&expected, ids, 1024);
    wire_del_objs(&expected, ids + 1024, 1024);
    wire_del_objs(&expected, ids + 2048, 452);
    assert_sent(&opener, &expected);
    assert_null(opener.session.releases); /* a large array is not kept */

    assert_int_equal(ax_session_release(&opener.session, 7), 0);
    wire_del_objs(&expected, (uint64_t[]){7}, 1);
    assert_sent(&opener, &expected);
    assert_non_null(opener.session.releases);
}

static void without_memory_releases_wait_for_the_next_time(void **state)
{
    static uint64_t ids[1030];
    struct wire expected = {0};
    struct ax_slice slices[4];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        ids[i] = 1u << 20;
        assert_int_equal(ax_session_release(&opener.session, ids[i]), 0);
    }
    alloc_fail_at(1);
    assert_int_equal(ax_session_pending(&opener.session, slices, 4), 0);
    /* The first message finds memory, and the rest does not, for all that is left of it is too small. */
    assert_non_null(ax_output_append(&opener.session.output, 16000));
    size_t before = opener.session.output.size;
    alloc_fail_at(2);
    ax_session_pending(&opener.session, slices, 4);
    assert_true(opener.session.output.size > before);
    alloc_fail_at(0);
    peer_collect(&opener);
    wire_del_objs(&expected, ids, 1024);
    wire_del_objs(&expected, ids + 1024, 6);
    assert_int_equal(opener.sent.size, before + expected.size);
    assert_memory_equal(opener.sent.data + before, expected.data, expected.size);
    wire_free(&expected);
}

static void without_memory_a_release_is_forgotten(void **state)
{
    (void)state;
    alloc_fail_at(1);
    assert_int_equal(ax_session_release(&opener.session, 1), AX_ENOMEM);
    assert_int_equal(peer_collect(&opener), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_arrives_and_its_result_finds_the_waiter),
        TEST(an_error_is_a_result_of_another_kind),
        TEST(an_operation_error_is_a_text),
        TEST(a_long_operation_error_is_cut_between_characters),
        TEST(references_travel_with_calls_and_results),
        TEST(results_may_come_in_any_order),
        TEST(both_sides_call_with_ids_of_their_own),
        TEST(an_empty_payload_is_a_buffer_too),
        TEST(payloads_of_any_size_come_through),
        TEST(a_borrowed_payload_is_given_back_when_it_is_sent),
        TEST(more_buffers_than_one_arrive_with_their_call),
        TEST(a_result_without_a_call_is_refused),
        TEST(a_second_result_of_a_call_is_refused),
        TEST(a_result_of_an_unknown_kind_is_refused),
        TEST(a_result_without_a_buffer_is_refused),
        TEST(an_error_without_a_buffer_is_refused),
        TEST(a_call_without_a_buffer_is_refused),
        TEST(results_need_a_call_and_a_kind),
        TEST(without_memory_a_call_was_not_made),
        TEST(without_memory_a_result_was_not_sent),
        TEST(the_result_of_a_forgotten_call_is_answered_for_and_dropped),
        TEST(an_operation_error_of_a_forgotten_call_is_dropped),
        TEST(forgetting_a_call_that_is_not_there_does_nothing),
        TEST(released_objects_are_told),
        TEST(our_releases_are_gathered_into_messages_of_1024),
        TEST(without_memory_releases_wait_for_the_next_time),
        TEST(without_memory_a_release_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
