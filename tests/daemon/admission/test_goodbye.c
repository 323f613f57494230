/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/goodbye.h"
#include "protocol/session.h"

static int ours, theirs;

static int open_pair(void **state)
{
    int pair[2];
    (void)state;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    ours = pair[0];
    theirs = pair[1];
    return 0;
}

static int close_pair(void **state)
{
    (void)state;
    close(ours);
    close(theirs);
    return 0;
}

/* Feeds the peer's session with everything it is sent. */
static void peer_reads(struct ax_session *peer)
{
    unsigned char bytes[512];
    ssize_t size;

    while ((size = recv(theirs, bytes, sizeof bytes, 0)) > 0)
        for (ssize_t used = 0; used < size;) {
            struct ax_event event;

            used += (ssize_t)ax_session_feed(peer, bytes + used, (size_t)(size - used), 0, &event);
            ax_message_free(event.message);
        }
    assert_int_equal(size, 0);
}

static void open_peer(struct ax_session *peer, uint32_t features, unsigned char superblock[AX_SUPERBLOCK_SIZE])
{
    struct ax_session_config config = {.role = AX_OPENER, .minor = 2, .features = features};
    struct ax_slice slice;

    ax_limits_init(&config.limits);
    assert_int_equal(ax_session_init(peer, &config, 0), 0);
    assert_int_equal(ax_session_pending(peer, &slice, 1), 1);
    assert_int_equal(slice.size, AX_SUPERBLOCK_SIZE);
    memcpy(superblock, slice.data, AX_SUPERBLOCK_SIZE);
    ax_session_sent(peer, AX_SUPERBLOCK_SIZE, 0);
}

static void test_a_refused_peer_learns_why(void **state)
{
    unsigned char superblock[AX_SUPERBLOCK_SIZE];
    struct ax_session peer;
    (void)state;

    open_peer(&peer, AX_FEATURE_REASON, superblock);
    ax_goodbye_refuse(ours, superblock, sizeof superblock, "No place");
    peer_reads(&peer);
    assert_int_equal(peer.state, AX_STATE_CLOSED);
    assert_string_equal(ax_session_reason(&peer), "No place");
    ax_session_fini(&peer);
}

/* It is sent nothing that its protocol does not have. */
static void test_a_plain_peer_just_ends(void **state)
{
    unsigned char superblock[AX_SUPERBLOCK_SIZE];
    struct ax_session peer;
    (void)state;

    open_peer(&peer, 0, superblock);
    ax_goodbye_refuse(ours, superblock, sizeof superblock, "No place");
    peer_reads(&peer);
    assert_int_equal(peer.state, AX_STATE_READY);
    ax_session_fini(&peer);
}

static void test_a_peer_in_the_middle_of_its_superblock_just_ends(void **state)
{
    unsigned char superblock[AX_SUPERBLOCK_SIZE];
    struct ax_session peer;
    char byte;
    (void)state;

    open_peer(&peer, AX_FEATURE_REASON, superblock);
    ax_goodbye_refuse(ours, superblock, 7, "No place");
    assert_int_equal(recv(theirs, &byte, 1, 0), 0);
    ax_session_fini(&peer);
}

static void make_ready(struct ax_session *peer)
{
    static const struct ax_superblock answer = {AX_MAGIC, {0, 2, 0}, AX_EXTENSION_LEVEL, AX_FEATURE_REASON};
    static const unsigned char greeting[] = {0, 0, 0, 0, 0, 0, 0, 2, 0, 0};
    unsigned char superblock[AX_SUPERBLOCK_SIZE];
    struct ax_event event;

    open_peer(peer, AX_FEATURE_REASON, superblock);
    ax_superblock_encode(superblock, &answer);
    ax_session_feed(peer, superblock, sizeof superblock, 0, &event);
    ax_session_feed(peer, greeting, sizeof greeting, 0, &event);
    assert_int_equal(event.type, AX_EVENT_READY);
}

static void test_the_peer_of_a_dead_worker_learns_why(void **state)
{
    char reason[600];
    struct ax_session peer;
    (void)state;

    make_ready(&peer);
    memset(reason, 'x', sizeof reason);
    reason[sizeof reason - 1] = '\0'; /* longer than a GOODBYE's reason may be: it is cut */
    ax_goodbye_explain(ours, reason);
    peer_reads(&peer);
    assert_int_equal(peer.state, AX_STATE_CLOSED);
    assert_int_equal(strlen(ax_session_reason(&peer)), AX_GOODBYE_REASON_MAX);
    ax_session_fini(&peer);
}

static void test_pipes_carry_it_too(void **state)
{
    unsigned char bytes[64];
    int pair[2];
    (void)state;

    assert_int_equal(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
    ax_goodbye_explain(pair[1], "why");
    assert_int_equal(read(pair[0], bytes, sizeof bytes), 8 + 1 + 1 + 3);
    assert_memory_equal(bytes + 10, "why", 3);
    close(pair[0]);
    close(pair[1]);
}

/* A peer that does not read must not block. */
static void test_a_full_stream_goes_without(void **state)
{
    char block[4096] = {0};
    (void)state;

    while (send(ours, block, sizeof block, MSG_DONTWAIT) > 0)
        continue;
    ax_goodbye_explain(ours, "why");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_refused_peer_learns_why, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_a_plain_peer_just_ends, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_a_peer_in_the_middle_of_its_superblock_just_ends, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_the_peer_of_a_dead_worker_learns_why, open_pair, close_pair),
        cmocka_unit_test(test_pipes_carry_it_too),
        cmocka_unit_test_setup_teardown(test_a_full_stream_goes_without, open_pair, close_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
