/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/address.h"

static struct ax_address parsed(const char *text)
{
    struct ax_address address;
    char error[AX_ERROR_TEXT_SIZE] = "";

    if (ax_address_parse(&address, text, error, sizeof error) < 0)
        fail_msg("%s: %s", text, error);
    return address;
}

static void assert_refused(const char *text, const char *part)
{
    struct ax_address address;
    char error[AX_ERROR_TEXT_SIZE] = "";

    assert_int_equal(ax_address_parse(&address, text, error, sizeof error), -1);
    assert_contains(error, part);
}

static void test_reads_what_it_writes(void **state)
{
    static const char *const texts[] = {
        "unix:/run/a.sock", "unix:a", "unix:./a:b", "tcp:127.0.0.1:80", "tcp:[::1]:65535", "tcp:localhost:0", "tcp::7",
    };
    char text[AX_ADDRESS_TEXT];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct ax_address address = parsed(texts[i]);

        ax_address_format(text, &address, address.port);
        assert_string_equal(text, texts[i]);
    }
}

static void test_tells_the_kinds_apart(void **state)
{
    (void)state;
    assert_int_equal(parsed("unix:x").kind, AX_ADDRESS_UNIX);
    assert_int_equal(parsed("tcp:x:1").kind, AX_ADDRESS_TCP);
    assert_int_equal(parsed("tls:x:1").kind, AX_ADDRESS_TLS);
    assert_string_equal(parsed("tcp:[fe80::1%eth0]:5").name, "fe80::1%eth0");
    assert_int_equal(parsed("tcp:h:007").port, 7);
}

static void test_says_what_to_write_instead(void **state)
{
    (void)state;
    assert_refused("", "unix:PATH or tcp:HOST:PORT");
    assert_refused("/run/x", "write unix:/run/x");
    assert_refused("localhost:80", "tcp:localhost:80");
    assert_refused("unix:", "write unix:PATH");
    assert_refused("tcp:", "no port");
    assert_refused("tcp:host", "no port");
    assert_refused("tls:host", "write tls:HOST:PORT");
    assert_refused("tls:::1:80", "write tls:[::1]:80");
    assert_refused("tcp:[::1]", "no port");
    assert_refused("tcp:[::1", "no port");
    assert_refused("tcp:host:", "is no port");
    assert_refused("tcp:host:http", "is no port");
    assert_refused("tcp:host:65536", "is no port");
    assert_refused("tcp:host:-1", "is no port");
    assert_refused("tcp:host:999999999999999999999", "is no port");
    assert_refused("tcp:::1:80", "write tcp:[::1]:80");
    assert_refused("tcp:[localhost]:80", "is no IPv6 address");
    assert_refused("tcp:[localhost%eth0]:80", "is no IPv6 address");
    assert_refused("tcp:[[%eth0]:80", "is no IPv6 address");
}

static void test_bounds_the_path_of_a_unix_socket(void **state)
{
    char text[5 + 109] = "unix:";
    (void)state;

    memset(text + 5, 'x', 108);
    text[5 + 108] = '\0';
    assert_refused(text, "at most 107 bytes");
    text[5 + 107] = '\0';
    parsed(text);
}

static void test_bounds_the_host(void **state)
{
    char text[400] = "tcp:";
    (void)state;

    memset(text + 4, 'h', 256);
    memcpy(text + 4 + 256, ":1", 3);
    assert_refused(text, "more than 255");
    memcpy(text + 4 + 255, ":1", 3);
    parsed(text);
}

static int resolved(const char *text, struct ax_sockaddr *list)
{
    struct ax_address address = parsed(text);
    char error[AX_ERROR_TEXT_SIZE] = "";
    int count = ax_address_resolve(&address, list, error, sizeof error);

    if (count < 0)
        fail_msg("%s: %s", text, error);
    return count;
}

static void test_localhost_is_both_loopbacks(void **state)
{
    struct ax_sockaddr list[AX_ADDRESS_RESOLVED_MAX];
    (void)state;

    assert_int_equal(resolved("tcp:localhost:9", list), 2);
    assert_int_equal(list[0].of.any.sa_family, AF_INET);
    assert_int_equal(list[1].of.any.sa_family, AF_INET6);
    assert_int_equal(ax_sockaddr_port(&list[0]), 9);
    assert_int_equal(ax_sockaddr_port(&list[1]), 9);
}

static void test_knows_what_other_hosts_can_reach(void **state)
{
    static const struct {
        const char *text;
        bool local;
    } cases[] = {
        {"unix:x", true},
        {"tcp:127.0.0.1:1", true},
        {"tcp:127.9.9.9:1", true},
        {"tcp:[::1]:1", true},
        {"tcp:0.0.0.0:1", false},
        {"tcp:[::]:1", false},
        {"tcp::1", false},
        {"tcp:192.0.2.1:1", false},
        {"tcp:[fe80::1]:1", false},
        {"tcp:[::ffff:127.0.0.1]:1", true},
        {"tcp:[::ffff:192.0.2.1]:1", false},
    };
    struct ax_sockaddr list[AX_ADDRESS_RESOLVED_MAX];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int count = resolved(cases[i].text, list);

        assert_true(count >= 1);
        for (int j = 0; j < count; j++)
            if (ax_sockaddr_is_local(&list[j]) != cases[i].local)
                fail_msg("%s", cases[i].text);
    }
}

static void test_sets_a_port(void **state)
{
    struct ax_sockaddr list[AX_ADDRESS_RESOLVED_MAX];
    (void)state;

    resolved("tcp:[::1]:0", list);
    ax_sockaddr_set_port(&list[0], 4711);
    assert_int_equal(ax_sockaddr_port(&list[0]), 4711);
    resolved("unix:x", list);
    ax_sockaddr_set_port(&list[0], 4711);
    assert_int_equal(ax_sockaddr_port(&list[0]), 0);
}

static void test_an_abstract_name_begins_with_a_nul(void **state)
{
    struct ax_sockaddr list[AX_ADDRESS_RESOLVED_MAX];
    char text[5 + 110] = "unix:@";
    (void)state;

    assert_refused("unix:@", "unix:@NAME");
    assert_true(ax_address_is_abstract(&(struct ax_address){.kind = AX_ADDRESS_UNIX, .name = "@x"}));
    assert_false(ax_address_is_abstract(&(struct ax_address){.kind = AX_ADDRESS_UNIX, .name = "./@x"}));
    resolved("unix:@abc", list);
    assert_int_equal(list[0].size, offsetof(struct sockaddr_un, sun_path) + 4);
    assert_memory_equal(list[0].of.un.sun_path, "\0abc", 4);
    memset(text + 6, 'x', 108);
    assert_refused(text, "at most 107 bytes");
    text[6 + 107] = '\0';
    resolved(text, list);
    assert_int_equal(list[0].size, sizeof(struct sockaddr_un));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_it_writes),
        cmocka_unit_test(test_tells_the_kinds_apart),
        cmocka_unit_test(test_says_what_to_write_instead),
        cmocka_unit_test(test_bounds_the_path_of_a_unix_socket),
        cmocka_unit_test(test_an_abstract_name_begins_with_a_nul),
        cmocka_unit_test(test_bounds_the_host),
        cmocka_unit_test(test_localhost_is_both_loopbacks),
        cmocka_unit_test(test_knows_what_other_hosts_can_reach),
        cmocka_unit_test(test_sets_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
