/* SPDX-License-Identifier: MIT */
/*
 * Sweeps: every message in every state, and every request in every state.
 */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

/* The states of a session, SUPERBLOCK once for each role. */
enum stage { OPENER, ACCEPTOR, GREETING, READY, CLOSING, CLOSED, FAILED, STAGES };

static const enum ax_session_state states[STAGES] = {
    AX_STATE_SUPERBLOCK, AX_STATE_SUPERBLOCK, AX_STATE_GREETING, AX_STATE_READY,
    AX_STATE_CLOSING,    AX_STATE_CLOSED,     AX_STATE_FAILED,
};

static struct peer peer;

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

/* Brings the session there; in READY and after it, call 0 of ours waits, and call 0 of the peer's runs. */
static void reach(enum stage stage)
{
    struct ax_session_config config = peer_config(stage == OPENER ? AX_OPENER : AX_ACCEPTOR);
    struct wire wire = {0};
    uint64_t id;

    peer_init(&peer, &config);
    if (stage >= GREETING) {
        wire_superblock(&wire, 0, 2, 0);
        peer_feed_wire(&peer, &wire);
    }
    if (stage >= READY) {
        wire_greeting(&wire, 0);
        wire_apply(&wire, 0, NULL, 0, "x");
        peer_feed_wire(&peer, &wire);
        assert_int_equal(peer_call(&peer, "x", 42, &id), 0);
    }
    if (stage == CLOSING)
        ax_session_close(&peer.session, NULL, peer.now);
    if (stage == CLOSED) {
        wire_goodbye(&wire, NULL);
        peer_feed_wire(&peer, &wire);
    }
    if (stage == FAILED)
        ax_session_fail(&peer.session, AX_EEOF, "on purpose");
    assert_int_equal(peer.session.state, states[stage]);
    wire_free(&peer.log);
    peer_forget_sent(&peer);
}

/* A message of each type that is right in itself, and types that nobody knows. */
static const uint64_t types[] = {0, 1, 2, 3, 4, 5, 6, 252, 253, UINT64_MAX};

static void put_message(struct wire *wire, uint64_t type)
{
    switch (type) {
    case 0:
        wire_greeting(wire, 0);
        break;
    case 1:
        wire_apply(wire, 1, NULL, 0, "x");
        break;
    case 2:
        wire_result(wire, 0, 2, NULL, 0, "x");
        break;
    case 3:
        wire_goodbye(wire, NULL);
        break;
    case 4:
        wire_del_objs(wire, (uint64_t[]){6}, 1);
        break;
    default:
        wire_bare_message(wire, type);
    }
}

#define REFUSED "refused" /* with the sentence that names state and type */
#define MAGIC "failed -1 Invalid magic: 0x0\n"

/* What the log says afterwards. A row for each of `types`; from index 6 on they are all alike. */
static const char *const expected_logs[7][STAGES] = {
    /* OPENER, ACCEPTOR, GREETING, READY, CLOSING, CLOSED, FAILED */
    {MAGIC, MAGIC, "ready\n", REFUSED, "", "", ""},
    {MAGIC, MAGIC, REFUSED, "call 1 refs buffers 1 x\n", "", "", ""},
    {MAGIC, MAGIC, REFUSED, "result 0 kind 2 waiter 42 refs buffers 1 x\n", "", "", ""},
    {MAGIC, MAGIC, REFUSED, "closed\n", "closed\n", "", ""},
    {MAGIC, MAGIC, REFUSED, "release 6\n", "", "", ""},
    {MAGIC, MAGIC, REFUSED, "", "", "", ""},
    {MAGIC, MAGIC, REFUSED, REFUSED, "", "", ""},
};

static void check_message(enum stage stage, size_t index, enum feeding feeding)
{
    const char *expected = expected_logs[index < 6 ? index : 6][stage];
    char refused[100];
    struct wire wire = {0};

    reach(stage);
    peer.feeding = feeding;
    if (strcmp(expected, REFUSED) == 0) {
        snprintf(refused, sizeof refused, "failed -1 Invalid message in %s state: %llu\n",
                 stage == GREETING ? "greeting" : "ready", (unsigned long long)types[index]);
        expected = refused;
    }
    put_message(&wire, types[index]);
    while (stage <= ACCEPTOR && wire.size < AX_SUPERBLOCK_SIZE) /* taken for a superblock */
        wire_u8(&wire, 0);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, expected);
    peer_fini(&peer);
}

static void every_message_in_every_state(void **state)
{
    (void)state;
    for (enum stage stage = 0; stage < STAGES; stage++) {
        for (size_t index = 0; index < COUNT_OF(types); index++) {
            for (enum feeding feeding = 0; feeding < FEEDINGS; feeding++)
                check_message(stage, index, feeding);
        }
    }
}

static void a_refused_message_is_refused_before_its_buffers(void **state)
{
    struct wire wire = {0};

    (void)state;
    for (enum stage stage = GREETING; stage <= READY; stage++) {
        reach(stage);
        wire_frame(&wire, "\x06", 1, true);
        peer_feed_wire(&peer, &wire);
        assert_failed(&peer, AX_EPROTOCOL,
                      stage == GREETING ? "Invalid message in greeting state: 6" : "Invalid message in ready state: 6");
        peer_fini(&peer);
    }
}

static void a_message_that_closing_overtakes_is_dropped(void **state)
{
    struct wire wire = {0};

    (void)state;
    reach(READY);
    wire_result(&wire, 0, 2, NULL, 0, "x");
    peer_feed(&peer, wire.data, wire.size - 1);
    ax_session_close(&peer.session, NULL, peer.now);
    peer_feed(&peer, "x", 1);
    assert_log(&peer, "");
    assert_int_equal((uintptr_t)ax_session_next_waiter(&peer.session), 42);
    wire_free(&wire);
    peer_fini(&peer);
}

static void every_request_in_every_state(void **state)
{
    uint64_t id;

    (void)state;
    for (enum stage stage = 0; stage < STAGES; stage++) {
        bool ready = stage == READY;
        reach(stage);
        assert_int_equal(peer_call(&peer, "x", 43, &id), ready ? 0 : AX_ESTATE);
        assert_int_equal(peer_result(&peer, 0, AX_RESULT_SUCCESS, "x"), ready ? 0 : AX_ESTATE);
        assert_int_equal(ax_session_result_failed(&peer.session, 0, "x", peer.now), AX_ESTATE);
        assert_int_equal(ax_session_release(&peer.session, 5), 0);
        assert_int_equal(peer_collect(&peer) > 0, ready);
        ax_session_forget(&peer.session, 1);
        assert_int_equal((uintptr_t)ax_session_next_waiter(&peer.session), stage >= CLOSING ? 42 : 0);
        assert_null(ax_session_next_waiter(&peer.session));
        peer_fini(&peer);
    }
}

static void time_alone_does_nothing_in_any_state(void **state)
{
    (void)state;
    for (enum stage stage = 0; stage < STAGES; stage++) {
        reach(stage);
        peer_expire(&peer, peer.now + 1);
        assert_log(&peer, "");
        assert_int_equal(peer_collect(&peer), 0);
        assert_int_equal(peer.session.state, states[stage]);
        peer_fini(&peer);
    }
}

static void closing_in_every_state(void **state)
{
    const enum ax_session_state then[STAGES] = {AX_STATE_CLOSED,  AX_STATE_CLOSED, AX_STATE_CLOSED, AX_STATE_CLOSING,
                                                AX_STATE_CLOSING, AX_STATE_CLOSED, AX_STATE_FAILED};

    (void)state;
    for (enum stage stage = 0; stage < STAGES; stage++) {
        reach(stage);
        ax_session_close(&peer.session, NULL, peer.now);
        assert_int_equal(peer.session.state, then[stage]);
        assert_int_equal(peer_collect(&peer) > 0, stage == GREETING || stage == READY);
        peer_fini(&peer);
    }
}

static void the_end_of_the_stream_in_every_state(void **state)
{
    const char *const logs[STAGES] = {
        "failed -2 Incomplete superblock\n",
        "failed -2 Incomplete superblock\n",
        "failed -2 Incomplete frame size\n",
        "failed -2 Incomplete frame size\n",
        "closed\n",
        "",
        "",
    };

    (void)state;
    for (enum stage stage = 0; stage < STAGES; stage++) {
        reach(stage);
        peer_feed_eof(&peer);
        assert_log(&peer, logs[stage]);
        peer_fini(&peer);
    }
}

/* What the owner polls for: with nothing to send, and with something. */
static void what_is_polled_for_in_every_state(void **state)
{
    (void)state;
    for (enum stage stage = 0; stage < STAGES; stage++) {
        reach(stage);
        assert_int_equal(ax_session_wants_read(&peer.session), stage < CLOSED);
        assert_false(ax_session_wants_write(&peer.session));
        peer_fini(&peer);
    }
    for (enum stage stage = READY; stage < STAGES; stage++) {
        struct wire wire = {0};
        uint64_t id;
        reach(READY);
        assert_int_equal(peer_call(&peer, "queued", 43, &id), 0);
        if (stage == CLOSING)
            ax_session_close(&peer.session, NULL, peer.now);
        wire_goodbye(&wire, NULL);
        if (stage == CLOSED)
            peer_feed(&peer, wire.data, wire.size);
        if (stage == FAILED)
            ax_session_fail(&peer.session, AX_EEOF, "on purpose");
        assert_int_equal(peer.session.state, states[stage]);
        assert_int_equal(ax_session_wants_read(&peer.session), stage < CLOSED);
        assert_int_equal(ax_session_wants_write(&peer.session), stage != FAILED);
        while (ax_session_next_waiter(&peer.session) != NULL)
            ;
        wire_free(&wire);
        peer_fini(&peer);
    }
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_message_in_every_state),
        TEST(a_refused_message_is_refused_before_its_buffers),
        TEST(a_message_that_closing_overtakes_is_dropped),
        TEST(every_request_in_every_state),
        TEST(time_alone_does_nothing_in_any_state),
        TEST(closing_in_every_state),
        TEST(the_end_of_the_stream_in_every_state),
        TEST(what_is_polled_for_in_every_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
