/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/admission/client.h"
#include "daemon/base/log.h"

static struct ax_clients all;

static int set_up(void **state)
{
    (void)state;
    return ax_clients_init(&all);
}

static int tear_down(void **state)
{
    (void)state;
    ax_clients_fini(&all);
    return 0;
}

static void test_moves_forward_and_counts(void **state)
{
    struct ax_client *client = ax_client_new(&all, "peer", 0);
    (void)state;

    assert_int_equal(client->id, 1);
    assert_int_equal(all.count[AX_CLIENT_HANDSHAKE], 1);
    ax_client_move(&all, client, AX_CLIENT_WAITING, NULL);
    assert_int_equal(all.count[AX_CLIENT_HANDSHAKE], 0);
    assert_ptr_equal(all.first[AX_CLIENT_WAITING], client);
    ax_client_move(&all, client, AX_CLIENT_SERVED, NULL);
    assert_int_equal(ax_clients_open(&all), 1);
    ax_client_move(&all, client, AX_CLIENT_ENDED, NULL);
    assert_int_equal(ax_clients_open(&all), 0);
    assert_int_equal(all.count[AX_CLIENT_ENDED], 1);
    assert_null(ax_clients_find(&all, 1));
}

static void test_a_descriptor_is_closed_when_it_is_not_needed_any_more(void **state)
{
    struct ax_client *client = ax_client_new(&all, "peer", 0);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;

    client->fd = fd;
    ax_client_move(&all, client, AX_CLIENT_WAITING, NULL);
    ax_client_move(&all, client, AX_CLIENT_SERVED, NULL);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    ax_client_move(&all, client, AX_CLIENT_ENDED, NULL);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_waits_in_order(void **state)
{
    struct ax_client *clients[3];
    (void)state;

    for (int i = 0; i < 3; i++)
        clients[i] = ax_client_new(&all, "peer", 0);
    ax_client_move(&all, clients[1], AX_CLIENT_WAITING, NULL);
    ax_client_move(&all, clients[2], AX_CLIENT_WAITING, NULL);
    ax_client_move(&all, clients[0], AX_CLIENT_WAITING, NULL);
    assert_ptr_equal(all.first[AX_CLIENT_WAITING], clients[1]);
    ax_client_move(&all, clients[2], AX_CLIENT_ENDED, NULL);
    assert_ptr_equal(clients[1]->next, clients[0]);
    assert_ptr_equal(all.last[AX_CLIENT_WAITING], clients[0]);
}

/* Its worker died: it came before those that wait now. */
static void test_one_that_returns_is_first(void **state)
{
    struct ax_client *clients[3];
    (void)state;

    for (int i = 0; i < 3; i++) {
        clients[i] = ax_client_new(&all, "peer", 0);
        ax_client_move(&all, clients[i], AX_CLIENT_WAITING, NULL);
    }
    ax_client_move(&all, clients[0], AX_CLIENT_SERVED, NULL);
    ax_client_move(&all, clients[1], AX_CLIENT_SERVED, NULL);
    ax_client_return(&all, clients[1]);
    ax_client_return(&all, clients[0]);
    assert_int_equal(all.count[AX_CLIENT_SERVED], 0);
    assert_int_equal(all.count[AX_CLIENT_WAITING], 3);
    assert_null(all.first[AX_CLIENT_SERVED]);
    assert_ptr_equal(all.first[AX_CLIENT_WAITING], clients[0]);
    assert_ptr_equal(clients[0]->next, clients[1]);
    assert_ptr_equal(all.last[AX_CLIENT_WAITING], clients[2]);
    ax_client_move(&all, clients[0], AX_CLIENT_SERVED, NULL);
    ax_client_move(&all, clients[1], AX_CLIENT_SERVED, NULL);
    ax_client_move(&all, clients[2], AX_CLIENT_SERVED, NULL);
    ax_client_return(&all, clients[2]);
    assert_ptr_equal(all.first[AX_CLIENT_WAITING], clients[2]);
    assert_ptr_equal(all.last[AX_CLIENT_WAITING], clients[2]);
}

/* Enough of them for the table to grow several times. */
static void test_finds_each_of_many(void **state)
{
    enum { MANY = 1000 };
    (void)state;

    for (int i = 0; i < MANY; i++)
        ax_client_new(&all, "peer", 0);
    for (uint64_t id = 1; id <= MANY; id += 2)
        ax_client_move(&all, ax_clients_find(&all, id), AX_CLIENT_ENDED, NULL);
    for (uint64_t id = 1; id <= MANY; id++) {
        const struct ax_client *found = ax_clients_find(&all, id);

        if (id % 2 == 1)
            assert_null(found);
        else
            assert_int_equal(found->id, id);
    }
    assert_int_equal(ax_clients_open(&all), MANY / 2);
    assert_null(ax_clients_find(&all, 0));
    assert_null(ax_clients_find(&all, MANY + 1));
}

static void test_a_reason_is_always_logged(void **state)
{
    char text[512] = "";
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    ax_log_init(fds[1], AX_LOG_INFO);
    ax_client_move(&all, ax_client_new(&all, "pid 1", 0), AX_CLIENT_ENDED, "Bad luck");
    ax_client_move(&all, ax_client_new(&all, "pid 2", 0), AX_CLIENT_ENDED, NULL);
    ax_log_fini();
    close(fds[1]);
    assert_true(read(fds[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "acrossd: connection 1 from pid 1 was refused: Bad luck\n");
    close(fds[0]);
}

static void end(struct ax_client *client, bool is_served)
{
    if (is_served)
        ax_client_move(&all, client, AX_CLIENT_SERVED, NULL);
    ax_client_move(&all, client, AX_CLIENT_ENDED, "It says nothing");
}

/* Anyone who can connect could otherwise fill a disk with log lines. */
static void check_flood(bool are_served, struct ax_rate_limit *rate_limit, const char *first, const char *last)
{
    static char text[1 << 20];
    char path[] = "/tmp/acrossd-test-client-XXXXXX";
    int fd = mkstemp(path);
    int lines = 0;
    ssize_t size;

    unlink(path);
    assert_true(fd >= 0);
    ax_log_init(fd, AX_LOG_INFO);
    for (int i = 0; i < 6000; i++)
        end(ax_client_new(&all, "peer", 0), are_served);
    rate_limit->spent_until = 0; /* time passes */
    end(ax_client_new(&all, "peer", 0), are_served);
    ax_log_fini();
    size = pread(fd, text, sizeof text - 1, 0);
    assert_true(size > 0);
    for (ssize_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    assert_true(lines >= 2001 && lines < 6000);
    assert_contains(text, first);
    assert_contains(text, last);
    assert_contains(text, " before it have no line\n");
    close(fd);
}

static void test_not_each_of_many_refusals_is_logged(void **state)
{
    (void)state;
    check_flood(false, &all.refusals, "connection 1 from peer was refused: It says nothing\n",
                "connection 6001 from peer was refused: It says nothing; ");
    assert_int_equal(all.refused, 6001);
}

static void test_not_each_of_many_that_break_is_logged(void **state)
{
    (void)state;
    check_flood(true, &all.breaks, "connection 1 from peer broke: It says nothing\n",
                "connection 6001 from peer broke: It says nothing; ");
    assert_int_equal(all.refused, 0);
}

/* ---- fair order ---- */

/* A waiting client, of a process of a user. */
static struct ax_client *wait_as(unsigned char user, unsigned char process)
{
    struct ax_client *client = ax_client_new(&all, "peer", 0);
    const struct ax_origin_key source = {.family = 1, .address = {user}};
    const struct ax_origin_key part = {.family = AX_ORIGIN_PROCESS, .address = {user, process}};

    assert_int_equal(ax_client_come_from(&all, client, &source, &part), 0);
    ax_client_move(&all, client, AX_CLIENT_WAITING, NULL);
    return client;
}

/* Returns how many are served up to and including this one. */
static int serve_until(struct ax_client *client)
{
    int before = 0;

    for (;; before++) {
        struct ax_client *next = ax_clients_choose(&all);

        ax_client_move(&all, next, AX_CLIENT_SERVED, NULL);
        if (next == client)
            return before;
        ax_client_move(&all, next, AX_CLIENT_ENDED, NULL);
    }
}

static void test_a_source_with_many_keeps_nobody_waiting(void **state)
{
    struct ax_client *other;
    (void)state;

    for (int i = 0; i < 100; i++)
        wait_as(1, 1);
    other = wait_as(2, 9);
    assert_true(serve_until(other) <= 3);
    for (int i = 0; i < 10; i++) { /* nor while it has been served before, and still is */
        struct ax_client *again = wait_as(2, 9);

        assert_true(serve_until(again) <= 3);
        ax_client_move(&all, other, AX_CLIENT_ENDED, NULL);
        other = again;
    }
}

static void test_a_process_with_many_keeps_no_other_of_its_user_waiting(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        wait_as(1, 1);
    assert_true(serve_until(wait_as(1, 2)) <= 3);
}

/* New processes or addresses do not get precedence for ever. */
static void test_newcomers_keep_nobody_waiting_for_ever(void **state)
{
    struct ax_client *served = wait_as(1, 1);
    struct ax_client *again;
    int before = 0;
    (void)state;

    serve_until(served); /* and stays, so that its turn is remembered */
    again = wait_as(1, 1);
    for (struct ax_client *next = NULL; next != again; before++) {
        wait_as((unsigned char)(before + 2), 1);
        next = ax_clients_choose(&all);
        ax_client_move(&all, next, AX_CLIENT_SERVED, NULL);
        if (next != again)
            ax_client_move(&all, next, AX_CLIENT_ENDED, NULL);
    }
    assert_true(before <= 2);
}

static void test_connections_are_counted_by_source(void **state)
{
    struct ax_client *clients[3];
    const struct ax_origin *source;
    (void)state;

    for (int i = 0; i < 3; i++)
        clients[i] = wait_as(1, (unsigned char)i);
    source = clients[0]->source;
    assert_ptr_equal(source, clients[2]->source);
    assert_ptr_not_equal(clients[0]->process, clients[2]->process);
    assert_int_equal(source->connections, 3);
    ax_client_move(&all, clients[0], AX_CLIENT_SERVED, NULL);
    assert_int_equal(source->connections, 3);
    ax_client_return(&all, clients[0]);
    assert_int_equal(source->connections, 3);
    ax_client_move(&all, clients[1], AX_CLIENT_ENDED, NULL);
    assert_int_equal(source->connections, 2);
    ax_client_move(&all, clients[0], AX_CLIENT_ENDED, NULL);
    ax_client_move(&all, clients[2], AX_CLIENT_ENDED, NULL);
    assert_int_equal(all.sources.count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_moves_forward_and_counts),
        TEST(test_a_descriptor_is_closed_when_it_is_not_needed_any_more),
        TEST(test_waits_in_order),
        TEST(test_one_that_returns_is_first),
        TEST(test_finds_each_of_many),
        TEST(test_a_reason_is_always_logged),
        TEST(test_not_each_of_many_refusals_is_logged),
        TEST(test_not_each_of_many_that_break_is_logged),
        TEST(test_a_source_with_many_keeps_nobody_waiting),
        TEST(test_a_process_with_many_keeps_no_other_of_its_user_waiting),
        TEST(test_newcomers_keep_nobody_waiting_for_ever),
        TEST(test_connections_are_counted_by_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
