/* SPDX-License-Identifier: MIT */
/* The admission of real connections to a unix socket, with an owner that records what it is told. */
#include "testing.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/admission.h"
#include "daemon/base/error_format.h"

static const unsigned char plain[AX_SUPERBLOCK_SIZE] = {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0};

static uv_loop_t loop;
static struct ax_admission admission;
static char *folder;

/* ---- the owner ---- */

static unsigned room;    /* clients that workers can take */
static int offer_result; /* of an offer that there is room for */
static struct {
    uint64_t id;
    uint32_t handshake_ms;
    unsigned char received[AX_SUPERBLOCK_SIZE];
} offered; /* last */
static unsigned offers;
static size_t waiting; /* as it was told last */
static int asked_fd;
static enum ax_status_format asked_format;
static uint64_t abandoned_id;

static bool has_room(void *owner)
{
    assert_ptr_equal(owner, &room);
    return room > 0;
}

static int on_offer(void *owner, struct ax_client *client, uint32_t handshake_ms)
{
    assert_ptr_equal(owner, &room);
    assert_int_equal(client->state, AX_CLIENT_WAITING);
    assert_true(client->fd >= 0);
    assert_int_equal(client->received_size, AX_SUPERBLOCK_SIZE);
    offers++;
    offered.id = client->id;
    offered.handshake_ms = handshake_ms;
    memcpy(offered.received, client->received, AX_SUPERBLOCK_SIZE);
    if (offer_result == 1)
        room--;
    return offer_result;
}

static void on_demand(void *owner, size_t count)
{
    assert_ptr_equal(owner, &room);
    waiting = count;
}

static void on_status_asked(void *owner, int fd, enum ax_status_format format)
{
    assert_ptr_equal(owner, &room);
    asked_fd = fd;
    asked_format = format;
}

static void on_abandoned(void *owner, struct ax_client *client)
{
    assert_ptr_equal(owner, &room);
    abandoned_id = client->id;
}

/* ---- the admission ---- */

#define A_DAY 86400000u

struct settings {
    struct ax_options options;
    size_t limit; /* connections */
    size_t source_limit;
};

static const struct settings usual = {.options = {.handshake_timeout_ms = A_DAY}, .limit = 4, .source_limit = 4};
static const struct settings untimed = {
    .options = {.handshake_timeout_ms = AX_DURATION_NONE}, .limit = 4, .source_limit = 4};
static const struct settings for_one = {.options = {.handshake_timeout_ms = A_DAY}, .limit = 1, .source_limit = 1};

static void start(const struct settings *settings)
{
    static const struct ax_admission_events events = {
        .has_room = has_room,
        .offer = on_offer,
        .demand = on_demand,
        .status_asked = on_status_asked,
        .abandoned = on_abandoned,
    };
    const struct ax_fd_budget budget = {
        .connections = settings->limit,
        .handshakes = 8,
        .connections_of_source = settings->source_limit,
        .handshakes_of_source = 8,
    };
    const struct ax_options *options = &settings->options;
    struct ax_listener *listeners = calloc(AX_LISTENERS_MAX, sizeof *listeners);
    struct ax_address address;
    char error[AX_ERROR_TEXT_SIZE] = "";
    char text[80];
    size_t count;

    room = 1;
    offer_result = 1;
    offers = 0;
    waiting = 0;
    asked_fd = -1;
    abandoned_id = 0;
    snprintf(text, sizeof text, "unix:%s/socket", folder);
    assert_non_null(listeners);
    assert_int_equal(ax_address_parse(&address, text, error, sizeof error), 0);
    assert_int_equal(
        ax_listener_open(listeners, &count, &address, false, 0600, AX_LISTENER_OWN_GROUP, error, sizeof error),
        AX_LISTENER_OK);
    memset(&admission, 0, sizeof admission);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_admission_load(&admission, options, error, sizeof error), 0);
    assert_int_equal(ax_admission_init(&admission, &loop, options, &budget, listeners, count, &events, &room), 0);
    ax_admission_open(&admission);
}

static void finish(void)
{
    struct ax_client *client;

    ax_admission_stop(&admission);
    assert_int_equal(admission.clients.count[AX_CLIENT_HANDSHAKE], 0);
    assert_int_equal(admission.clients.count[AX_CLIENT_WAITING], 0);
    while ((client = admission.clients.first[AX_CLIENT_SERVED]) != NULL)
        ax_admission_end(&admission, client, NULL);
    ax_admission_close(&admission);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    ax_admission_free_memory(&admission);
}

static int make_socket_folder(void **state)
{
    (void)state;

    folder = make_folder();
    return 0;
}

static int remove_socket_folder(void **state)
{
    int result = rmdir(folder); /* the socket's file is gone */
    (void)state;

    free(folder);
    return result;
}

static int set_up(void **state)
{
    const struct settings *settings = *state;

    make_socket_folder(state);
    start(settings);
    return 0;
}

static int tear_down(void **state)
{
    finish();
    return remove_socket_folder(state);
}

#define RUN_UNTIL(condition)                                                                                           \
    while (!(condition)) {                                                                                             \
        uv_run(&loop, UV_RUN_NOWAIT);                                                                                  \
        usleep(1000);                                                                                                  \
    }

/* ---- peers ---- */

static int open_peer(const void *bytes, size_t size)
{
    const struct ax_sockaddr *bound = &admission.acceptor.listeners[0].bound;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, &bound->of.any, bound->size), 0);
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
    return fd;
}

static int open_plain(void)
{
    return open_peer(plain, sizeof plain);
}

static size_t count_of(enum ax_client_state state)
{
    return admission.clients.count[state];
}

/*
 * It has been refused: the stream ends, perhaps after bytes for the peer, or with a reset for bytes that were not
 * read.
 */
static void assert_ends(int fd)
{
    char bytes[512];
    struct pollfd item = {.fd = fd, .events = POLLIN};
    ssize_t size;

    do {
        while (poll(&item, 1, 0) == 0) {
            uv_run(&loop, UV_RUN_NOWAIT);
            usleep(1000);
        }
        size = recv(fd, bytes, sizeof bytes, 0);
    } while (size > 0);
    if (size < 0)
        assert_int_equal(errno, ECONNRESET);
    close(fd);
}

/* ---- tests ---- */

static void test_a_client_is_offered_with_what_was_read(void **state)
{
    int peer;
    (void)state;

    peer = open_plain();
    RUN_UNTIL(count_of(AX_CLIENT_SERVED) == 1);
    assert_int_equal(offers, 1);
    assert_memory_equal(offered.received, plain, sizeof plain);
    assert_true(offered.handshake_ms > 0 && offered.handshake_ms <= A_DAY);
    assert_non_null(ax_admission_find(&admission, offered.id));
    ax_admission_end(&admission, ax_admission_find(&admission, offered.id), NULL);
    assert_null(ax_admission_find(&admission, offered.id));
    assert_int_equal(admission.clients.refused, 0);
    assert_ends(peer);
}

static void test_no_limit_of_time_is_passed_on(void **state)
{
    int peer;
    (void)state;

    peer = open_plain();
    RUN_UNTIL(offers == 1);
    assert_int_equal(offered.handshake_ms, 0);
    close(peer);
}

static void test_clients_wait_for_room(void **state)
{
    int peers[2];
    (void)state;

    room = 0;
    peers[0] = open_plain();
    peers[1] = open_plain();
    RUN_UNTIL(waiting == 2);
    assert_int_equal(offers, 0);
    room = 1;
    ax_admission_dispatch(&admission);
    assert_int_equal(offers, 1);
    assert_int_equal(waiting, 1);
    assert_int_equal(count_of(AX_CLIENT_SERVED), 1);
    close(peers[0]);
    close(peers[1]);
}

static void test_an_offer_that_finds_no_worker_can_be_repeated(void **state)
{
    int peer;
    (void)state;

    offer_result = 0;
    peer = open_plain();
    RUN_UNTIL(waiting == 1);
    assert_int_equal(offers, 1);
    offer_result = 1;
    ax_admission_dispatch(&admission);
    assert_int_equal(offers, 2);
    assert_int_equal(count_of(AX_CLIENT_SERVED), 1);
    close(peer);
}

static void test_a_client_that_cannot_be_served_is_refused(void **state)
{
    (void)state;

    offer_result = -EMFILE;
    assert_ends(open_plain());
    assert_int_equal(offers, 1);
    assert_int_equal(admission.clients.refused, 1);
    assert_int_equal(ax_clients_open(&admission.clients), 0);
}

static void test_other_bytes_are_refused_without_an_offer(void **state)
{
    (void)state;

    assert_ends(open_peer("GET / HTTP/1.1\r\n", 16));
    assert_int_equal(offers, 0);
    assert_int_equal(admission.clients.refused, 1);
}

static void test_a_user_who_is_not_listed_is_refused(void **state)
{
    char *users[] = {geteuid() == 4000000000u ? "4000000001" : "4000000000"};
    const struct settings settings = {
        .options = {.allow_uid = {.items = users, .count = 1}}, .limit = 4, .source_limit = 4};
    (void)state;

    start(&settings);
    assert_ends(open_plain());
    assert_int_equal(offers, 0);
    assert_int_equal(admission.clients.refused, 1);
    finish();
}

static void test_a_peer_that_hangs_up_while_it_waits_is_noticed(void **state)
{
    int peer;
    (void)state;

    room = 0;
    peer = open_plain();
    RUN_UNTIL(waiting == 1);
    close(peer);
    RUN_UNTIL(waiting == 0);
    assert_int_equal(ax_clients_open(&admission.clients), 0);
    room = 1;
    ax_admission_dispatch(&admission);
    assert_int_equal(offers, 0);
}

static void test_who_waits_too_long_is_refused(void **state)
{
    int peer;
    (void)state;

    room = 0;
    peer = open_plain();
    RUN_UNTIL(waiting == 1);
    admission.clients.first[AX_CLIENT_WAITING]->deadline = uv_now(&loop); /* instead of waiting for a day */
    ax_admission_dispatch(&admission);
    assert_ends(peer);
    assert_int_equal(waiting, 0);
    assert_int_equal(admission.clients.refused, 1);
}

static void test_more_than_the_limit_are_refused(void **state)
{
    static const struct settings settings[] = {{.limit = 1, .source_limit = 4}, {.limit = 4, .source_limit = 1}};
    int peer;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        start(&settings[i]);
        room = 2;
        peer = open_plain();
        RUN_UNTIL(count_of(AX_CLIENT_SERVED) == 1);
        assert_ends(open_plain());
        assert_int_equal(offers, 1);
        ax_admission_end(&admission, ax_admission_find(&admission, offered.id), NULL);
        close(peer);
        peer = open_plain(); /* there is a place again */
        RUN_UNTIL(count_of(AX_CLIENT_SERVED) == 1);
        close(peer);
        finish();
    }
}

static void test_the_status_can_be_asked_for_when_all_places_are_taken(void **state)
{
    unsigned char request[AX_SUPERBLOCK_SIZE];
    int peer, asker;
    (void)state;

    peer = open_plain();
    RUN_UNTIL(count_of(AX_CLIENT_SERVED) == 1);
    ax_status_request_encode(request, AX_STATUS_JSON);
    asker = open_peer(request, sizeof request);
    RUN_UNTIL(asked_fd >= 0);
    assert_int_equal(asked_format, AX_STATUS_JSON);
    assert_int_equal(ax_clients_open(&admission.clients), 1);
    assert_int_equal(admission.clients.refused, 0);
    close(asked_fd);
    assert_ends(asker);
    close(peer);
}

static void test_a_client_whose_worker_died_is_offered_again(void **state)
{
    struct ax_client *client;
    uint64_t id;
    int peer;
    (void)state;

    peer = open_plain();
    RUN_UNTIL(count_of(AX_CLIENT_SERVED) == 1);
    id = offered.id;
    client = ax_admission_find(&admission, id);
    ax_admission_return(&admission, client);
    ax_admission_dispatch(&admission);
    assert_int_equal(waiting, 1);
    room = 1;
    ax_admission_dispatch(&admission);
    assert_int_equal(offers, 2);
    assert_int_equal(offered.id, id);
    close(peer);
}

/* As relays tell it; test_relay.c has those themselves. */
static void test_only_a_worker_is_told_that_a_tls_peer_has_gone(void **state)
{
    uint64_t id;
    int peer;
    (void)state;

    room = 0;
    peer = open_plain();
    RUN_UNTIL(waiting == 1);
    id = admission.clients.first[AX_CLIENT_WAITING]->id;
    admission.relays.gone(&admission.relays, id);
    assert_int_equal(abandoned_id, 0);
    room = 1;
    ax_admission_dispatch(&admission);
    admission.relays.gone(&admission.relays, id);
    assert_int_equal(abandoned_id, id);
    admission.relays.gone(&admission.relays, id + 1);
    assert_int_equal(abandoned_id, id);
    close(peer);
}

static void test_the_end_of_admission_leaves_served_clients(void **state)
{
    int peers[3];
    (void)state;

    start(&usual);
    peers[0] = open_plain();
    RUN_UNTIL(count_of(AX_CLIENT_SERVED) == 1);
    peers[1] = open_plain();
    peers[2] = open_peer(plain, 3);
    RUN_UNTIL(waiting == 1 && count_of(AX_CLIENT_HANDSHAKE) == 1);
    ax_admission_stop(&admission);
    assert_ends(peers[1]);
    assert_ends(peers[2]);
    assert_int_equal(ax_clients_open(&admission.clients), 1);
    assert_non_null(ax_admission_find(&admission, offered.id));
    ax_admission_end(&admission, ax_admission_find(&admission, offered.id), NULL);
    ax_admission_close(&admission);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    ax_admission_free_memory(&admission);
    close(peers[0]);
}

#define TEST_WITH(name, settings)                                                                                      \
    cmocka_unit_test_prestate_setup_teardown(name, set_up, tear_down, (void *)(uintptr_t) & (settings))
#define TEST(name) TEST_WITH(name, usual)
/* It starts and finishes the admission itself. */
#define TEST_ALONE(name) cmocka_unit_test_setup_teardown(name, make_socket_folder, remove_socket_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_client_is_offered_with_what_was_read),
        TEST_WITH(test_no_limit_of_time_is_passed_on, untimed),
        TEST(test_clients_wait_for_room),
        TEST(test_an_offer_that_finds_no_worker_can_be_repeated),
        TEST(test_a_client_that_cannot_be_served_is_refused),
        TEST(test_other_bytes_are_refused_without_an_offer),
        TEST_ALONE(test_a_user_who_is_not_listed_is_refused),
        TEST(test_a_peer_that_hangs_up_while_it_waits_is_noticed),
        TEST(test_who_waits_too_long_is_refused),
        TEST_ALONE(test_more_than_the_limit_are_refused),
        TEST_WITH(test_the_status_can_be_asked_for_when_all_places_are_taken, for_one),
        TEST(test_a_client_whose_worker_died_is_offered_again),
        TEST(test_only_a_worker_is_told_that_a_tls_peer_has_gone),
        TEST_ALONE(test_the_end_of_admission_leaves_served_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
