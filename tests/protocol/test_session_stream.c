/* SPDX-License-Identifier: MIT */
/*
 * Whole conversations, byte for byte: what a session sends to a plain peer of either version must never change. The
 * bytes are written out here, without the help of wire.c.
 */
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

static unsigned digit(char character)
{
    const char *digits = "0123456789abcdef";

    return (unsigned)(strchr(digits, character) - digits);
}

/* Bytes from hexadecimal digits, with a space between any two bytes. */
static struct wire bytes_of(const char *text)
{
    struct wire wire = {0};

    for (; *text != '\0'; text++) {
        if (*text == ' ')
            continue;
        wire_u8(&wire, digit(text[0]) << 4 | digit(text[1]));
        text++;
    }
    return wire;
}

static void feed(const char *text)
{
    struct wire wire = bytes_of(text);

    peer_feed_wire(&peer, &wire);
}

static void expect(const char *text)
{
    struct wire wire = bytes_of(text);

    assert_sent(&peer, &wire);
}

static void greet(void)
{
    expect("0000000000000008 00fdea60"); /* 60 s */
    feed("0000000000000008 00fdea60");
    assert_log(&peer, "ready\n");
}

static void call_the_peer(void)
{
    const uint64_t refs[] = {5, 300};
    struct ax_buffer payload = make_buffer(5, 'h');
    uint64_t id;

    assert_int_equal(apply(&peer.session, refs, 2, &payload, (void *)7, peer.now, &id), 0);
    expect("000000000000000f 01 00 02 05 fd012c 000000000000000a 6868686868");
    feed("000000000000000b 02 00 02 01 04 0000000000000004 6f6b");
    assert_log(&peer, "result 0 kind 2 waiter 7 refs 4 buffers 1 ok\n");
    assert_int_equal(ax_session_release(&peer.session, 4), 0);
    expect("0000000000000006 04 01 04");
}

static void answer_the_peer(void)
{
    feed("0000000000000007 01 00 00 0000000000000004 6162");
    assert_log(&peer, "call 0 refs buffers 1 ab\n");
    assert_int_equal(peer_result(&peer, 0, AX_RESULT_SUCCESS, "cd"), 0);
    expect("0000000000000009 02 00 02 00 0000000000000004 6364");

    feed("0000000000000007 01 01 00 0000000000000004 6162");
    assert_log(&peer, "call 1 refs buffers 1 ab\n");
    assert_int_equal(peer_result(&peer, 1, AX_RESULT_ERROR, "ef"), 0);
    expect("0000000000000009 02 01 03 00 0000000000000004 6566");

    feed("000000000000000d 01 fd0100 01 fc 0000000000000004 6162");
    assert_log(&peer, "call 256 refs 252 buffers 1 ab\n");
    assert_int_equal(ax_session_result_failed(&peer.session, 256, "no", peer.now), 0);
    expect("0000000000000010 02 fd0100 04 02 6e6f");
}

static void stay_alive(void)
{
    feed("0000000000000002 05");
    assert_log(&peer, "");
    peer_expire(&peer, peer.now + 30000);
    expect("0000000000000002 05");
    feed("0000000000000008 04 02 fc 05");
    assert_log(&peer, "release 252,5\n");
}

static void part(void)
{
    ax_session_close(&peer.session, "a plain peer is not told", peer.now);
    expect("0000000000000002 03");
    feed("0000000000000002 03");
    assert_log(&peer, "closed\n");
    expect("");
}

static void converse(enum ax_role role, uint8_t minor, uint32_t features, const char *superblock, const char *theirs)
{
    struct ax_session_config config = peer_config(role);

    config.minor = minor;
    config.timeout_ms = 60000;
    config.features = features;
    peer_init(&peer, &config);
    if (role == AX_OPENER)
        expect(superblock);
    feed(theirs);
    if (role == AX_ACCEPTOR) {
        struct wire wire = bytes_of(superblock);
        assert_true(peer_collect(&peer) > wire.size);
        assert_memory_equal(peer.sent.data, wire.data, wire.size);
        memmove(peer.sent.data, peer.sent.data + wire.size, peer.sent.size -= wire.size);
        wire_free(&wire);
    }
    greet();
    call_the_peer();
    answer_the_peer();
    stay_alive();
    part();
}

static void an_opener_speaks_0_1(void **state)
{
    (void)state;
    converse(AX_OPENER, 1, 0, "e35b9e78 000100 000000000000000000", "e35b9e78 000100 000000000000000000");
}

static void an_opener_speaks_0_2(void **state)
{
    (void)state;
    converse(AX_OPENER, 2, 0, "e35b9e78 000200 000000000000000000", "e35b9e78 000200 000000000000000000");
}

static void an_acceptor_answers_in_0_1(void **state)
{
    (void)state;
    converse(AX_ACCEPTOR, 0, 0, "e35b9e78 000100 000000000000000000", "e35b9e78 000100 000000000000000000");
}

static void an_acceptor_answers_in_0_2(void **state)
{
    (void)state;
    converse(AX_ACCEPTOR, 0, 0, "e35b9e78 000200 000000000000000000", "e35b9e78 000200 000000000000000000");
}

/* The features show in the superblock alone, as long as the peer has none. */
static void features_change_nothing_else_for_a_plain_peer(void **state)
{
    (void)state;
    converse(AX_OPENER, 2, AX_FEATURE_REASON, "e35b9e78 000200 01 00000001 00000000",
             "e35b9e78 000200 000000000000000000");
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_opener_speaks_0_1),
        TEST(an_opener_speaks_0_2),
        TEST(an_acceptor_answers_in_0_1),
        TEST(an_acceptor_answers_in_0_2),
        TEST(features_change_nothing_else_for_a_plain_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
