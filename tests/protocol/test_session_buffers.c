/* SPDX-License-Identifier: MIT */
/* Buffers of several pieces, and buffers beside a pickle, of which the head says the kinds. */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

#define LARGE (AX_OUTPUT_COPY_MAX + 1)

static struct peer opener;
static struct peer acceptor;

static int set_up(void **state)
{
    (void)state;
    peer_connect(&opener, &acceptor, AX_FEATURE_BUFFERS, NULL);
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

static int ask(struct ax_payload *payload)
{
    struct ax_operation operation = {.type = AX_APPLY};
    uint64_t id;

    return ax_session_call(&opener.session, &operation, payload, (void *)42, opener.now, &id);
}

/* ---- pieces ---- */

/* Two frames, the first of which is in pieces of these sizes. */
static void fill_pieces(struct ax_buffer buffers[5])
{
    static const size_t sizes[] = {3, LARGE, 0, 7, 2};

    for (size_t i = 0; i < 5; i++) {
        buffers[i] = make_buffer(sizes[i], 'a' + (int)i);
        buffers[i].continued = i < 3;
        assert_non_null(buffers[i].data);
    }
}

/* The same as one would have sent it who has it in one piece. */
static void expect_pieces(struct wire *expected)
{
    static const size_t sizes[] = {3, LARGE, 0, 7};
    unsigned char whole[10 + LARGE], *at = whole;

    for (size_t i = 0; i < 4; i++) {
        memset(at, 'a' + (int)i, sizes[i]);
        at += sizes[i];
    }
    wire_frame(expected, "\x01\x00\x00", 3, true);
    wire_frame(expected, whole, sizeof whole, true);
    wire_frame(expected, "ee", 2, false);
}

static void buffers_that_continue_each_other_are_one_frame(void **state)
{
    struct ax_buffer buffers[5];
    struct ax_payload payload = {.buffers = buffers, .buffer_count = 5};
    struct wire expected = {0};

    (void)state;
    fill_pieces(buffers);
    assert_int_equal(ask(&payload), 0);
    for (size_t i = 0; i < 5; i++)
        assert_null(buffers[i].data);
    expect_pieces(&expected);
    assert_sent(&opener, &expected);
}

static void small_pieces_are_one_frame_too(void **state)
{
    struct ax_buffer buffers[3] = {make_buffer(2, 'a'), make_buffer(0, 'b'), make_buffer(1, 'c')};
    struct ax_payload payload = {.buffers = buffers, .buffer_count = 3};
    struct wire expected = {0};

    (void)state;
    buffers[0].continued = true;
    assert_int_equal(ask(&payload), 0);
    wire_frame(&expected, "\x01\x00\x00", 3, true);
    wire_frame(&expected, "aa", 2, true);
    wire_frame(&expected, "c", 1, false);
    assert_sent(&opener, &expected);
}

static void without_memory_all_pieces_stay_with_the_caller(void **state)
{
    struct ax_buffer buffers[5];
    struct ax_payload payload = {.buffers = buffers, .buffer_count = 5};
    struct wire expected = {0};
    unsigned attempt = 0;
    int error;

    (void)state;
    fill_pieces(buffers);
    do {
        alloc_fail_at(++attempt);
        error = ask(&payload);
        alloc_fail_at(0);
        for (size_t i = 0; error != 0 && i < 5; i++)
            assert_non_null(buffers[i].data);
    } while (error == AX_ENOMEM);
    assert_int_equal(error, 0);
    assert_true(attempt > 3);
    expect_pieces(&expected);
    assert_sent(&opener, &expected);
}

/* ---- kinds ---- */

static const uint64_t kinds[] = {AX_BUFFER_BYTES, AX_BUFFER_MEMORY, 300};

/* A payload of a pickle and three buffers. */
static struct ax_payload make_payload(struct ax_buffer buffers[4])
{
    for (int i = 0; i < 4; i++)
        buffers[i] = make_buffer(1, 'p' + i);
    return (struct ax_payload){.buffers = buffers, .buffer_count = 4, .kinds = kinds, .kind_count = 3};
}

static void a_request_says_what_its_buffers_are(void **state)
{
    struct ax_buffer buffers[4];
    struct ax_payload payload = make_payload(buffers);
    struct wire expected = {0};

    (void)state;
    assert_int_equal(ask(&payload), 0);
    wire_frame(&expected, "\x01\x00\x00\x00\x03\x01\x00\xfd\x01\x2c", 10, true);
    wire_frame(&expected, "p", 1, true);
    wire_frame(&expected, "q", 1, true);
    wire_frame(&expected, "r", 1, true);
    wire_frame(&expected, "s", 1, false);
    assert_sent(&opener, &expected);
}

static void a_result_says_it_too(void **state)
{
    struct ax_buffer buffers[4], buffer = make_buffer(1, 'p');
    struct ax_payload payload = {.buffers = &buffer, .buffer_count = 1};
    struct wire expected = {0};
    const uint64_t ref = 9;

    (void)state;
    assert_int_equal(ask(&payload), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 refs buffers 1 p\n");
    peer_forget_sent(&acceptor);
    payload = make_payload(buffers);
    payload.refs = &ref;
    payload.ref_count = 1;
    assert_int_equal(ax_session_result(&acceptor.session, 0, AX_RESULT_SUCCESS, &payload, acceptor.now), 0);
    wire_frame(&expected, "\x02\x00\x02\x01\x09\x03\x01\x00\xfd\x01\x2c", 11, true);
    wire_frame(&expected, "p", 1, true);
    wire_frame(&expected, "q", 1, true);
    wire_frame(&expected, "r", 1, true);
    wire_frame(&expected, "s", 1, false);
    assert_sent(&acceptor, &expected);
}

/* The kinds of a message with this head and three buffers beside its pickle. */
static void check_kinds(const char *head, size_t size, const uint64_t expected[3])
{
    struct ax_message *message = ax_message_new();

    assert_non_null(message);
    assert_int_equal(ax_buffer_append(&message->head, head, size), 0);
    ax_message_decode(message);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(ax_message_kind(message, i + 1), expected[i]);
    ax_message_free(message);
}

static void kinds_are_read_behind_all_other_fields(void **state)
{
    static const uint64_t some[] = {AX_BUFFER_BYTEARRAY, AX_BUFFER_BYTES, AX_BUFFER_MEMORY};
    static const uint64_t none[] = {AX_BUFFER_MEMORY, AX_BUFFER_MEMORY, AX_BUFFER_MEMORY};

    (void)state;
    check_kinds("\x01\x00\x02\x05\x06\x07\x02\x02\x01", 9, some);
    check_kinds("\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x01", 15,
                some); /* a count that is too large */
    check_kinds("\x01\x00\x02\x05\x06\x07", 6, none);
    check_kinds("\x09\x00\x05\x01x\x00\x00\x02\x02\x01", 10, some);
    check_kinds("\x02\x00\x02\x01\x07\x02\x02\x01", 8, some);
    check_kinds("\x02\x00\x03\x00\x02\x02\x01", 7, some);
    check_kinds("\x02\x00\x04\x01\x07\x02\x02\x01", 8, none); /* an operation error has none */
    check_kinds("\x04\x02\x01\x02\x02\x02\x01", 7, none);
}

/* ---- receive buffers ---- */

#define BODY (AX_RECEIVE_BUFFER_MIN + 777)

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + i / 256);
}

/* Feeds this part of a large body to the acceptor; returns the event that comes. */
static struct ax_event feed_body(size_t begin, size_t end)
{
    static unsigned char piece[BODY];
    struct ax_event event;

    for (size_t i = begin; i < end; i++)
        piece[i] = byte_at(i);
    assert_int_equal(ax_session_feed(&acceptor.session, piece + begin, end - begin, acceptor.now, &event), end - begin);
    return event;
}

/* All of a call but its last frame, and that one's header, which announces `size` bytes of this kind. */
static void begin_call(size_t size, unsigned kind)
{
    struct wire wire = {0};
    struct ax_event event;
    unsigned char head[6] = {AX_APPLY, 0, 0, 0, 1, (unsigned char)kind};

    wire_frame(&wire, head, sizeof head, true);
    wire_frame(&wire, "p", 1, true);
    wire_u64(&wire, (uint64_t)size * 2);
    assert_int_equal(ax_session_feed(&acceptor.session, wire.data, wire.size, acceptor.now, &event), wire.size);
    assert_int_equal(event.type, AX_EVENT_NONE);
    wire_free(&wire);
}

static struct ax_buffer make_receive_buffer(size_t size)
{
    struct ax_buffer buffer = {.data = malloc(size), .capacity = size};

    assert_non_null(buffer.data);
    return buffer;
}

/* Moves the body, which has begun to arrive, into the buffer. */
static void move(uint64_t body, struct ax_buffer *buffer)
{
    unsigned char *data = buffer->data;

    assert_int_equal(ax_session_give_buffer(&acceptor.session, body, buffer), 0);
    memcpy(data, buffer->data, buffer->size);
    ax_buffer_fini(buffer);
}

static void check_body(struct ax_event *event, const unsigned char *where)
{
    assert_int_equal(event->type, AX_EVENT_CALL);
    const struct ax_buffer *body = &event->message->buffers[1];
    assert_int_equal(body->size, BODY);
    assert_true(where == NULL || body->data == where);
    for (size_t i = 0; i < BODY; i++)
        assert_int_equal(body->data[i], byte_at(i));
    ax_message_free(event->message);
}

static void a_body_continues_in_its_receive_buffer(void **state)
{
    static const size_t splits[] = {BODY / 16, BODY / 16 + 1, BODY / 8, BODY / 2, BODY - 1};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(splits); i++) {
        struct ax_buffer_request buffer_request;
        begin_call(BODY, AX_BUFFER_BYTES);
        assert_int_equal(feed_body(0, splits[i]).type, AX_EVENT_NONE);
        assert_true(ax_session_wants_buffer(&acceptor.session, &buffer_request));
        assert_int_equal(buffer_request.size, BODY);
        assert_int_equal(buffer_request.kind, AX_BUFFER_BYTES);
        struct ax_buffer buffer = make_receive_buffer(BODY);
        unsigned char *where = buffer.data;
        move(buffer_request.body, &buffer);
        struct ax_event event = feed_body(splits[i], BODY);
        check_body(&event, where);
    }
}

static void bytes_that_are_read_directly_go_into_it_too(void **state)
{
    struct ax_buffer_request buffer_request;
    struct ax_event event;
    void *memory;

    (void)state;
    begin_call(BODY, AX_BUFFER_BYTEARRAY);
    feed_body(0, BODY / 2);
    assert_true(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    assert_int_equal(buffer_request.kind, AX_BUFFER_BYTEARRAY);
    struct ax_buffer buffer = make_receive_buffer(BODY);
    unsigned char *where = buffer.data;
    move(buffer_request.body, &buffer);
    assert_int_equal(ax_session_space(&acceptor.session, &memory), BODY - BODY / 2);
    assert_ptr_equal(memory, where + BODY / 2);
    for (size_t i = BODY / 2; i < BODY; i++)
        where[i] = byte_at(i);
    ax_session_filled(&acceptor.session, BODY - BODY / 2, acceptor.now, &event);
    check_body(&event, where);
}

static void a_buffer_is_requested_once_and_after_a_16th(void **state)
{
    struct ax_buffer_request buffer_request;

    (void)state;
    begin_call(BODY, 77);
    feed_body(0, BODY / 16 - 1);
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    feed_body(BODY / 16 - 1, BODY / 16);
    assert_true(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    assert_int_equal(buffer_request.kind, 77);
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    struct ax_event event = feed_body(BODY / 16, BODY);
    check_body(&event, NULL);
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
}

static void a_length_alone_requests_no_buffer(void **state)
{
    struct ax_buffer_request buffer_request;

    (void)state;
    alloc_reset_largest();
    begin_call((size_t)512 << 20, AX_BUFFER_BYTES);
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    feed_body(0, AX_RECEIVE_BUFFER_MIN);
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    assert_true(alloc_largest() <= 2 * AX_RECEIVE_BUFFER_MIN);
    ax_session_fail(&acceptor.session, AX_EPROTOCOL, "enough");
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
}

static void small_bodies_request_no_buffer(void **state)
{
    struct ax_buffer_request buffer_request;

    (void)state;
    begin_call(AX_RECEIVE_BUFFER_MIN - 1, AX_BUFFER_BYTES);
    feed_body(0, AX_RECEIVE_BUFFER_MIN - 2);
    assert_false(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    struct ax_event event = feed_body(AX_RECEIVE_BUFFER_MIN - 2, AX_RECEIVE_BUFFER_MIN - 1);
    assert_int_equal(event.type, AX_EVENT_CALL);
    ax_message_free(event.message);
}

static void a_buffer_that_comes_too_late_is_not_taken(void **state)
{
    struct ax_buffer_request first, second;
    struct ax_buffer buffer = make_receive_buffer(BODY);

    (void)state;
    begin_call(BODY, AX_BUFFER_BYTES);
    feed_body(0, BODY / 2);
    assert_true(ax_session_wants_buffer(&acceptor.session, &first));
    struct ax_event event = feed_body(BODY / 2, BODY);
    check_body(&event, NULL);
    assert_int_equal(ax_session_give_buffer(&acceptor.session, first.body, &buffer), AX_ESTATE);
    begin_call(BODY, AX_BUFFER_BYTES);
    feed_body(0, BODY / 2);
    assert_true(ax_session_wants_buffer(&acceptor.session, &second));
    assert_int_equal(ax_session_give_buffer(&acceptor.session, first.body, &buffer), AX_ESTATE);
    move(second.body, &buffer);
    ax_session_fail(&acceptor.session, AX_EPROTOCOL, "enough"); /* tear_down() frees the half of it that has come */
}

static void what_a_plain_peer_sends_has_no_kind(void **state)
{
    struct ax_buffer_request buffer_request;

    (void)state;
    tear_down(NULL);
    peer_connect(&opener, &acceptor, 0, NULL);
    begin_call(BODY, AX_BUFFER_BYTES);
    feed_body(0, BODY / 2);
    assert_true(ax_session_wants_buffer(&acceptor.session, &buffer_request));
    assert_int_equal(buffer_request.kind, AX_BUFFER_MEMORY);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(buffers_that_continue_each_other_are_one_frame),
        TEST(small_pieces_are_one_frame_too),
        TEST(without_memory_all_pieces_stay_with_the_caller),
        TEST(a_request_says_what_its_buffers_are),
        TEST(a_result_says_it_too),
        TEST(kinds_are_read_behind_all_other_fields),
        TEST(a_body_continues_in_its_receive_buffer),
        TEST(bytes_that_are_read_directly_go_into_it_too),
        TEST(a_buffer_is_requested_once_and_after_a_16th),
        TEST(a_length_alone_requests_no_buffer),
        TEST(small_bodies_request_no_buffer),
        TEST(a_buffer_that_comes_too_late_is_not_taken),
        TEST(what_a_plain_peer_sends_has_no_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
