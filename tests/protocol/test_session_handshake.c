/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

static const char source[] = "print('hello')\n";

static struct peer peer;

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&peer);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void start(enum ax_role role, const char *bootstrap)
{
    struct ax_session_config config = peer_config(role);

    config.bootstrap = bootstrap;
    peer_init(&peer, &config);
}

static void feed_superblock(unsigned major, unsigned minor, unsigned patch)
{
    struct wire wire = {0};

    wire_superblock(&wire, major, minor, patch);
    peer_feed_wire(&peer, &wire);
}

static void feed_bare_superblock(unsigned major, unsigned minor, unsigned patch)
{
    struct wire wire = {0};

    wire_bare_superblock(&wire, major, minor, patch);
    peer_feed_wire(&peer, &wire);
}

static void feed_greeting(uint64_t timeout_ms)
{
    struct wire wire = {0};

    wire_greeting(&wire, timeout_ms);
    peer_feed_wire(&peer, &wire);
}

/* ---- the two roles ---- */

static void an_opener_sends_its_superblock_at_once(void **state)
{
    struct wire expected = {0};

    (void)state;
    start(AX_OPENER, NULL);
    wire_superblock(&expected, 0, 2, 0);
    assert_sent(&peer, &expected);
}

static void an_acceptor_waits_for_a_whole_superblock(void **state)
{
    (void)state;
    start(AX_ACCEPTOR, NULL);
    peer_feed(&peer, "\xe3\x5b\x9e\x78\0\2\0\0\0\0\0\0\0\0\0", 15);
    assert_int_equal(peer_collect(&peer), 0);
    assert_int_equal(peer.session.state, AX_STATE_SUPERBLOCK);
    assert_log(&peer, "");
}

static void an_acceptor_answers_in_the_version_of_its_peer(void **state)
{
    (void)state;
    for (unsigned minor = 1; minor <= 2; minor++) {
        struct wire expected = {0};
        start(AX_ACCEPTOR, NULL);
        feed_superblock(0, minor, 7);
        assert_int_equal(peer.session.state, AX_STATE_GREETING);
        assert_int_equal(peer.session.peer_version.minor, minor);
        assert_int_equal(peer.session.peer_version.patch, 7);
        wire_superblock(&expected, 0, minor, 0);
        wire_greeting(&expected, 0);
        assert_sent(&peer, &expected);
        feed_greeting(0);
        assert_log(&peer, "ready\n");
        assert_int_equal(peer.session.state, AX_STATE_READY);
        peer_fini(&peer);
    }
}

static void an_opener_greets_once_the_peer_has_answered(void **state)
{
    (void)state;
    for (uint8_t minor = 1; minor <= 2; minor++) {
        struct ax_session_config config = peer_config(AX_OPENER);
        struct wire expected = {0};
        config.minor = minor;
        peer_init(&peer, &config);
        peer_forget_sent(&peer);
        feed_superblock(0, minor, 0);
        wire_greeting(&expected, 0);
        assert_sent(&peer, &expected);
        feed_greeting(0);
        assert_log(&peer, "ready\n");
        peer_fini(&peer);
    }
}

static void two_sessions_agree_in_either_version(void **state)
{
    (void)state;
    for (uint8_t minor = 1; minor <= 2; minor++) {
        struct ax_session_config config = peer_config(AX_OPENER);
        struct peer acceptor;
        config.minor = minor;
        peer_init(&peer, &config);
        config = peer_config(AX_ACCEPTOR);
        config.minor = 99; /* ignored */
        peer_init(&acceptor, &config);
        peer_exchange(&peer, &acceptor);
        assert_log(&peer, "ready\n");
        assert_log(&acceptor, "ready\n");
        assert_int_equal(acceptor.session.peer_version.minor, minor);
        peer_fini(&acceptor);
        peer_fini(&peer);
    }
}

static void two_openers_agree_as_well(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);
    struct peer other;

    (void)state;
    peer_init(&peer, &config);
    peer_init(&other, &config);
    peer_exchange(&peer, &other);
    assert_log(&peer, "ready\n");
    assert_log(&other, "ready\n");
    peer_fini(&other);
}

/* ---- what is announced ---- */

static void the_timeout_is_announced(void **state)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    struct wire expected = {0};

    (void)state;
    config.timeout_ms = AX_TIMEOUT_MAX_MS;
    peer_init(&peer, &config);
    feed_superblock(0, 2, 0);
    wire_superblock(&expected, 0, 2, 0);
    wire_greeting(&expected, 86400000);
    assert_sent(&peer, &expected);
}

static void a_timeout_of_the_peer_counts_as_a_day_at_the_most(void **state)
{
    const uint64_t announced[] = {0, 1, 60000, AX_TIMEOUT_MAX_MS, AX_TIMEOUT_MAX_MS + 1, UINT64_MAX};
    const uint32_t understood[] = {0, 1, 60000, AX_TIMEOUT_MAX_MS, AX_TIMEOUT_MAX_MS, AX_TIMEOUT_MAX_MS};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(announced); i++) {
        start(AX_ACCEPTOR, NULL);
        feed_superblock(0, 2, 0);
        feed_greeting(announced[i]);
        assert_log(&peer, "ready\n");
        assert_int_equal(peer.session.peer_timeout_ms, understood[i]);
        peer_fini(&peer);
    }
}

static void more_fields_and_buffers_in_a_greeting_are_ignored(void **state)
{
    struct wire wire = {0};

    (void)state;
    start(AX_ACCEPTOR, NULL);
    feed_superblock(0, 2, 0);
    wire_frame(&wire, "\0\5\1\2\3", 5, true);
    wire_frame(&wire, "buffer", 6, false);
    peer_feed_wire(&peer, &wire);
    assert_log(&peer, "ready\n");
    assert_int_equal(peer.session.peer_timeout_ms, 5);
}

/* Our features, the peer's superblock with level and features, and what is on afterwards. */
static void check_features(uint32_t ours, unsigned level, uint32_t theirs, uint32_t expected)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    struct wire wire = {0};

    config.features = ours;
    peer_init(&peer, &config);
    wire_superblock_features(&wire, 2, theirs);
    wire.data[7] = (unsigned char)level;
    peer_feed_wire(&peer, &wire);
    assert_int_equal(peer.session.features, expected);

    if (ours != 0)
        wire_superblock_features(&wire, 2, ours);
    else
        wire_superblock(&wire, 0, 2, 0);
    wire_greeting(&wire, 0);
    assert_sent(&peer, &wire);
    peer_fini(&peer);
}

static void a_feature_is_on_when_both_announce_it(void **state)
{
    (void)state;
    check_features(AX_FEATURE_REASON, 1, AX_FEATURE_REASON, AX_FEATURE_REASON);
    check_features(AX_FEATURE_REASON, 1, 0xffffffff, AX_FEATURE_REASON);
    check_features(AX_FEATURE_REASON, 9, AX_FEATURE_REASON, AX_FEATURE_REASON);
    check_features(AX_FEATURE_REASON, 1, 0, 0);
    check_features(AX_FEATURE_REASON, 0, AX_FEATURE_REASON, 0);
    check_features(0, 1, AX_FEATURE_REASON, 0);
}

/* ---- what goes wrong ---- */

static void versions_that_do_not_match_are_told(void **state)
{
    const struct {
        enum ax_role role;
        unsigned remote[3];
        const char *text;
    } cases[] = {
        {AX_OPENER, {0, 1, 9}, "Local across 0.2.0 is not compatible with remote 0.1.9"},
        {AX_OPENER, {1, 2, 0}, "Local across 0.2.0 is not compatible with remote 1.2.0"},
        {AX_ACCEPTOR, {0, 3, 0}, "Local across 0.2.0 is not compatible with remote 0.3.0"},
        {AX_ACCEPTOR, {0, 0, 0}, "Local across 0.2.0 is not compatible with remote 0.0.0"},
        {AX_ACCEPTOR, {1, 1, 255}, "Local across 0.2.0 is not compatible with remote 1.1.255"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct wire expected = {0};
        start(cases[i].role, NULL);
        feed_superblock(cases[i].remote[0], cases[i].remote[1], cases[i].remote[2]);
        assert_failed(&peer, AX_EPROTOCOL, cases[i].text);
        wire_superblock(&expected, 0, 2, 0); /* so that the peer can tell its user the same */
        assert_sent(&peer, &expected);
        peer_fini(&peer);
    }
}

static void any_other_magic_is_refused(void **state)
{
    (void)state;
    start(AX_ACCEPTOR, source);
    peer_feed(&peer, "GET / HTTP/1.1\r\n", 16);
    assert_failed(&peer, AX_EPROTOCOL, "Invalid magic: 0x47455420");
    assert_int_equal(peer_collect(&peer), 0);
}

/* ---- what comes before a superblock ---- */

static void start_after(unsigned max_preamble)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);

    config.max_preamble = max_preamble;
    peer_init(&peer, &config);
}

static void assert_preamble(const char *expected, size_t size)
{
    assert_int_equal(peer.session.preamble.size, size);
    assert_memory_equal(peer.session.preamble.data, expected, size);
}

static void what_comes_before_a_superblock_is_kept(void **state)
{
    static const char noise[] = "Welcome\n\xe3\x5b\x9e and \xe3\xe5\x4e!"; /* with what magics begin with */
    const size_t size = sizeof noise - 1;

    (void)state;
    for (size_t step = 1; step <= size + 16; step++) {
        struct wire wire = {0};
        wire_raw(&wire, noise, size);
        wire_superblock(&wire, 0, 2, 0);
        start_after(64);
        for (size_t at = 0; at < wire.size; at += step)
            peer_feed(&peer, wire.data + at, at + step < wire.size ? step : wire.size - at);
        assert_int_equal(peer.session.state, AX_STATE_GREETING);
        assert_preamble(noise, size);
        peer_fini(&peer);
        wire_free(&wire);
    }
}

static void there_may_be_so_much_and_no_more(void **state)
{
    struct wire wire = {0};

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        wire_raw(&wire, "GET ", 4);
    wire_superblock(&wire, 0, 2, 0);
    start_after(80);
    peer_feed(&peer, wire.data, wire.size);
    assert_int_equal(peer.session.state, AX_STATE_GREETING);
    peer_fini(&peer);
    start_after(79);
    peer_feed(&peer, wire.data, wire.size);
    assert_failed(&peer, AX_EPROTOCOL, "Invalid magic: 0x47455420");
    wire_free(&wire);
}

static void the_end_comes_after_what_was_said(void **state)
{
    (void)state;
    start_after(64);
    peer_feed(&peer, "usage", 5);
    peer_feed_eof(&peer);
    assert_failed(&peer, AX_EEOF, "Incomplete superblock");
    assert_preamble("usage", 5);
}

static void the_end_of_the_stream_is_told_by_where_it_comes(void **state)
{
    struct wire wire = {0};

    (void)state;
    wire_superblock(&wire, 0, 2, 0);
    wire_greeting(&wire, 1);
    for (size_t size = 0; size < wire.size; size++) {
        start(AX_ACCEPTOR, NULL);
        peer_feed(&peer, wire.data, size);
        peer_feed_eof(&peer);
        assert_failed(&peer, AX_EEOF,
                      size < 16       ? "Incomplete superblock"
                      : size < 16 + 8 ? "Incomplete frame size"
                                      : "Incomplete frame");
        peer_fini(&peer);
    }
    wire_free(&wire);
}

static void settings_out_of_range_are_refused(void **state)
{
    struct ax_session_config config = peer_config(AX_OPENER);

    (void)state;
    config.timeout_ms = AX_TIMEOUT_MAX_MS + 1;
    assert_int_equal(ax_session_init(&peer.session, &config, 0), AX_ERANGE);
    config.timeout_ms = 0;
    config.minor = 0;
    assert_int_equal(ax_session_init(&peer.session, &config, 0), AX_ERANGE);
    config.minor = 3;
    assert_int_equal(ax_session_init(&peer.session, &config, 0), AX_ERANGE);
    config.minor = 2;
    alloc_fail_at(1);
    assert_int_equal(ax_session_init(&peer.session, &config, 0), AX_ENOMEM);
    assert_int_equal(alloc_blocks(), 0);
    peer_init(&peer, &config);
}

/* ---- a bare Python ---- */

static void expect_bootstrap(struct wire *wire)
{
    wire_u8(wire, 0), wire_u8(wire, 0), wire_u8(wire, 0), wire_u8(wire, sizeof source - 1);
    wire_raw(wire, source, sizeof source - 1);
    wire_superblock(wire, 0, 2, 0);
}

static void a_bare_python_is_sent_the_source_between_two_superblocks(void **state)
{
    struct wire expected = {0};

    (void)state;
    start(AX_ACCEPTOR, source);
    feed_bare_superblock(0, 1, 0);
    wire_superblock(&expected, 0, 2, 0);
    expect_bootstrap(&expected);
    assert_sent(&peer, &expected);
    assert_int_equal(peer.session.state, AX_STATE_SUPERBLOCK);

    feed_superblock(0, 2, 0);
    wire_greeting(&expected, 0);
    assert_sent(&peer, &expected);
    feed_greeting(0);
    assert_log(&peer, "ready\n");
}

static void an_opener_has_sent_the_first_superblock_already(void **state)
{
    struct wire expected = {0};

    (void)state;
    start(AX_OPENER, source);
    wire_superblock(&expected, 0, 2, 0);
    assert_sent(&peer, &expected);
    feed_bare_superblock(0, 2, 0);
    expect_bootstrap(&expected);
    assert_sent(&peer, &expected);
    feed_superblock(0, 2, 0);
    feed_greeting(0);
    assert_log(&peer, "ready\n");
}

static void without_memory_nobody_is_bootstrapped(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 3; n++) { /* the length, the source, the second superblock */
        start(AX_OPENER, source);
        peer_forget_sent(&peer);
        alloc_fail_at(n);
        feed_bare_superblock(0, 2, 0);
        assert_true(alloc_has_failed());
        assert_failed(&peer, AX_ENOMEM, "Out of memory");
        peer_fini(&peer);
    }
}

static void the_bootstrapped_peer_must_speak_what_we_do(void **state)
{
    (void)state;
    start(AX_ACCEPTOR, source);
    feed_bare_superblock(0, 1, 0);
    feed_superblock(0, 1, 0);
    assert_failed(&peer, AX_EPROTOCOL, "Local across 0.2.0 is not compatible with remote 0.1.0");
}

static void a_bare_python_that_needs_more_is_refused(void **state)
{
    const struct {
        unsigned needed[3];
        const char *text;
    } cases[] = {
        {{0, 2, 1}, "At least across 0.2.1 is needed to bootstrap connection"},
        {{0, 3, 0}, "At least across 0.3.0 is needed to bootstrap connection"},
        {{1, 0, 0}, "At least across 1.0.0 is needed to bootstrap connection"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        start(AX_ACCEPTOR, source);
        feed_bare_superblock(cases[i].needed[0], cases[i].needed[1], cases[i].needed[2]);
        assert_failed(&peer, AX_EPROTOCOL, cases[i].text);
        peer_fini(&peer);
    }
}

static void a_bare_python_is_refused_where_nobody_has_a_source(void **state)
{
    (void)state;
    start(AX_ACCEPTOR, NULL);
    feed_bare_superblock(0, 1, 0);
    assert_failed(&peer, AX_EPROTOCOL, "The peer asks to be bootstrapped, which is not allowed here");
}

static void a_peer_is_bootstrapped_once(void **state)
{
    (void)state;
    start(AX_ACCEPTOR, source);
    feed_bare_superblock(0, 1, 0);
    feed_bare_superblock(0, 1, 0);
    assert_failed(&peer, AX_EPROTOCOL, "The peer asks to be bootstrapped a second time");
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_opener_sends_its_superblock_at_once),
        TEST(an_acceptor_waits_for_a_whole_superblock),
        TEST(an_acceptor_answers_in_the_version_of_its_peer),
        TEST(an_opener_greets_once_the_peer_has_answered),
        TEST(two_sessions_agree_in_either_version),
        TEST(two_openers_agree_as_well),
        TEST(the_timeout_is_announced),
        TEST(a_timeout_of_the_peer_counts_as_a_day_at_the_most),
        TEST(more_fields_and_buffers_in_a_greeting_are_ignored),
        TEST(a_feature_is_on_when_both_announce_it),
        TEST(versions_that_do_not_match_are_told),
        TEST(any_other_magic_is_refused),
        TEST(what_comes_before_a_superblock_is_kept),
        TEST(there_may_be_so_much_and_no_more),
        TEST(the_end_comes_after_what_was_said),
        TEST(the_end_of_the_stream_is_told_by_where_it_comes),
        TEST(settings_out_of_range_are_refused),
        TEST(a_bare_python_is_sent_the_source_between_two_superblocks),
        TEST(an_opener_has_sent_the_first_superblock_already),
        TEST(without_memory_nobody_is_bootstrapped),
        TEST(the_bootstrapped_peer_must_speak_what_we_do),
        TEST(a_bare_python_that_needs_more_is_refused),
        TEST(a_bare_python_is_refused_where_nobody_has_a_source),
        TEST(a_peer_is_bootstrapped_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
