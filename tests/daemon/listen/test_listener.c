/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/listen/listener.h"

static int flock_error; /* the error of flock(); 0: none */

/* Replaces the C library's. */
int flock(int fd, int operation)
{
    if (flock_error == 0)
        return (int)syscall(SYS_flock, fd, operation);
    errno = flock_error;
    return -1;
}

static struct ax_listener listeners[AX_LISTENERS_MAX];
static size_t count;
static char error[AX_ERROR_TEXT_SIZE];
static gid_t group = AX_LISTENER_OWN_GROUP;

static enum ax_listener_result try_open(const char *text, bool insecure)
{
    struct ax_address address;

    assert_int_equal(ax_address_parse(&address, text, error, sizeof error), 0);
    return ax_listener_open(listeners, &count, &address, insecure, 0640, group, error, sizeof error);
}

static void open_ok(const char *text)
{
    if (try_open(text, false) != AX_LISTENER_OK)
        fail_msg("%s: %s", text, error);
    assert_true(count >= 1);
}

static void close_all(void)
{
    while (count > 0)
        ax_listener_close(&listeners[--count]);
}

/* Whether a client can connect to the listener. */
static bool is_reachable(const struct ax_listener *listener)
{
    int client = socket(listener->bound.of.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool reached = connect(client, &listener->bound.of.any, listener->bound.size) == 0;
    int accepted = reached ? accept(listener->fd, NULL, NULL) : -1;

    close(client);
    if (accepted >= 0)
        close(accepted);
    return reached && accepted >= 0;
}

static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = make_folder();
    return chdir(folder);
}

static int tear_down(void **state)
{
    int result = chdir("/");
    (void)state;

    result |= rmdir(folder); /* fails if a test leaves a file behind */
    free(folder);
    return result;
}

static void test_makes_a_socket_with_its_mode_and_removes_it(void **state)
{
    struct stat status;
    char text[AX_ADDRESS_TEXT];
    mode_t mask = umask(0);
    (void)state;

    open_ok("unix:a.sock");
    assert_int_equal(count, 1);
    assert_true(is_reachable(&listeners[0]));
    assert_int_equal(stat("a.sock", &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    assert_int_equal(umask(mask), 0); /* the process's umask is unchanged */
    ax_listener_format(text, &listeners[0]);
    assert_string_equal(text, "unix:a.sock");
    close_all();
    assert_int_equal(access("a.sock", F_OK), -1);
}

/* A group other than the process's own that it may assign to files, or AX_LISTENER_OWN_GROUP. */
static gid_t find_other_group(void)
{
    gid_t groups[256];
    int found = getgroups((int)COUNT_OF(groups), groups);

    for (int i = 0; i < found; i++)
        if (groups[i] != getegid())
            return groups[i];
    return geteuid() == 0 ? getegid() + 1 : AX_LISTENER_OWN_GROUP;
}

static void test_gives_the_socket_to_a_group(void **state)
{
    struct stat status;
    (void)state;

    group = find_other_group();
    if (group == AX_LISTENER_OWN_GROUP)
        skip();
    open_ok("unix:a.sock");
    assert_int_equal(stat("a.sock", &status), 0);
    assert_int_equal(status.st_gid, group);
    assert_int_equal(status.st_uid, geteuid());
    assert_int_equal(status.st_mode & 07777, 0640);
    assert_true(is_reachable(&listeners[0]));
    close_all();
    group = AX_LISTENER_OWN_GROUP;
}

/* Only root may assign any group, so the test drops root. */
static void test_a_group_that_is_not_allowed_is_an_error(void **state)
{
    int status;
    (void)state;

    assert_int_equal(chmod(".", 0777), 0);
    if (fork() == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
            _exit(2);
        group = 1;
        if (try_open("unix:a.sock", false) != AX_LISTENER_FAILED || count != 0)
            _exit(3);
        if (strcmp(error, "cannot give unix:a.sock to group 1: Operation not permitted") != 0)
            _exit(4);
        _exit(access("a.sock", F_OK) == 0 ? 5 : 0);
    }
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
}

static void leave_stale_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void test_replaces_a_stale_socket(void **state)
{
    (void)state;
    leave_stale_socket("a.sock");
    open_ok("unix:a.sock");
    assert_true(is_reachable(&listeners[0]));
    close_all();
}

static void test_leaves_a_live_socket_alone(void **state)
{
    struct ax_listener first;
    (void)state;

    open_ok("unix:a.sock");
    first = listeners[0];
    assert_int_equal(try_open("unix:a.sock", false), AX_LISTENER_FAILED);
    assert_string_equal(error, "unix:a.sock is in use by another server");
    assert_int_equal(count, 0);
    /* The backlog now holds the probe; the client is behind it. */
    close(accept(first.fd, NULL, NULL));
    assert_true(is_reachable(&first));
    ax_listener_close(&first);
}

static void test_a_live_socket_with_a_full_queue_is_alive(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "a.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(try_open("unix:a.sock", false), AX_LISTENER_FAILED);
    assert_contains(error, "is in use");
    close(client);
    close(fd);
    unlink("a.sock");
}

static void test_never_removes_what_is_no_socket(void **state)
{
    FILE *file = fopen("a.sock", "w");
    (void)state;

    fclose(file);
    assert_int_equal(try_open("unix:a.sock", false), AX_LISTENER_FAILED);
    assert_contains(error, "is not a socket");
    assert_int_equal(unlink("a.sock"), 0);
    assert_int_equal(symlink("nowhere", "a.sock"), 0);
    assert_int_equal(try_open("unix:a.sock", false), AX_LISTENER_FAILED);
    assert_int_equal(unlink("a.sock"), 0);
    assert_int_equal(try_open("unix:no/such/folder", false), AX_LISTENER_FAILED);
    assert_contains(error, "No such file");
}

static void test_does_not_remove_anothers_socket_at_the_end(void **state)
{
    (void)state;
    open_ok("unix:a.sock");
    assert_int_equal(unlink("a.sock"), 0);
    leave_stale_socket("a.sock");
    close_all();
    assert_int_equal(unlink("a.sock"), 0); /* it is still there */
}

/* Several processes start at once on one stale socket: exactly one gets it. */
static void test_one_of_many_wins_a_stale_socket(void **state)
{
    enum { MANY = 8 };
    int start[2], done[2], stop[2], winners = 0;
    char results[MANY];
    (void)state;

    leave_stale_socket("a.sock");
    assert_int_equal(pipe(start) | pipe(done) | pipe(stop), 0);
    for (int i = 0; i < MANY; i++) {
        if (fork() == 0) {
            char byte;

            close(stop[1]);
            if (read(start[0], &byte, 1) != 1)
                _exit(1);
            byte = try_open("unix:a.sock", false) == AX_LISTENER_OK ? 'W' : 'L';
            if (write(done[1], &byte, 1) != 1 || read(stop[0], &byte, 1) != 0)
                _exit(1);
            close_all();
            _exit(0);
        }
    }
    assert_int_equal(write(start[1], "xxxxxxxx", MANY), MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(read(done[0], &results[i], 1), 1);
        winners += results[i] == 'W';
    }
    close(stop[1]);
    for (int i = 0; i < MANY; i++) {
        int status;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(winners, 1);
    close(start[0]), close(start[1]), close(done[0]), close(done[1]), close(stop[0]);
}

/* Anyone who may read the folder could lock it for ever. */
static void test_a_lock_on_the_folder_is_no_obstacle(void **state)
{
    int fd = open(".", O_RDONLY | O_CLOEXEC);
    (void)state;

    assert_int_equal(flock(fd, LOCK_EX), 0);
    open_ok("unix:a.sock");
    close_all();
    close(fd);
}

static void assert_opens_beside(const char *what)
{
    open_ok("unix:a.sock");
    close_all();
    assert_int_equal(access("a.sock", F_OK), -1);
    if (access(what, F_OK) < 0)
        fail_msg("%s is gone", what);
}

/* The same with files that others may have created in place of the lock's. They stay. */
static void test_a_lock_that_others_can_open_is_no_obstacle(void **state)
{
    int fd = open("a.sock.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    (void)state;

    assert_int_equal(fchmod(fd, 0666), 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_opens_beside("a.sock.lock");
    close(fd);
    assert_int_equal(unlink("a.sock.lock"), 0);
    assert_int_equal(mkdir("a.sock.lock", 0700), 0);
    assert_opens_beside("a.sock.lock");
    assert_int_equal(rmdir("a.sock.lock"), 0);
    assert_int_equal(symlink("/dev/null", "a.sock.lock"), 0);
    assert_opens_beside("a.sock.lock");
    assert_int_equal(unlink("a.sock.lock"), 0);
    assert_int_equal(mkfifo("a.sock.lock", 0600), 0);
    assert_opens_beside("a.sock.lock");
    assert_int_equal(unlink("a.sock.lock"), 0);
}

static void test_a_file_system_without_locks_is_left_as_it_was(void **state)
{
    (void)state;

    flock_error = ENOLCK;
    open_ok("unix:a.sock");
    flock_error = 0;
    close_all();
    assert_int_equal(access("a.sock.lock", F_OK), -1);
    assert_int_equal(errno, ENOENT);
}

/* The leftover of a daemon that was killed while it started. */
static void test_a_lock_that_nobody_holds_is_taken(void **state)
{
    (void)state;
    close(open("a.sock.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    open_ok("unix:a.sock");
    assert_int_equal(access("a.sock.lock", F_OK), -1);
    close_all();
}

/* A daemon that stops does not block. */
static void test_closing_waits_for_no_lock(void **state)
{
    int fd;
    (void)state;

    open_ok("unix:a.sock");
    fd = open("a.sock.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    close_all();
    assert_int_equal(access("a.sock", F_OK), -1);
    assert_int_equal(unlink("a.sock.lock"), 0);
    close(fd);
}

static void test_an_abstract_name_is_no_file(void **state)
{
    struct ax_listener first;
    char text[AX_ADDRESS_TEXT], name[64];
    (void)state;

    snprintf(name, sizeof name, "unix:@acrossd-test-%ld", (long)getpid());
    open_ok(name);
    assert_int_equal(count, 1);
    assert_true(is_reachable(&listeners[0]));
    assert_int_equal(listeners[0].bound.of.un.sun_path[0], '\0');
    ax_listener_format(text, &listeners[0]);
    assert_string_equal(text, name);
    assert_int_equal(access(name + strlen("unix:"), F_OK), -1);
    first = listeners[0];
    assert_int_equal(try_open(name, false), AX_LISTENER_FAILED);
    assert_contains(error, "is in use by another server");
    ax_listener_close(&first);
    open_ok(name);
    close_all();
}

static void test_tells_the_port_that_was_chosen(void **state)
{
    char text[AX_ADDRESS_TEXT], wanted[AX_ADDRESS_TEXT];
    (void)state;

    open_ok("tcp:127.0.0.1:0");
    assert_int_equal(count, 1);
    assert_true(is_reachable(&listeners[0]));
    ax_listener_format(text, &listeners[0]);
    snprintf(wanted, sizeof wanted, "tcp:127.0.0.1:%u", ax_sockaddr_port(&listeners[0].bound));
    assert_string_equal(text, wanted);
    assert_int_not_equal(ax_sockaddr_port(&listeners[0].bound), 0);
    close_all();
}

static void test_all_addresses_of_a_name_share_a_port(void **state)
{
    (void)state;
    open_ok("tcp:localhost:0");
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ax_sockaddr_port(&listeners[i].bound), ax_sockaddr_port(&listeners[0].bound));
        assert_true(is_reachable(&listeners[i]));
    }
    close_all();
}

static void test_a_port_in_use_is_an_error(void **state)
{
    struct ax_listener first;
    char text[AX_ADDRESS_TEXT], wanted[AX_ADDRESS_TEXT + 32];
    (void)state;

    open_ok("tcp:127.0.0.1:0");
    first = listeners[0];
    ax_listener_format(text, &first);
    assert_int_equal(try_open(text, false), AX_LISTENER_FAILED);
    snprintf(wanted, sizeof wanted, "%s is in use by another server", text);
    assert_string_equal(error, wanted);
    ax_listener_close(&first);
}

static void test_other_hosts_need_permission(void **state)
{
    static const char *const texts[] = {"tcp:0.0.0.0:0", "tcp:[::]:0", "tcp::0"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_int_equal(try_open(texts[i], false), AX_LISTENER_REFUSED);
        assert_contains(error, "--insecure");
        assert_int_equal(count, 0);
    }
    assert_int_equal(try_open("tcp::0", true), AX_LISTENER_OK);
    close_all();
}

/* ---- inherited sockets ---- */

static int bind_any(int family, int type, const struct sockaddr *address, socklen_t size)
{
    int fd = socket(family, type, 0); /* inheritable, and blocking, as a service manager makes them */

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, size), 0);
    return fd;
}

/* `text` is a path, or `@NAME`. */
static int bind_unix(const char *text, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, text, strlen(text));
    if (text[0] == '@')
        address.sun_path[0] = '\0';
    return bind_any(AF_UNIX, type, (struct sockaddr *)&address,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text)));
}

static int bind_inet(in_addr_t host, int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};

    return bind_any(AF_INET, type, (struct sockaddr *)&address, sizeof address);
}

static void adopt_ok(int fd, bool insecure)
{
    assert_int_equal(listen(fd, 16), 0);
    if (ax_listener_adopt(&listeners[0], fd, false, insecure, error, sizeof error) != AX_LISTENER_OK)
        fail_msg("%s", error);
    count = 1;
    assert_int_equal(listeners[0].fd, fd);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(is_reachable(&listeners[0]));
}

static void assert_formatted(const char *wanted)
{
    char text[AX_ADDRESS_TEXT];

    ax_listener_format(text, &listeners[0]);
    assert_string_equal(text, wanted);
}

static void test_adopts_a_unix_socket_and_leaves_its_file(void **state)
{
    (void)state;
    adopt_ok(bind_unix("a.sock", SOCK_STREAM), false);
    assert_formatted("unix:a.sock");
    close_all();
    assert_int_equal(unlink("a.sock"), 0); /* it is still there */
}

/* A path may fill its field in the address, without a final NUL. */
static void test_adopts_a_unix_socket_with_the_longest_path(void **state)
{
    char path[sizeof((struct sockaddr_un *)0)->sun_path + 1], wanted[AX_ADDRESS_TEXT];
    (void)state;

    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    adopt_ok(bind_unix(path, SOCK_STREAM), false);
    snprintf(wanted, sizeof wanted, "unix:%s", path);
    assert_formatted(wanted);
    close_all();
    assert_int_equal(unlink(path), 0);
}

static void test_adopts_an_abstract_socket(void **state)
{
    char name[64], wanted[AX_ADDRESS_TEXT];
    (void)state;

    snprintf(name, sizeof name, "@acrossd-test-listener-%ld", (long)getpid());
    adopt_ok(bind_unix(name, SOCK_STREAM), false);
    snprintf(wanted, sizeof wanted, "unix:%s", name);
    assert_formatted(wanted);
    close_all();
}

static void test_adopts_tcp_sockets(void **state)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    char wanted[AX_ADDRESS_TEXT];
    (void)state;

    adopt_ok(bind_inet(INADDR_LOOPBACK, SOCK_STREAM), false);
    snprintf(wanted, sizeof wanted, "tcp:127.0.0.1:%u", ax_sockaddr_port(&listeners[0].bound));
    assert_formatted(wanted);
    close_all();
    adopt_ok(bind_any(AF_INET6, SOCK_STREAM, (struct sockaddr *)&address, sizeof address), false);
    snprintf(wanted, sizeof wanted, "tcp:[::1]:%u", ax_sockaddr_port(&listeners[0].bound));
    assert_formatted(wanted);
    close_all();
}

/* Takes ownership of the socket. */
static void check_refused(int fd, const char *wanted)
{
    struct ax_listener listener;
    int status = fcntl(fd, F_GETFL), flags = fcntl(fd, F_GETFD);

    assert_int_equal(ax_listener_adopt(&listener, fd, false, false, error, sizeof error), AX_LISTENER_REFUSED);
    assert_contains(error, wanted);
    assert_int_equal(fcntl(fd, F_GETFL), status); /* it is unchanged */
    assert_int_equal(fcntl(fd, F_GETFD), flags);
    close(fd);
}

static void test_inherited_sockets_for_other_hosts_need_permission(void **state)
{
    int fd = bind_inet(INADDR_ANY, SOCK_STREAM);
    (void)state;

    assert_int_equal(listen(fd, 16), 0);
    check_refused(fd, "can be reached from other hosts");
    assert_contains(error, "tcp:0.0.0.0:");
    assert_contains(error, "--insecure");
    adopt_ok(bind_inet(INADDR_ANY, SOCK_STREAM), true);
    close_all();
}

static void test_other_inherited_descriptors_are_refused(void **state)
{
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    check_refused(fds[0], "is no listening socket");
    close(fds[1]);
    assert_int_equal(pipe(fds), 0);
    check_refused(fds[0], "is no socket: Socket operation on non-socket");
    close(fds[1]);
    assert_int_equal(fcntl(fds[1], F_GETFD), -1);
    check_refused(fds[1], "is no socket: Bad file descriptor");
    check_refused(bind_inet(INADDR_LOOPBACK, SOCK_STREAM), "is no listening socket");
    check_refused(bind_inet(INADDR_LOOPBACK, SOCK_DGRAM), "is no stream socket");
    check_refused(bind_unix("a.sock", SOCK_SEQPACKET), "is no stream socket");
    assert_int_equal(unlink("a.sock"), 0);
    check_refused(socket(AF_NETLINK, SOCK_RAW, 0), "is neither a unix nor a TCP socket");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_makes_a_socket_with_its_mode_and_removes_it),
        TEST(test_replaces_a_stale_socket),
        TEST(test_leaves_a_live_socket_alone),
        TEST(test_a_live_socket_with_a_full_queue_is_alive),
        TEST(test_never_removes_what_is_no_socket),
        TEST(test_does_not_remove_anothers_socket_at_the_end),
        TEST(test_one_of_many_wins_a_stale_socket),
        TEST(test_tells_the_port_that_was_chosen),
        TEST(test_all_addresses_of_a_name_share_a_port),
        TEST(test_a_port_in_use_is_an_error),
        TEST(test_other_hosts_need_permission),
        TEST(test_gives_the_socket_to_a_group),
        TEST(test_a_group_that_is_not_allowed_is_an_error),
        TEST(test_adopts_a_unix_socket_and_leaves_its_file),
        TEST(test_adopts_a_unix_socket_with_the_longest_path),
        TEST(test_adopts_an_abstract_socket),
        TEST(test_a_lock_on_the_folder_is_no_obstacle),
        TEST(test_a_lock_that_others_can_open_is_no_obstacle),
        TEST(test_a_file_system_without_locks_is_left_as_it_was),
        TEST(test_a_lock_that_nobody_holds_is_taken),
        TEST(test_closing_waits_for_no_lock),
        TEST(test_an_abstract_name_is_no_file),
        TEST(test_adopts_tcp_sockets),
        TEST(test_inherited_sockets_for_other_hosts_need_permission),
        TEST(test_other_inherited_descriptors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
