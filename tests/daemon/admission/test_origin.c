/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/origin.h"

static struct ax_origin_key make_key(uint32_t number)
{
    struct ax_origin_key key = {.lane = 1, .family = AF_INET};

    memcpy(key.address, &number, sizeof number);
    return key;
}

static void test_the_same_key_is_the_same_source(void **state)
{
    struct ax_origins sources = {0};
    struct ax_origin_key key = make_key(7), other = make_key(7);
    struct ax_origin *source = ax_origins_get(&sources, &key);
    (void)state;

    assert_ptr_equal(ax_origins_get(&sources, &key), source);
    other.lane = 2;
    assert_ptr_not_equal(ax_origins_get(&sources, &other), source);
    assert_int_equal(sources.count, 2);
    ax_origins_put(&sources, source);
    assert_int_equal(sources.count, 2);
    ax_origins_put(&sources, source);
    assert_int_equal(sources.count, 1);
    ax_origins_put(&sources, ax_origins_get(&sources, &key)); /* created anew */
    other = make_key(7);
    other.lane = 2;
    source = ax_origins_get(&sources, &other);
    ax_origins_put(&sources, source);
    ax_origins_put(&sources, source);
    ax_origins_put(&sources, NULL);
    ax_origins_fini(&sources);
}

static void test_finds_each_of_many(void **state)
{
    enum { MANY = 3000 };
    static struct ax_origin *found[MANY];
    struct ax_origins sources = {0};
    (void)state;

    for (uint32_t i = 0; i < MANY; i++) {
        struct ax_origin_key key = make_key(i);

        found[i] = ax_origins_get(&sources, &key);
    }
    assert_int_equal(sources.count, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        struct ax_origin_key key = make_key(i);

        assert_ptr_equal(ax_origins_get(&sources, &key), found[i]);
        ax_origins_put(&sources, found[i]);
        ax_origins_put(&sources, found[i]);
    }
    ax_origins_fini(&sources);
}

static void test_a_user_is_a_source_and_its_process_a_part_of_it(void **state)
{
    struct ax_origin_key key, process;
    uid_t uid = getuid();
    pid_t pid = getpid();
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ax_origin_find_key(&key, &process, fds[0], 3);
    assert_int_equal(key.lane, 3);
    assert_int_equal(key.family, AF_UNIX);
    assert_memory_equal(key.address, &uid, sizeof uid);
    assert_int_equal(process.family, AX_ORIGIN_PROCESS);
    assert_memory_equal(process.address, &uid, sizeof uid);
    assert_memory_equal(process.address + sizeof uid, &pid, sizeof pid);
    ax_origin_find_key(&key, NULL, fds[0], 3);
    close(fds[0]);
    close(fds[1]);
}

/* The key of a peer that connects to this loopback address. False: it does not exist here. */
static bool find_key(int family, const char *address, const char *peer, struct ax_origin_key *key)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } name = {.any.sa_family = (sa_family_t)family}, source = name;
    struct ax_origin_key process;
    socklen_t size = family == AF_INET ? sizeof name.in : sizeof name.in6;
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0),
        client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int server;
    bool exists;

    inet_pton(family, address, family == AF_INET ? (void *)&name.in.sin_addr : (void *)&name.in6.sin6_addr);
    inet_pton(family, peer, family == AF_INET ? (void *)&source.in.sin_addr : (void *)&source.in6.sin6_addr);
    exists = listener >= 0 && client >= 0 && bind(listener, &name.any, size) == 0 && listen(listener, 1) == 0 &&
             getsockname(listener, &name.any, &size) == 0 && bind(client, &source.any, size) == 0 &&
             connect(client, &name.any, size) == 0;
    if (exists) {
        server = accept(listener, NULL, NULL);
        ax_origin_find_key(key, &process, server, 0);
        assert_memory_equal(key, &process, sizeof process); /* no process is known */
        close(server);
    }
    close(listener);
    close(client);
    return exists;
}

static void test_addresses_are_sources(void **state)
{
    struct ax_origin_key first, second, mapped;
    static const unsigned char expected[AX_ORIGIN_ADDRESS] = {127, 0, 0, 2};
    (void)state;

    assert_true(find_key(AF_INET, "127.0.0.1", "127.0.0.1", &first));
    assert_true(find_key(AF_INET, "127.0.0.1", "127.0.0.2", &second));
    assert_memory_not_equal(&first, &second, sizeof first);
    assert_memory_equal(second.address, expected, sizeof expected);
    if (find_key(AF_INET6, "::ffff:127.0.0.1", "::ffff:127.0.0.2", &mapped))
        assert_memory_equal(&mapped, &second, sizeof mapped);
}

/* The whole network: a customer who has one has all of its addresses. */
static void test_of_ipv6_addresses_the_network_counts(void **state)
{
    struct ax_origin_key key;
    static const unsigned char zero[AX_ORIGIN_ADDRESS];
    (void)state;

    if (!find_key(AF_INET6, "::1", "::1", &key))
        skip();
    assert_int_equal(key.family, AF_INET6);
    assert_memory_equal(key.address, zero, sizeof zero); /* the 1 of ::1 is in the half that does not count */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_key_is_the_same_source),
        cmocka_unit_test(test_finds_each_of_many),
        cmocka_unit_test(test_a_user_is_a_source_and_its_process_a_part_of_it),
        cmocka_unit_test(test_addresses_are_sources),
        cmocka_unit_test(test_of_ipv6_addresses_the_network_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
