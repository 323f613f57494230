/* SPDX-License-Identifier: MIT */
/* What only peers that announce it say: requests other than APPLY, their results, and requests within a call. */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

static struct peer opener;
static struct peer acceptor;

static int set_up(void **state)
{
    (void)state;
    peer_connect(&opener, &acceptor, AX_FEATURES_ALL, NULL);
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

static int ask(struct ax_operation operation, struct ax_buffer *buffers, size_t count)
{
    struct ax_payload payload = {.buffers = buffers, .buffer_count = count};
    uint64_t id;

    return ax_session_call(&opener.session, &operation, &payload, (void *)42, opener.now, &id);
}

static int reply(uint64_t call, enum ax_result_kind kind, const uint64_t *refs, size_t ref_count, const char *text)
{
    struct ax_buffer buffer = {0};
    struct ax_payload payload = {
        .refs = refs, .ref_count = ref_count, .buffers = &buffer, .buffer_count = text != NULL};

    if (text != NULL && ax_buffer_append(&buffer, text, strlen(text)) < 0)
        return AX_ENOMEM;
    int error = ax_session_result(&acceptor.session, call, kind, &payload, acceptor.now);
    ax_buffer_fini(&buffer);
    return error;
}

/* ---- requests ---- */

static void each_operation_arrives_as_what_it_is(void **state)
{
    struct ax_buffer buffer = make_buffer(1, 'p');

    (void)state;
    assert_int_equal(ask((struct ax_operation){.type = AX_CREATE}, &buffer, 1), 0);
    buffer = make_buffer(1, 'q');
    assert_int_equal(ask((struct ax_operation){.type = AX_REPLICATE}, &buffer, 1), 0);
    assert_int_equal(ask((struct ax_operation){.type = AX_COPY, .object = 70000}, NULL, 0), 0);
    buffer = make_buffer(1, 'r');
    struct ax_operation method = {.type = AX_METHOD, .object = 7, .name = "append", .name_size = 6};
    assert_int_equal(ask(method, &buffer, 1), 0);
    assert_int_equal(ask(method, NULL, 0), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 type 6 refs buffers 1 p\n"
                          "call 1 type 7 refs buffers 1 q\n"
                          "call 2 type 8 object 70000 refs buffers 0\n"
                          "call 3 type 9 object 7 append refs buffers 1 r\n"
                          "call 4 type 9 object 7 append refs buffers 0\n");
    assert_int_equal(acceptor.session.calls_in_progress, 5);
}

static void an_operation_is_these_bytes(void **state)
{
    const struct ax_operation method = {.type = AX_METHOD, .object = 300, .name = "pop", .name_size = 3, .within = 9};
    const uint64_t refs[] = {5};
    struct ax_payload payload = {.refs = refs, .ref_count = 1};
    struct wire expected = {0};
    uint64_t id;

    (void)state;
    assert_int_equal(ax_session_call(&opener.session, &method, &payload, (void *)1, opener.now, &id), 0);
    wire_frame(&expected, "\x09\x00\xfd\x01\x2c\x03pop\x01\x05\x09", 12, false);
    assert_sent(&opener, &expected);
}

static void a_call_within_another_says_so(void **state)
{
    struct ax_buffer buffer = make_buffer(1, 'p');

    (void)state;
    assert_int_equal(ask((struct ax_operation){.type = AX_APPLY, .within = 300}, &buffer, 1), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 within 300 refs buffers 1 p\n");
}

static void a_request_needs_its_buffer(void **state)
{
    static const unsigned char types[] = {AX_APPLY, AX_CREATE, AX_REPLICATE};
    char expected[] = "failed -1 Call 0 has no buffer\n";

    (void)state;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct wire wire = {0};
        wire_frame(&wire, types + i, 1, false);
        peer_feed_wire(&acceptor, &wire);
        assert_log(&acceptor, expected);
        tear_down(NULL);
        set_up(NULL);
    }
}

/* ---- results ---- */

static void self_and_references_are_results(void **state)
{
    const uint64_t id = 77;

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            ask((struct ax_operation){.type = AX_METHOD, .object = 7, .name = "x", .name_size = 1}, NULL, 0), 0);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(reply(0, AX_RESULT_SELF, NULL, 0, NULL), 0);
    assert_int_equal(reply(1, AX_RESULT_REFERENCE, &id, 1, "append pop"), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "result 0 kind 5 waiter 42 refs buffers 0\n"
                        "result 1 kind 6 waiter 42 refs 77 buffers 1 append pop\n");
    assert_int_equal(acceptor.session.calls_in_progress, 0);
}

static void a_reference_needs_an_id_and_names(void **state)
{
    const char *const heads[] = {"\x02\x00\x06\x00", "\x02\x00\x06\x01\x07"};
    const char *const logs[] = {"failed -1 Result of call 0 refers to no object\n",
                                "failed -1 Result of call 0 has no buffer\n"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct wire wire = {0};
        assert_int_equal(ask((struct ax_operation){.type = AX_COPY, .object = 7}, NULL, 0), 0);
        wire_frame(&wire, heads[i], 4 + i, i == 0);
        if (i == 0)
            wire_frame(&wire, "pop", 3, false);
        peer_feed_wire(&opener, &wire);
        assert_log(&opener, logs[i]);
        tear_down(NULL);
        set_up(NULL);
    }
}

static void there_are_no_other_kinds_of_results(void **state)
{
    (void)state;
    assert_int_equal(ask((struct ax_operation){.type = AX_COPY, .object = 7}, NULL, 0), 0);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(reply(0, AX_RESULT_OPERATION_ERROR, NULL, 0, "x"), AX_ERANGE);
    assert_int_equal(reply(0, (enum ax_result_kind)7, NULL, 0, "x"), AX_ERANGE);
    assert_int_equal(acceptor.session.calls_in_progress, 1);
}

static void a_waiter_is_found_until_its_result_has_come(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(ask((struct ax_operation){.type = AX_COPY, .object = 7}, NULL, 0), 0);
    ax_session_forget(&opener.session, 1);
    assert_ptr_equal(ax_session_waiter(&opener.session, 0), (void *)42);
    assert_null(ax_session_waiter(&opener.session, 1));
    assert_null(ax_session_waiter(&opener.session, 2));
    peer_exchange(&opener, &acceptor);
    assert_int_equal(reply(0, AX_RESULT_SELF, NULL, 0, NULL), 0);
    peer_exchange(&opener, &acceptor);
    assert_null(ax_session_waiter(&opener.session, 0));
}

/* ---- peers that have not announced it ---- */

static void a_plain_peer_hears_nothing_of_it(void **state)
{
    struct wire expected = {0};

    (void)state;
    tear_down(NULL);
    peer_connect(&opener, &acceptor, 0, NULL);
    struct ax_buffer buffer = make_buffer(1, 'p');
    for (enum ax_message_type type = AX_CREATE; type <= AX_METHOD; type++)
        assert_int_equal(ask((struct ax_operation){.type = type, .name = "x", .name_size = 1}, &buffer, 1), AX_ESTATE);
    assert_int_equal(ask((struct ax_operation){.type = AX_APPLY, .within = 300}, &buffer, 1), 0);
    wire_apply(&expected, 0, NULL, 0, "p");
    assert_sent(&opener, &expected);
}

static void a_plain_peer_cannot_say_it(void **state)
{
    (void)state;
    tear_down(NULL);
    peer_connect(&opener, &acceptor, 0, NULL);
    struct wire wire = {0};
    wire_frame(&wire, "\x01\x00\x00\x09", 4, true); /* an APPLY, with something behind its ids */
    wire_frame(&wire, "p", 1, false);
    peer_feed_wire(&acceptor, &wire);
    assert_log(&acceptor, "call 0 refs buffers 1 p\n");
    assert_int_equal(reply(0, AX_RESULT_SELF, NULL, 0, NULL), AX_ERANGE);
    wire_frame(&wire, "\x08\x01\x07", 3, false);
    peer_feed_wire(&acceptor, &wire);
    assert_log(&acceptor, "failed -1 Invalid message in ready state: 8\n");
}

static void a_plain_peer_cannot_answer_with_it(void **state)
{
    struct wire wire = {0};

    (void)state;
    tear_down(NULL);
    peer_connect(&opener, &acceptor, 0, NULL);
    struct ax_buffer buffer = make_buffer(1, 'p');
    assert_int_equal(ask((struct ax_operation){.type = AX_APPLY}, &buffer, 1), 0);
    wire_frame(&wire, "\x02\x00\x05", 3, false);
    peer_feed_wire(&opener, &wire);
    assert_log(&opener, "failed -1 Result of call 0 has an unknown kind: 5\n");
}

/* ---- several buffers ---- */

#define LARGE (AX_OUTPUT_COPY_MAX + 1)

static void fill(struct ax_buffer buffers[4])
{
    static const size_t sizes[] = {3, LARGE, 0, 2 * LARGE};

    for (size_t i = 0; i < 4; i++) {
        buffers[i] = make_buffer(sizes[i], 'a' + (int)i);
        assert_non_null(buffers[i].data);
    }
}

/* Takes the message of four buffers that was asked, and checks each byte of it. */
static void check_arrival(const struct wire *sent)
{
    size_t at = AX_FRAME_HEADER_SIZE + 3;
    static const size_t sizes[] = {3, LARGE, 0, 2 * LARGE};

    for (size_t i = 0; i < 4; i++) {
        unsigned char header[AX_FRAME_HEADER_SIZE];
        ax_frame_put_header(header, sizes[i], i < 3);
        assert_memory_equal(sent->data + at, header, sizeof header);
        at += sizeof header;
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(sent->data[at + k], 'a' + (int)i);
        at += sizes[i];
    }
    assert_int_equal(at, sent->size);
}

static void buffers_small_and_large_stay_in_their_order(void **state)
{
    struct ax_buffer buffers[4];

    (void)state;
    fill(buffers);
    assert_int_equal(ask((struct ax_operation){.type = AX_APPLY}, buffers, 4), 0);
    for (size_t i = 0; i < 4; i++)
        assert_null(buffers[i].data);
    peer_collect(&opener);
    check_arrival(&opener.sent);
}

static void without_memory_all_buffers_stay_with_the_caller(void **state)
{
    struct ax_buffer buffers[4];
    unsigned attempt = 0;
    int error;

    (void)state;
    fill(buffers);
    do {
        alloc_fail_at(++attempt);
        error = ask((struct ax_operation){.type = AX_APPLY}, buffers, 4);
        alloc_fail_at(0);
        for (size_t i = 0; error != 0 && i < 4; i++)
            assert_non_null(buffers[i].data);
    } while (error == AX_ENOMEM);
    assert_int_equal(error, 0);
    assert_true(attempt > 4);
    peer_collect(&opener);
    check_arrival(&opener.sent);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_operation_arrives_as_what_it_is),
        TEST(an_operation_is_these_bytes),
        TEST(a_call_within_another_says_so),
        TEST(a_request_needs_its_buffer),
        TEST(self_and_references_are_results),
        TEST(a_reference_needs_an_id_and_names),
        TEST(there_are_no_other_kinds_of_results),
        TEST(a_waiter_is_found_until_its_result_has_come),
        TEST(a_plain_peer_hears_nothing_of_it),
        TEST(a_plain_peer_cannot_say_it),
        TEST(a_plain_peer_cannot_answer_with_it),
        TEST(buffers_small_and_large_stay_in_their_order),
        TEST(without_memory_all_buffers_stay_with_the_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
