/* SPDX-License-Identifier: MIT */
/*
 * Whole conversations in which every allocation fails in turn: once alone, once with all that follow. Each ends in an
 * orderly way, in success or in failure; nothing leaks, and every caller gets its result or is told that there will be
 * none.
 */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

#define CALLS 12

/* No conversation has as many allocations: a loop that gets here does not end. */
#define ALLOCATIONS_MAX 5000

static struct peer opener;
static struct peer acceptor;

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

/* Some calls with payloads small and large, and references; returns how many were accepted. */
static size_t call_all(struct peer *peer)
{
    const uint64_t refs[] = {1, 2, 3};
    size_t accepted = 0;

    for (size_t i = 0; i < CALLS; i++) {
        struct ax_buffer payload = make_buffer(i % 3 != 0 ? 10 : AX_OUTPUT_COPY_MAX + 1, 'x');
        uint64_t id;
        if (payload.data == NULL)
            continue;
        int error = apply(&peer->session, refs, 3, &payload, (void *)(uintptr_t)(i + 1), peer->now, &id);
        if (error != 0) {
            assert_true(error == AX_ENOMEM || (error == AX_ESTATE && peer->session.state != AX_STATE_READY));
            ax_buffer_fini(&payload);
        } else {
            accepted++;
        }
        int released = ax_session_release(&peer->session, i);
        assert_true(released == 0 || released == AX_ENOMEM);
    }
    return accepted;
}

static size_t count_waiters(struct peer *peer)
{
    size_t count = 0;

    while (ax_session_next_waiter(&peer->session) != NULL)
        count++;
    return count;
}

static size_t count_results(struct peer *peer)
{
    size_t count = 0;

    for (size_t i = 0; i < peer->log.size; i++) {
        if (peer->log.size - i > 7 && memcmp(peer->log.data + i, "\nresult ", 8) == 0)
            count++;
    }
    return count;
}

/* A session that has failed tells no peer so unless the stream ends. */
static void end_streams(void)
{
    if (opener.session.state == AX_STATE_FAILED)
        peer_feed_eof(&acceptor);
    if (acceptor.session.state == AX_STATE_FAILED)
        peer_feed_eof(&opener);
}

static void assert_ended(const struct peer *peer, bool may_fail)
{
    if (may_fail)
        assert_true(peer->session.state >= AX_STATE_CLOSED);
    else
        assert_int_equal(peer->session.state, AX_STATE_CLOSED);
}

static bool start(struct peer *peer, const struct ax_session_config *config)
{
    int error;

    *peer = (struct peer){.now = 1000, .answer = true, .feeding = FEED_DIRECT};
    error = ax_session_init(&peer->session, config, peer->now);
    assert_true(error == 0 || error == AX_ENOMEM);
    return error == 0;
}

/* From the superblocks to the end of both streams. Returns whether an allocation failed. */
static bool converse(void)
{
    struct ax_session_config config = peer_config(AX_OPENER);

    config.features = AX_FEATURE_REASON;
    config.limits.max_calls = CALLS - 2; /* so that some are refused */
    if (!start(&opener, &config))
        return true;
    config.role = AX_ACCEPTOR;
    assert_true(start(&acceptor, &config));

    peer_exchange(&opener, &acceptor);
    end_streams();
    acceptor.answer = false; /* calls stay, up to the limit */
    size_t by_opener = call_all(&opener);
    size_t by_acceptor = call_all(&acceptor);
    peer_exchange(&opener, &acceptor);
    end_streams();
    for (uint64_t id = 0; id < CALLS; id++) {
        if (acceptor.session.calls_in_progress > 0)
            (void)ax_session_result_failed(&acceptor.session, id, "Not today", acceptor.now);
    }
    peer_exchange(&opener, &acceptor);
    end_streams();
    ax_session_close(&opener.session, "Bye", opener.now);
    peer_exchange(&opener, &acceptor);
    end_streams();

    bool may_fail = alloc_has_failed();
    alloc_fail_at(0);
    peer_feed_eof(&acceptor);
    peer_feed_eof(&opener);
    assert_ended(&opener, may_fail);
    assert_ended(&acceptor, may_fail);
    assert_int_equal(count_results(&opener) + count_waiters(&opener), by_opener);
    assert_int_equal(count_results(&acceptor) + count_waiters(&acceptor), by_acceptor);
    if (!may_fail) {
        assert_int_equal(by_opener, CALLS);
        assert_int_equal(count_results(&opener), CALLS);
    }
    peer_fini(&opener);
    peer_fini(&acceptor);
    return may_fail;
}

/* An acceptor that bootstraps a bare Python, up to READY. Returns whether an allocation failed. */
static bool bootstrap(void)
{
    struct ax_session_config config = peer_config(AX_ACCEPTOR);
    struct wire wire = {0};

    config.bootstrap = "pass\n";
    assert_true(start(&acceptor, &config));
    wire_bare_superblock(&wire, 0, 1, 0);
    wire_superblock(&wire, 0, 2, 0);
    wire_greeting(&wire, 0);
    peer_feed_wire(&acceptor, &wire);
    bool failed = alloc_has_failed();
    if (failed)
        assert_failed(&acceptor, AX_ENOMEM, "Out of memory");
    else
        assert_log(&acceptor, "ready\n");
    alloc_fail_at(0);
    peer_fini(&acceptor);
    return failed;
}

/* Runs it with the first, the second, … allocation failing until none does any more; returns how many there are. */
static unsigned fail_each(bool run(void), void fail_from(unsigned n))
{
    unsigned n = 0;
    bool failed;

    do {
        fail_from(++n);
        failed = run();
        assert_int_equal(alloc_blocks(), 0);
        assert_true(n < ALLOCATIONS_MAX);
    } while (failed);
    return n - 1;
}

static void a_conversation_survives_any_one_failure(void **state)
{
    (void)state;
    assert_true(fail_each(converse, alloc_fail_at) > 4 * CALLS);
}

static void a_conversation_survives_the_end_of_all_memory(void **state)
{
    (void)state;
    assert_true(fail_each(converse, alloc_fail_from) > 4 * CALLS);
}

static void a_bootstrap_that_lacks_memory_fails(void **state)
{
    (void)state;
    /* For the first superblock, the source, the second superblock, and the greeting that comes in. */
    assert_true(fail_each(bootstrap, alloc_fail_at) >= 4);
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_conversation_survives_any_one_failure),
        TEST(a_conversation_survives_the_end_of_all_memory),
        TEST(a_bootstrap_that_lacks_memory_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
