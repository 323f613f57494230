/* SPDX-License-Identifier: MIT */
/*
 * One conversation, cut into pieces in many ways, cut short at every byte, and with more behind its end.
 */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

/* What a peer sends: up to and including its GREETING, and after it has been called. */
static struct wire before;
static struct wire after;

static struct peer peer;

static int set_up(void **state)
{
    static char large[20001];
    const uint64_t refs[] = {1, 300, 70000};

    (void)state;
    memset(large, 'L', sizeof large - 1);
    wire_superblock(&before, 0, 2, 0);
    wire_greeting(&before, 60000);
    wire_apply(&after, 0, refs, 3, "small");
    wire_idle(&after);
    wire_apply(&after, 1, NULL, 0, "");
    wire_apply(&after, 300, NULL, 0, large);
    wire_del_objs(&after, refs, 3);
    wire_result(&after, 0, 2, refs, 3, "result");
    wire_operation_error(&after, 1, "text");
    wire_goodbye(&after, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wire_free(&before);
    wire_free(&after);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

/*
 * Feeds the first `size` bytes of the conversation. The session calls twice as soon as it is ready, and answers calls.
 */
static void start(enum feeding feeding, unsigned seed, size_t size)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    uint64_t id;

    peer_init(&peer, &config);
    peer.feeding = feeding;
    peer.seed = seed;
    peer.answer = true;
    peer_feed(&peer, before.data, size < before.size ? size : before.size);
    if (size < before.size)
        return;
    assert_int_equal(peer_call(&peer, "first", 10, &id), 0);
    assert_int_equal(peer_call(&peer, "second", 11, &id), 0);
    peer_feed(&peer, after.data, size - before.size);
}

static void assert_same(const struct wire *a, const struct wire *b)
{
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->data, b->data, a->size);
}

/* The log of a conversation that came as a whole, and what was sent. */
static void run_whole(struct wire *log, struct wire *sent)
{
    const char begin[] =
        "ready\ncall 0 refs 1,300,70000 buffers 1 small\ncall 1 refs buffers 1 \ncall 300 refs buffers 1 L";
    const char end[] = "L\nrelease 1,300,70000\nresult 0 kind 2 waiter 10 refs 1,300,70000 buffers 1 result\n"
                       "result 1 kind 4 waiter 11 refs buffers 0 text\nclosed\n";

    start(FEED_WHOLE, 0, before.size + after.size);
    peer_collect(&peer);
    *log = peer.log;
    *sent = peer.sent;
    peer.log = peer.sent = (struct wire){0};
    assert_int_equal(log->size, strlen(begin) + 19998 + strlen(end));
    assert_memory_equal(log->data, begin, strlen(begin));
    assert_memory_equal(log->data + log->size - strlen(end), end, strlen(end));
    peer_fini(&peer);
}

static void pieces_make_no_difference(void **state)
{
    struct wire log;
    struct wire sent;

    (void)state;
    run_whole(&log, &sent);
    for (enum feeding feeding = 0; feeding < FEEDINGS; feeding++) {
        for (unsigned seed = 1; seed <= (feeding == FEED_RANDOM ? 200 : 1); seed++) {
            start(feeding, seed, before.size + after.size);
            peer_collect(&peer);
            assert_same(&peer.log, &log);
            assert_same(&peer.sent, &sent);
            peer_fini(&peer);
        }
    }
    wire_free(&log);
    wire_free(&sent);
}

/* The stream ends too early unless it ends behind its GOODBYE; all that was complete has happened before. */
static void check_cut(size_t size, const struct wire *whole_log)
{
    enum feeding feeding = (enum feeding)(size % FEEDINGS);

    start(feeding, (unsigned)size, size);
    assert_true(peer.log.size < whole_log->size);
    if (peer.log.size > 0)
        assert_memory_equal(peer.log.data, whole_log->data, peer.log.size);
    wire_free(&peer.log);
    peer_feed_eof(&peer);
    assert_int_equal(peer.session.state, AX_STATE_FAILED);
    assert_int_equal(peer.session.error, AX_EEOF);
    const char *reason = ax_session_reason(&peer.session);
    if (size < AX_SUPERBLOCK_SIZE)
        assert_string_equal(reason, "Incomplete superblock");
    else
        assert_true(strcmp(reason, "Incomplete frame") == 0 || strcmp(reason, "Incomplete frame size") == 0);
    peer_fini(&peer);
}

static void a_stream_may_be_cut_at_every_byte(void **state)
{
    size_t size = before.size + after.size;
    struct wire log;
    struct wire sent;

    (void)state;
    run_whole(&log, &sent);
    /* In the middle of the large payload every cut is like the next: a few of them will do. */
    for (size_t i = 0; i < size; i++) {
        if (i <= 300 || i >= size - 300 || i % 97 == 0)
            check_cut(i, &log);
    }
    wire_free(&log);
    wire_free(&sent);
}

static void what_comes_behind_the_end_makes_no_difference(void **state)
{
    struct wire log;
    struct wire sent;

    (void)state;
    run_whole(&log, &sent);
    wire_apply(&after, 9, NULL, 0, "behind");
    wire_raw(&after, "\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    for (enum feeding feeding = 0; feeding < FEEDINGS; feeding++) {
        start(feeding, 1, before.size + after.size);
        peer_feed_eof(&peer);
        peer_collect(&peer);
        assert_same(&peer.log, &log);
        assert_same(&peer.sent, &sent);
        peer_fini(&peer);
    }
    wire_free(&log);
    wire_free(&sent);
}

static void nothing_to_feed_changes_nothing(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    struct ax_event event = {.type = AX_EVENT_FAILED};

    (void)state;
    peer_init(&peer, &config);
    assert_int_equal(ax_session_feed(&peer.session, "", 0, peer.now, &event), 0);
    assert_int_equal(event.type, AX_EVENT_NONE);
    peer_fini(&peer);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pieces_make_no_difference),
        TEST(a_stream_may_be_cut_at_every_byte),
        TEST(what_comes_behind_the_end_makes_no_difference),
        TEST(nothing_to_feed_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
