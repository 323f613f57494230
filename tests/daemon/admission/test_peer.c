/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/admission/peer.h"
#include "daemon/base/error_format.h"
#include "daemon/config/options.h"

/* ---- connections ---- */

struct link {
    int listener;
    int client;
    int server; /* the accepted end, whose peer is examined */
};

static void link_over(struct link *link, const void *address, socklen_t size)
{
    struct sockaddr_storage bound;
    int domain = ((const struct sockaddr *)address)->sa_family;
    socklen_t bound_size = sizeof bound;

    link->listener = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(link->listener, address, size), 0);
    assert_int_equal(listen(link->listener, 1), 0);
    assert_int_equal(getsockname(link->listener, (struct sockaddr *)&bound, &bound_size), 0);
    if (bound_size > sizeof(struct sockaddr_un)) /* it counts a NUL after the field, too, which connect() rejects */
        bound_size = sizeof(struct sockaddr_un);
    link->client = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(link->client, (struct sockaddr *)&bound, bound_size), 0);
    link->server = accept4(link->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(link->server >= 0);
}

static void link_close(const struct link *link)
{
    close(link->listener);
    close(link->client);
    close(link->server);
}

static void link_over_tcp(struct link *link)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    link_over(link, &address, sizeof address);
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* ---- rules ---- */

/* NULL: no such rule. */
static int make_rules(struct ax_peer_rules *rules, const char *user, const char *group, char *error)
{
    char *users[] = {(char *)user, NULL};
    char *groups[] = {(char *)group, NULL};
    struct ax_string_list user_names = {users, user != NULL};
    struct ax_string_list group_names = {groups, group != NULL};

    return ax_peer_rules_init(rules, &user_names, &group_names, error, AX_ERROR_TEXT_SIZE);
}

/* Whether these rules allow this process. `reason` is set if not. */
static bool may(int fd, const char *user, const char *group, char *reason)
{
    char error[AX_ERROR_TEXT_SIZE];
    struct ax_peer_rules rules;
    int code;

    if (make_rules(&rules, user, group, error) < 0)
        fail_msg("%s", error);
    code = ax_peer_check(&rules, fd, reason, AX_ERROR_TEXT_SIZE);
    ax_peer_rules_fini(&rules);
    return code == 0;
}

static const char *decimal(unsigned long number)
{
    static char text[24];

    snprintf(text, sizeof text, "%lu", number);
    return text;
}

static void test_without_rules_everybody_may(void **state)
{
    char reason[AX_ERROR_TEXT_SIZE];
    struct link link;
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_true(may(fds[0], NULL, NULL, reason));
    link_over_tcp(&link);
    assert_true(may(link.server, NULL, NULL, reason));
    link_close(&link);
    close(fds[0]);
    close(fds[1]);
}

static void test_a_listed_user_may(void **state)
{
    char reason[AX_ERROR_TEXT_SIZE];
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_true(may(fds[0], decimal(geteuid()), NULL, reason));
    assert_true(may(fds[0], decimal(geteuid()), "987654", reason));
    close(fds[0]);
    close(fds[1]);
}

static void test_any_other_user_may_not(void **state)
{
    char reason[AX_ERROR_TEXT_SIZE], wanted[80];
    int fds[2];
    (void)state;

    make_pair(fds);
    snprintf(wanted, sizeof wanted, "User %lu may not connect", (unsigned long)geteuid());
    assert_false(may(fds[0], "987654", NULL, reason));
    assert_string_equal(reason, wanted);
    reason[0] = '\0';
    assert_false(may(fds[0], NULL, "987654", reason));
    assert_string_equal(reason, wanted);
    close(fds[0]);
    close(fds[1]);
}

static void test_the_first_group_counts(void **state)
{
    char reason[AX_ERROR_TEXT_SIZE];
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_true(may(fds[0], "987654", decimal(getegid()), reason));
    close(fds[0]);
    close(fds[1]);
}

/* Runs a process with this many supplementary groups: 0 if rules for the last of them allow it, and others do not. */
static int try_groups(size_t count)
{
    gid_t groups[1000];
    char reason[AX_ERROR_TEXT_SIZE];
    int fds[2];

    for (size_t i = 0; i < count; i++)
        groups[i] = (gid_t)(5000 + i);
    if (setgroups(count, groups) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return 1;
    if (!may(fds[0], "987654", decimal(5000 + count - 1), reason))
        return 2;
    return may(fds[0], "987654", decimal(5000 + count), reason) ? 3 : 0;
}

/* 64 of them fit without an allocation. */
static void test_all_further_groups_count(void **state)
{
    static const size_t counts[] = {1, 63, 64, 65, 1000};
    (void)state;

    if (geteuid() != 0)
        skip();
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
            _exit(try_groups(counts[i]));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* Connects as this user, whom no rules name. Returns whether that is allowed. */
static bool unlisted_user_may(const struct sockaddr_un *address, socklen_t size, uid_t uid)
{
    char reason[AX_ERROR_TEXT_SIZE];
    struct link link = {.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    pid_t pid;
    bool is;

    assert_int_equal(bind(link.listener, (const struct sockaddr *)address, size), 0);
    assert_int_equal(listen(link.listener, 1), 0);
    pid = fork();
    if (pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (setresuid(uid, uid, uid) < 0 || connect(fd, (const struct sockaddr *)address, size) < 0)
            _exit(1);
        _exit(read(fd, reason, 1) == 0 ? 0 : 1);
    }
    link.server = accept4(link.listener, NULL, NULL, SOCK_CLOEXEC);
    is = may(link.server, NULL, NULL, reason);
    if (!is)
        assert_string_equal(reason, "User 4321 may not connect");
    close(link.server);
    close(link.listener);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return is;
}

/* It has no file permissions. */
static void test_without_rules_an_abstract_name_is_for_the_own_user(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + 24;
    (void)state;

    snprintf(address.sun_path + 1, 24, "acrossd-test-%010u", (unsigned)getpid());
    assert_true(unlisted_user_may(&address, size, geteuid()));
    if (geteuid() != 0)
        skip();
    assert_false(unlisted_user_may(&address, size, 4321));
    assert_int_equal(seteuid(4322), 0); /* another user's server: root may */
    assert_true(unlisted_user_may(&address, size, 0));
    assert_int_equal(seteuid(0), 0);
}

static void test_over_tcp_nobody_is_known(void **state)
{
    char reason[AX_ERROR_TEXT_SIZE];
    struct link link;
    (void)state;

    link_over_tcp(&link);
    assert_false(may(link.server, decimal(geteuid()), decimal(getegid()), reason));
    assert_contains(reason, "TCP");
    link_close(&link);
}

static void test_rules_name_only_who_exists(void **state)
{
    char error[AX_ERROR_TEXT_SIZE] = "";
    struct ax_peer_rules rules;
    (void)state;

    assert_int_equal(make_rules(&rules, "no-such-name", NULL, error), -1);
    assert_contains(error, "no user \"no-such-name\"");
    assert_int_equal(make_rules(&rules, "root", "no-such-name", error), -1);
    assert_contains(error, "no group \"no-such-name\"");
    assert_null(rules.uids);
    assert_int_equal(rules.uid_count, 0);
    assert_int_equal(make_rules(&rules, "root", "root", error), 0);
    assert_int_equal(rules.uids[0], 0);
    assert_int_equal(rules.gids[0], 0);
    ax_peer_rules_fini(&rules);
}

/* ---- describing ---- */

static void test_describes_the_socket_and_the_process(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[AX_PEER_TEXT], wanted[200];
    char *folder = make_folder();
    struct link link;
    (void)state;

    snprintf(address.sun_path, sizeof address.sun_path, "%s/a.sock", folder);
    link_over(&link, &address, sizeof address);
    ax_peer_describe(link.server, "tcp", text, sizeof text);
    snprintf(wanted, sizeof wanted, "unix:%s pid %ld uid %lu", address.sun_path, (long)getpid(),
             (unsigned long)geteuid());
    assert_string_equal(text, wanted);
    ax_peer_describe(link.server, "tcp", text, 40);
    snprintf(wanted, sizeof wanted, "unix pid %ld uid %lu", (long)getpid(), (unsigned long)geteuid());
    assert_string_equal(text, wanted);
    link_close(&link);
    unlink(address.sun_path);
    rmdir(folder);
    free(folder);
}

static void test_describes_a_socket_without_a_path(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[AX_PEER_TEXT], wanted[AX_PEER_TEXT];
    struct link link;
    int fds[2];
    (void)state;

    make_pair(fds);
    ax_peer_describe(fds[0], "tcp", text, sizeof text);
    snprintf(wanted, sizeof wanted, "unix pid %ld uid %lu", (long)getpid(), (unsigned long)geteuid());
    assert_string_equal(text, wanted);
    close(fds[0]);
    close(fds[1]);

    link_over(&link, &address, sizeof(sa_family_t)); /* the system assigns an abstract name */
    ax_peer_describe(link.server, "tcp", text, sizeof text);
    assert_contains(text, "unix:@");
    assert_contains(text, wanted + strlen("unix"));
    link_close(&link);
}

/* A path may fill its field to the last byte, without a NUL. */
static void test_the_longest_path_fits(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[AX_PEER_TEXT];
    struct link link;
    char *folder = make_folder();
    (void)state;

    memset(address.sun_path, 'x', sizeof address.sun_path);
    memcpy(address.sun_path, folder, strlen(folder));
    address.sun_path[strlen(folder)] = '/';
    link_over(&link, &address, sizeof address);
    ax_peer_describe(link.server, "tcp", text, sizeof text);
    assert_int_equal(strspn(strstr(text, "/x") + 1, "x"), sizeof address.sun_path - strlen(folder) - 1);
    assert_contains(text, "x pid ");
    link_close(&link);
    {
        char path[sizeof address.sun_path + 1] = "";

        memcpy(path, address.sun_path, sizeof address.sun_path);
        assert_int_equal(unlink(path), 0);
    }
    rmdir(folder);
    free(folder);
}

static void test_describes_a_tcp_peer_by_its_address(void **state)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    char text[AX_PEER_TEXT], wanted[AX_PEER_TEXT];
    struct link link;
    (void)state;

    link_over_tcp(&link);
    assert_int_equal(getsockname(link.client, (struct sockaddr *)&own, &size), 0);
    snprintf(wanted, sizeof wanted, "tcp:127.0.0.1:%u", ntohs(own.sin_port));
    ax_peer_describe(link.server, "tcp", text, sizeof text);
    assert_string_equal(text, wanted);
    link_close(&link);

    link_over(&link, &address, sizeof address);
    ax_peer_describe(link.server, "tcp", text, sizeof text);
    assert_contains(text, "tcp:[::1]:");
    link_close(&link);
}

/* ---- credentials ---- */

static void test_knows_a_peer_by_its_numbers(void **state)
{
    char error[AX_ERROR_TEXT_SIZE];
    struct ax_peer peer;
    gid_t groups[256];
    int count = getgroups(256, groups);
    struct link link;
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_int_equal(ax_peer_get(&peer, fds[0], error, sizeof error), 0);
    assert_int_equal(peer.uid, geteuid());
    assert_int_equal(peer.gid, getegid());
    assert_int_equal(peer.group_count, count);
    if (count > 0)
        assert_memory_equal(peer.groups, groups, (size_t)count * sizeof groups[0]);
    ax_peer_fini(&peer);
    close(fds[0]);
    close(fds[1]);
    link_over_tcp(&link);
    assert_int_equal(ax_peer_get(&peer, link.server, error, sizeof error), -1);
    assert_string_equal(error, "The peer's user is unknown");
    link_close(&link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_rules_everybody_may),
        cmocka_unit_test(test_a_listed_user_may),
        cmocka_unit_test(test_any_other_user_may_not),
        cmocka_unit_test(test_the_first_group_counts),
        cmocka_unit_test(test_all_further_groups_count),
        cmocka_unit_test(test_without_rules_an_abstract_name_is_for_the_own_user),
        cmocka_unit_test(test_over_tcp_nobody_is_known),
        cmocka_unit_test(test_rules_name_only_who_exists),
        cmocka_unit_test(test_describes_the_socket_and_the_process),
        cmocka_unit_test(test_describes_a_socket_without_a_path),
        cmocka_unit_test(test_the_longest_path_fits),
        cmocka_unit_test(test_describes_a_tcp_peer_by_its_address),
        cmocka_unit_test(test_knows_a_peer_by_its_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
