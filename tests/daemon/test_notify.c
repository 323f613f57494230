/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/notify.h"

static char *folder;
static int manager = -1; /* the service manager's end */
static int log_pipe[2];

static void listen_on(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));

    strcpy(address.sun_path, name);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&address, size), 0);
}

static const char *path(void)
{
    static char text[128];

    snprintf(text, sizeof text, "%s/notify", folder);
    return text;
}

static int set_up(void **state)
{
    (void)state;
    folder = make_folder();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    ax_log_init(log_pipe[1], AX_LOG_INFO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_notify_fini();
    ax_log_fini();
    close(log_pipe[0]);
    close(log_pipe[1]);
    if (manager >= 0)
        close(manager);
    manager = -1;
    unlink(path());
    rmdir(folder);
    free(folder);
    return 0;
}

/* The next message, or "" if there is none: datagrams between processes of one host arrive at once. */
static const char *receive(void)
{
    static char text[1024];
    ssize_t got = recv(manager, text, sizeof text - 1, MSG_DONTWAIT);

    text[got < 0 ? 0 : got] = '\0';
    return text;
}

static const char *logged(void)
{
    static char text[4096];
    ssize_t got = read(log_pipe[0], text, sizeof text - 1);

    text[got < 0 ? 0 : got] = '\0';
    return text;
}

static void start_on_path(void)
{
    listen_on(path());
    setenv("NOTIFY_SOCKET", path(), 1);
    ax_notify_init();
}

static void test_without_a_manager_nothing_happens(void **state)
{
    (void)state;
    ax_notify_ready("ready"); /* before ax_notify_init(), too */
    setenv("WATCHDOG_USEC", "1000000", 1);
    ax_notify_init();
    assert_null(getenv("WATCHDOG_USEC"));
    assert_int_equal(ax_notify_watchdog_ms(), 0);
    ax_notify_ready("ready");
    ax_notify_status("%d", 1);
    ax_notify_reloading();
    ax_notify_stopping();
    ax_notify_watchdog();
    ax_notify_fini();
    ax_notify_fini();
    assert_string_equal(logged(), "");
}

static void test_tells_a_manager_with_a_path(void **state)
{
    (void)state;
    start_on_path();
    ax_notify_ready(NULL);
    assert_string_equal(receive(), "READY=1\n");
    ax_notify_ready("serving 2 addresses");
    assert_string_equal(receive(), "READY=1\nSTATUS=serving 2 addresses");
    ax_notify_status("connections: %d", 17);
    assert_string_equal(receive(), "STATUS=connections: 17");
    ax_notify_stopping();
    assert_string_equal(receive(), "STOPPING=1");
    assert_string_equal(logged(), "");
}

static void test_tells_a_manager_with_an_abstract_name(void **state)
{
    char name[64];
    (void)state;

    snprintf(name, sizeof name, "@acrossd-test-notify-%ld", (long)getpid());
    listen_on(name);
    setenv("NOTIFY_SOCKET", name, 1);
    ax_notify_init();
    ax_notify_ready(NULL);
    assert_string_equal(receive(), "READY=1\n");
}

static void test_a_reload_tells_its_time(void **state)
{
    unsigned long long told, after;
    struct timespec now;
    char end;
    (void)state;

    start_on_path();
    ax_notify_reloading();
    assert_int_equal(sscanf(receive(), "RELOADING=1\nMONOTONIC_USEC=%llu%c", &told, &end), 1);
    clock_gettime(CLOCK_MONOTONIC, &now);
    after = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
    assert_true(told <= after && after - told < 60000000);
}

/* What a child would inherit; the test itself may have inherited descriptors. */
static int count_inheritable(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);

        count += flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    return count;
}

static void test_children_find_nothing(void **state)
{
    int before = count_inheritable();
    (void)state;

    setenv("WATCHDOG_USEC", "1000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    start_on_path();
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    assert_int_equal(count_inheritable(), before);
}

static void check_watchdog(const char *limit, const char *pid, uint64_t wanted)
{
    setenv("NOTIFY_SOCKET", path(), 1);
    setenv("WATCHDOG_USEC", limit, 1);
    if (pid != NULL)
        setenv("WATCHDOG_PID", pid, 1);
    ax_notify_init();
    if (ax_notify_watchdog_ms() != wanted)
        fail_msg("WATCHDOG_USEC=%s gave %llu ms", limit, (unsigned long long)ax_notify_watchdog_ms());
    ax_notify_watchdog();
    assert_string_equal(receive(), wanted > 0 ? "WATCHDOG=1" : "");
}

static void test_signs_of_life_only_when_they_are_wanted(void **state)
{
    char pid[32];
    (void)state;

    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    start_on_path();
    assert_int_equal(ax_notify_watchdog_ms(), 0);
    ax_notify_watchdog();
    assert_string_equal(receive(), "");
    check_watchdog("30000000", NULL, 30000);
    check_watchdog("1500000", pid, 1500);
    check_watchdog("30000000", "1", 0); /* meant for another process */
    check_watchdog("30000000", "", 0);
    assert_string_equal(logged(), "");
    check_watchdog("0", NULL, 0);
    assert_contains(logged(), "WATCHDOG_USEC=0 is no valid interval");
    check_watchdog("-5", NULL, 0);
    assert_contains(logged(), "WATCHDOG_USEC=-5 is no valid interval");
    check_watchdog("30s", NULL, 0);
    assert_contains(logged(), "WATCHDOG_USEC=30s is no valid interval");
    check_watchdog("99999999999999999999", NULL, 0);
    assert_contains(logged(), "is no valid interval");
}

static void test_a_name_that_is_none_is_logged_and_ignored(void **state)
{
    char long_name[200] = "/";
    const char *const names[] = {"", "@", "relative/path", "vsock:2:1234", long_name};
    (void)state;

    memset(long_name + 1, 'x', sizeof long_name - 2);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        ax_notify_init();
        ax_notify_ready(NULL);
        assert_contains(logged(), "is neither a path nor @NAME");
        assert_null(getenv("NOTIFY_SOCKET"));
    }
}

static void test_a_manager_that_is_gone_is_logged_once(void **state)
{
    (void)state;
    setenv("NOTIFY_SOCKET", path(), 1);
    ax_notify_init();
    ax_notify_ready(NULL);
    assert_contains(logged(), "the service manager cannot be reached: No such file");
    ax_notify_status("still there");
    ax_notify_stopping();
    assert_string_equal(logged(), "");
    listen_on(path()); /* once it is back, it is notified */
    ax_notify_status("back");
    assert_string_equal(receive(), "STATUS=back");
}

static void test_a_status_is_one_line_of_bounded_length(void **state)
{
    char huge[AX_NOTIFY_STATUS_SIZE * 2];
    (void)state;

    memset(huge, 'x', sizeof huge);
    huge[sizeof huge - 1] = '\0';
    start_on_path();
    ax_notify_status("a\nREADY=1\tb\x7f");
    assert_string_equal(receive(), "STATUS=a READY=1 b ");
    ax_notify_ready("a\nSTOPPING=1");
    assert_string_equal(receive(), "READY=1\nSTATUS=a STOPPING=1");
    ax_notify_status("%s", huge);
    assert_int_equal(strlen(receive()), strlen("STATUS=") + AX_NOTIFY_STATUS_SIZE - 1);
    ax_notify_ready(huge);
    assert_int_equal(strlen(receive()), strlen("READY=1\nSTATUS=") + AX_NOTIFY_STATUS_SIZE - 1);
}

/* Fills the manager's queue. Returns only if sending never blocks: otherwise the test's time limit ends it. */
static size_t fill_queue(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int filler = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t count = 0;

    strcpy(address.sun_path, path());
    while (sendto(filler, "X", 1, 0, (struct sockaddr *)&address, sizeof address) == 1)
        count++;
    assert_int_equal(errno, EAGAIN);
    close(filler);
    return count;
}

static void drain_filler(size_t count)
{
    while (count-- > 0)
        assert_string_equal(receive(), "X");
}

static void test_a_full_queue_keeps_the_state_and_loses_the_rest(void **state)
{
    size_t count;
    (void)state;

    setenv("WATCHDOG_USEC", "1000000", 1);
    start_on_path();
    count = fill_queue();
    ax_notify_ready("up");
    ax_notify_status("lost");
    ax_notify_watchdog();
    drain_filler(count);
    assert_string_equal(receive(), "");
    ax_notify_watchdog();
    assert_string_equal(receive(), "READY=1\nSTATUS=up");
    assert_string_equal(receive(), "WATCHDOG=1");
    assert_string_equal(receive(), "");
    assert_string_equal(logged(), "");
}

static void test_of_two_states_that_wait_the_newer_counts(void **state)
{
    size_t count;
    (void)state;

    start_on_path();
    count = fill_queue();
    ax_notify_ready("up");
    ax_notify_stopping();
    drain_filler(count);
    ax_notify_status("and so on");
    assert_string_equal(receive(), "STOPPING=1");
    assert_string_equal(receive(), "STATUS=and so on");
    assert_string_equal(receive(), "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_manager_nothing_happens),
        TEST(test_tells_a_manager_with_a_path),
        TEST(test_tells_a_manager_with_an_abstract_name),
        TEST(test_a_reload_tells_its_time),
        TEST(test_children_find_nothing),
        TEST(test_signs_of_life_only_when_they_are_wanted),
        TEST(test_a_name_that_is_none_is_logged_and_ignored),
        TEST(test_a_manager_that_is_gone_is_logged_once),
        TEST(test_a_status_is_one_line_of_bounded_length),
        TEST(test_a_full_queue_keeps_the_state_and_loses_the_rest),
        TEST(test_of_two_states_that_wait_the_newer_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
