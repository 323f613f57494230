/* SPDX-License-Identifier: MIT */
/* What the peer would end the connection for is not sent: the sender knows what the peer takes in one message. */
#include "testing.h"

#include "alloc.h"
#include "peer.h"

static struct peer opener;
static struct peer acceptor;

static int tear_down(void **state)
{
    (void)state;
    peer_fini(&opener);
    peer_fini(&acceptor);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static const uint64_t refs[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/* A call of ours, or with `name` of a method, with so many references and bytes. */
static int ask(size_t ref_count, size_t size, const char *name, char *why)
{
    struct ax_operation operation = {.type = name != NULL ? AX_METHOD : AX_APPLY, .name = name};
    struct ax_buffer buffer = make_buffer(size, 'x');
    struct ax_payload payload = {.refs = refs, .ref_count = ref_count, .buffers = &buffer, .buffer_count = 1};
    uint64_t id;

    operation.name_size = name != NULL ? strlen(name) : 0;
    int error = ax_session_call(&opener.session, &operation, &payload, (void *)42, opener.now, &id);
    if (error == AX_ETOOLARGE)
        ax_session_explain_too_large(&opener.session, &operation, &payload, why);
    ax_buffer_fini(&buffer); /* the empty one, when it was taken */
    return error;
}

/* Neither side has failed, and what was asked has come. */
static void assert_asked(size_t times)
{
    size_t asked = 0;

    peer_exchange(&opener, &acceptor);
    assert_int_equal(opener.session.state, AX_STATE_READY);
    assert_int_equal(acceptor.session.state, AX_STATE_READY);
    for (size_t i = 0; i + 5 <= acceptor.log.size; i++)
        asked += memcmp(acceptor.log.data + i, "call ", 5) == 0;
    assert_int_equal(asked, times);
    while (ax_session_waiter(&opener.session, opener.session.next_call - times) != NULL)
        ax_session_forget(&opener.session, opener.session.next_call - times--);
}

static void connect_peers(uint32_t features, uint64_t max_message, uint32_t max_head, uint32_t max_ids)
{
    struct ax_limits limits;

    ax_limits_init(&limits);
    limits.max_message = max_message;
    limits.max_head = max_head;
    limits.max_ids = max_ids;
    peer_connect(&opener, &acceptor, features, &limits);
}

/* With every other feature, and with none. */
static const uint32_t all_features[] = {AX_FEATURES_ALL, AX_FEATURE_LIMITS | AX_FEATURE_OPERATIONS};

static void too_many_references_are_not_sent(void **state)
{
    char why[AX_TOO_LARGE_SIZE];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(all_features); i++) {
        connect_peers(all_features[i], 1000, 100, 3);
        assert_int_equal(ask(4, 1, NULL, why), AX_ETOOLARGE);
        assert_string_equal(why, "The call refers to 4 objects, and the other side takes 3 references in one message: "
                                 "send them in parts, or one Local with all of them in it");
        assert_int_equal(ask(3, 1, NULL, why), 0);
        assert_asked(1);
        if (i == 0)
            tear_down(NULL);
    }
}

static void too_large_a_head_is_not_sent(void **state)
{
    char why[AX_TOO_LARGE_SIZE];
    char name[96];

    (void)state;
    memset(name, 'n', sizeof name);
    connect_peers(AX_FEATURES_ALL, 1000, 100, 8);
    name[95] = '\0';
    assert_int_equal(ask(1, 1, name, why), AX_ETOOLARGE);
    assert_string_equal(why,
                        "The references and names of the call take 101 bytes, and the other side takes 100 of them in "
                        "one message: send fewer objects at a time, or use shorter names");
    name[94] = '\0';
    assert_int_equal(ask(1, 1, name, why), 0);
    assert_asked(1);
}

static void too_large_a_message_is_not_sent(void **state)
{
    char why[AX_TOO_LARGE_SIZE];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(all_features); i++) {
        connect_peers(all_features[i], 1000, 100, 8);
        assert_int_equal(ask(0, 998, NULL, why), AX_ETOOLARGE);
        assert_string_equal(why,
                            "The call has 1001 bytes, and the other side takes 1000 in one message: send it in parts, "
                            "or raise that limit (acrossd --max-message)");
        assert_int_equal(ask(0, 997, NULL, why), 0);
        assert_asked(1);
        if (i == 0)
            tear_down(NULL);
    }
}

/* The chunk in which such a message arrives is larger than it. */
static void a_message_in_chunks_may_be_as_large_as_the_limit(void **state)
{
    char why[AX_TOO_LARGE_SIZE];
    const size_t limits[] = {AX_BULK_MIN + 100, AX_CHUNK_SIZE - 1, AX_CHUNK_SIZE, AX_CHUNK_SIZE + 1};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        connect_peers(AX_FEATURES_ALL, limits[i], 100, 8);
        assert_int_equal(ask(0, limits[i], NULL, why), AX_ETOOLARGE);
        assert_int_equal(ask(0, limits[i] - 3, NULL, why), 0);
        assert_asked(1);
        if (i + 1 < COUNT_OF(limits))
            tear_down(NULL);
    }
}

static void a_result_that_is_too_large_leaves_its_call_to_be_answered(void **state)
{
    struct ax_buffer buffer = make_buffer(998, 'x');
    struct ax_payload payload = {.buffers = &buffer, .buffer_count = 1};
    char why[AX_TOO_LARGE_SIZE];
    uint64_t id;

    (void)state;
    connect_peers(AX_FEATURES_ALL, 1000, 100, 8);
    assert_int_equal(peer_call(&acceptor, "x", 42, &id), 0);
    peer_exchange(&opener, &acceptor);
    assert_int_equal(ax_session_result(&opener.session, 0, AX_RESULT_SUCCESS, &payload, opener.now), AX_ETOOLARGE);
    ax_session_explain_too_large(&opener.session, NULL, &payload, why);
    assert_string_equal(why,
                        "The result has 1002 bytes, and the other side takes 1000 in one message: send it in parts, "
                        "or raise that limit (acrossd --max-message)");
    assert_int_equal(ax_session_result_failed(&opener.session, 0, "too large", opener.now), 0);
    peer_exchange(&opener, &acceptor);
    assert_log(&acceptor, "result 0 kind 4 waiter 42 refs buffers 0 too large\n");
    ax_buffer_fini(&buffer);
}

/* Released one by one, these make a list of any length. */
static void releases_are_sent_in_parts(void **state)
{
    (void)state;
    connect_peers(AX_FEATURES_ALL, 1u << 20, 1u << 20, 2000);
    for (uint64_t id = 0; id < 5000; id++)
        assert_int_equal(ax_session_release(&opener.session, id), 0);
    assert_asked(0);
    wire_free(&acceptor.log);
}

/* Plain peers have no limits; ours that do not tell theirs have those that are the defaults. */
static void what_a_peer_takes_that_says_nothing(void **state)
{
    static const uint64_t many[65537];
    struct ax_session_config config = peer_config(AX_OPENER);
    struct ax_buffer buffer = make_buffer(1, 'x');
    struct ax_operation operation = {.type = AX_APPLY};
    struct ax_payload payload = {.refs = many, .ref_count = COUNT_OF(many), .buffers = &buffer, .buffer_count = 1};
    uint64_t id;

    (void)state;
    config.features = AX_FEATURES_ALL;
    peer_make_ready(&acceptor, &config, 0, AX_FEATURES_ALL & ~AX_FEATURE_LIMITS);
    assert_int_equal(ax_session_call(&acceptor.session, &operation, &payload, (void *)42, acceptor.now, &id),
                     AX_ETOOLARGE);
    peer_make_ready(&opener, &config, 0, 0);
    assert_int_equal(ax_session_call(&opener.session, &operation, &payload, (void *)42, opener.now, &id), 0);
    ax_session_close(&opener.session, NULL, opener.now);
    assert_non_null(ax_session_next_waiter(&opener.session));
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(too_many_references_are_not_sent),
        TEST(too_large_a_head_is_not_sent),
        TEST(too_large_a_message_is_not_sent),
        TEST(a_message_in_chunks_may_be_as_large_as_the_limit),
        TEST(a_result_that_is_too_large_leaves_its_call_to_be_answered),
        TEST(releases_are_sent_in_parts),
        TEST(what_a_peer_takes_that_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
