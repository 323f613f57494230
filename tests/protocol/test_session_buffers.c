/* SPDX-License-Identifier: MIT */
/* Buffers of several pieces, and buffers beside a pickle, of which the head says the kinds. */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

#define LARGE (AX_OUTPUT_COPY_MAX + 1)

static struct peer opener;
static struct peer acceptor;

static void connect_peers(uint32_t features)
{
    struct ax_session_config config = peer_config(AX_OPENER);

    config.features = features;
    peer_init(&opener, &config);
    config = peer_config(AX_ACCEPTOR);
    config.features = features;
    peer_init(&acceptor, &config);
    peer_exchange(&opener, &acceptor);
    assert_log(&opener, "ready\n");
    assert_log(&acceptor, "ready\n");
    peer_forget_sent(&opener);
    peer_forget_sent(&acceptor);
}

static int set_up(void **state)
{
    (void)state;
    connect_peers(AX_FEATURE_BUFFERS);
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

static int ask(struct ax_cargo *cargo)
{
    struct ax_operation operation = {.type = AX_APPLY};
    uint64_t id;

    return ax_session_call(&opener.session, &operation, cargo, (void *)42, opener.now, &id);
}

/* ---- pieces ---- */

/* Two frames, the first of which is in pieces of these sizes. */
static void fill_pieces(struct ax_buffer buffers[5])
{
    static const size_t sizes[] = {3, LARGE, 0, 7, 2};

    for (size_t i = 0; i < 5; i++) {
        buffers[i] = make_payload(sizes[i], 'a' + (int)i);
        buffers[i].joined = i < 3;
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
    wire_frame(expected, whole, sizeof(whole), true);
    wire_frame(expected, "ee", 2, false);
}

static void pieces_that_are_joined_are_one_frame(void **state)
{
    struct ax_buffer buffers[5];
    struct ax_cargo cargo = {.buffers = buffers, .buffer_count = 5};
    struct wire expected = {0};

    (void)state;
    fill_pieces(buffers);
    assert_int_equal(ask(&cargo), 0);
    for (size_t i = 0; i < 5; i++)
        assert_null(buffers[i].data);
    expect_pieces(&expected);
    assert_sent(&opener, &expected);
}

static void small_pieces_are_one_frame_too(void **state)
{
    struct ax_buffer buffers[3] = {make_payload(2, 'a'), make_payload(0, 'b'), make_payload(1, 'c')};
    struct ax_cargo cargo = {.buffers = buffers, .buffer_count = 3};
    struct wire expected = {0};

    (void)state;
    buffers[0].joined = true;
    assert_int_equal(ask(&cargo), 0);
    wire_frame(&expected, "\x01\x00\x00", 3, true);
    wire_frame(&expected, "aa", 2, true);
    wire_frame(&expected, "c", 1, false);
    assert_sent(&opener, &expected);
}

static void without_memory_all_pieces_stay_with_the_caller(void **state)
{
    struct ax_buffer buffers[5];
    struct ax_cargo cargo = {.buffers = buffers, .buffer_count = 5};
    struct wire expected = {0};
    unsigned attempt = 0;
    int error;

    (void)state;
    fill_pieces(buffers);
    do {
        alloc_fail_at(++attempt);
        error = ask(&cargo);
        alloc_fail_at(0);
        for (size_t i = 0; error && i < 5; i++)
            assert_non_null(buffers[i].data);
    } while (error == AX_ENOMEM);
    assert_int_equal(error, 0);
    assert_true(attempt > 3);
    expect_pieces(&expected);
    assert_sent(&opener, &expected);
}

/* ---- kinds ---- */

static const uint64_t kinds[] = {AX_BUFFER_BYTES, AX_BUFFER_MEMORY, 300};

/* A cargo of a pickle and three buffers. */
static struct ax_cargo make_cargo(struct ax_buffer buffers[4])
{
    for (int i = 0; i < 4; i++)
        buffers[i] = make_payload(1, 'p' + i);
    return (struct ax_cargo){.buffers = buffers, .buffer_count = 4, .kinds = kinds, .kind_count = 3};
}

static void a_request_says_what_its_buffers_are(void **state)
{
    struct ax_buffer buffers[4];
    struct ax_cargo cargo = make_cargo(buffers);
    struct wire expected = {0};

    (void)state;
    assert_int_equal(ask(&cargo), 0);
    wire_frame(&expected, "\x01\x00\x00\x00\x03\x01\x00\xfd\x01\x2c", 10, true);
    wire_frame(&expected, "p", 1, true);
    wire_frame(&expected, "q", 1, true);
    wire_frame(&expected, "r", 1, true);
    wire_frame(&expected, "s", 1, false);
    assert_sent(&opener, &expected);
}

static void a_result_says_it_too(void **state)
{
    struct ax_buffer buffers[4], payload = make_payload(1, 'p');
    struct ax_cargo cargo = {.buffers = &payload, .buffer_count = 1};
    struct wire expected = {0};
    const uint64_t ref = 9;

    (void)state;
    assert_int_equal(ask(&cargo), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "call 0 refs buffers 1 p\n");
    peer_forget_sent(&acceptor);
    cargo = make_cargo(buffers);
    cargo.refs = &ref;
    cargo.ref_count = 1;
    assert_int_equal(ax_session_result(&acceptor.session, 0, AX_RESULT_SUCCESS, &cargo, acceptor.now), 0);
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pieces_that_are_joined_are_one_frame),
        TEST(small_pieces_are_one_frame_too),
        TEST(without_memory_all_pieces_stay_with_the_caller),
        TEST(a_request_says_what_its_buffers_are),
        TEST(a_result_says_it_too),
        TEST(kinds_are_read_behind_all_other_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
