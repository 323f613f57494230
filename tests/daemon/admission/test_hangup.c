/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/hangup.h"

enum { PEERS = 200 };

static uv_loop_t loop;
static struct ax_hangups hangups;
static int told[PEERS];
static int told_count;

static void on_hung_up(void *owner, uint64_t id)
{
    assert_ptr_equal(owner, &hangups);
    told[id]++;
    told_count++;
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

static void start(void)
{
    memset(told, 0, sizeof told);
    told_count = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_hangups_init(&hangups, &loop, on_hung_up, &hangups), 0);
}

static void finish(void)
{
    ax_hangups_close(&hangups);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_who_closes_has_hung_up_whatever_they_said(void **state)
{
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_false(ax_hangup_has(fds[0]));
    assert_int_equal(write(fds[1], "words", 5), 5);
    assert_false(ax_hangup_has(fds[0]));
    close(fds[1]);
    assert_true(ax_hangup_has(fds[0]));
    close(fds[0]);
}

static void test_who_has_said_all_is_still_answered(void **state)
{
    char words[5];
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_int_equal(write(fds[1], "words", 5), 5);
    shutdown(fds[1], SHUT_WR);
    assert_false(ax_hangup_has(fds[0]));
    assert_int_equal(read(fds[0], words, sizeof words), 5); /* ... until there is nothing left to answer */
    assert_true(ax_hangup_has(fds[0]));
    close(fds[0]);
    close(fds[1]);
}

/* Over TCP, a peer that shut down its side may have closed its socket. */
static void test_who_closes_tcp_has_hung_up_whatever_they_said(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int server;
    (void)state;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
    server = accept(listener, NULL, NULL);
    assert_int_equal(write(client, "words", 5), 5);
    assert_false(ax_hangup_has(server));
    close(client);
    while (!ax_hangup_has(server)) /* it takes effect asynchronously */
        usleep(1000);
    close(server);
    close(listener);
}

static void test_each_is_told_of_once(void **state)
{
    static int fds[PEERS][2];
    (void)state;

    start();
    for (uint64_t i = 0; i < PEERS; i++) {
        make_pair(fds[i]);
        if (i < PEERS / 2)
            close(fds[i][1]); /* before it is watched */
        ax_hangups_add(&hangups, fds[i][0], i);
    }
    for (int i = PEERS / 2; i < PEERS; i++)
        close(fds[i][1]);
    uv_ref((uv_handle_t *)&hangups.poll);
    while (told_count < PEERS)
        uv_run(&loop, UV_RUN_ONCE);
    uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < PEERS; i++) {
        assert_int_equal(told[i], 1);
        close(fds[i][0]);
    }
    finish();
}

static void test_one_that_is_removed_is_not_told_of(void **state)
{
    int fds[2], copy;
    (void)state;

    start();
    make_pair(fds);
    copy = dup(fds[0]); /* as a worker has one */
    ax_hangups_add(&hangups, fds[0], 1);
    ax_hangups_remove(&hangups, fds[0]);
    close(fds[0]);
    close(fds[1]);
    uv_run(&loop, UV_RUN_NOWAIT);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(told_count, 0);
    close(copy);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_closes_has_hung_up_whatever_they_said),
        cmocka_unit_test(test_who_has_said_all_is_still_answered),
        cmocka_unit_test(test_who_closes_tcp_has_hung_up_whatever_they_said),
        cmocka_unit_test(test_each_is_told_of_once),
        cmocka_unit_test(test_one_that_is_removed_is_not_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
