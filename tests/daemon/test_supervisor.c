/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#define SUPERBLOCK "\xe3\x5b\x9e\x78\0\2\0\0\0\0\0\0\0\0\0\0"
#define SUPERBLOCK_SIZE 16

static struct program program;
static char *folder;
static char path[64];    /* of the unix socket */
static char address[80]; /* unix:path */
static char switch_off[64];

static const char *isolation;

static int set_up(void)
{
    folder = make_folder();
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    snprintf(switch_off, sizeof switch_off, "%s/fail", folder);
    setenv("ECHO_HOST_FAIL", switch_off, 1);
    return 0;
}

static int set_up_process(void **state)
{
    (void)state;
    isolation = "--isolation=process";
    return set_up();
}

static int set_up_shared(void **state)
{
    (void)state;
    isolation = "--isolation=shared";
    return set_up();
}

static int tear_down(void **state)
{
    int result;
    (void)state;

    unlink(switch_off);
    result = rmdir(folder); /* the folder has to be empty */
    free(folder);
    return result;
}

#define START(...)                                                                                                     \
    program_start(&program, WITH_NULL, (const char *const[]){"--listen", address, isolation, __VA_ARGS__})

static void start_daemon(void)
{
    START(NULL);
    program_await(&program, "listening on ");
}

static void stop_daemon(void)
{
    program_signal(&program, SIGTERM);
    assert_int_equal(program_wait(&program), 0);
    assert_null(strstr(program.log, "did not end")); /* workers exited in time, too */
}

/* ---- clients ---- */

static int open_unix(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    close(fd);
    return -1;
}

static int open_tcp(const char *host)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *line = strstr(program.log, host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_non_null(line);
    name.sin_port = htons((uint16_t)strtoul(line + strlen(host), NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

static void send_bytes(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

static void assert_received(int fd, const void *bytes, size_t size)
{
    char got[64];

    assert_int_equal(recv(fd, got, size, MSG_WAITALL), size);
    assert_memory_equal(got, bytes, size);
}

/* A peer that closes with unread data resets the connection. */
static void assert_end(int fd)
{
    char byte;
    ssize_t size = recv(fd, &byte, 1, 0);

    if (size > 0 || (size < 0 && errno != ECONNRESET))
        fail_msg("recv() gave %zd", size);
    close(fd);
}

static int handshake_on(int fd)
{
    assert_true(fd >= 0);
    send_bytes(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
    assert_received(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
    return fd;
}

static int open_client(void)
{
    return handshake_on(open_unix());
}

static void assert_served(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
    assert_received(fd, text, strlen(text));
}

/* ---- starting ---- */

static void test_serves_every_address(void **state)
{
    struct stat status;
    int fd;
    (void)state;

    START("--listen=tcp:127.0.0.1:0", "--listen=tcp:localhost:0", "--socket-mode=640", NULL);
    program_await(&program, "listening on tcp:localhost:");
    program_await(&program, "\n");
    assert_memory_equal(program.log, "listening on unix:/", 19);
    assert_null(strstr(program.log, ":0\n"));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    fd = open_client();
    assert_served(fd, "one");
    close(fd);
    fd = handshake_on(open_tcp("tcp:127.0.0.1:"));
    assert_served(fd, "two");
    close(fd);
    fd = handshake_on(open_tcp("tcp:localhost:"));
    assert_served(fd, "three");
    close(fd);
    stop_daemon();
    assert_int_equal(access(path, F_OK), -1);
}

static void make_interpreters_fail(void)
{
    close(open(switch_off, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void test_says_that_it_listens_only_when_it_can_serve(void **state)
{
    (void)state;
    make_interpreters_fail();
    START(NULL);
    assert_int_equal(program_wait(&program), 1);
    assert_null(strstr(program.log, "listening on"));
    assert_contains(program.log, "acrossd: the interpreter did not start, for the reason above\n");
}

static void test_a_socket_in_use_is_left_alone(void **state)
{
    struct program first;
    char expected[200];
    int fd;
    (void)state;

    start_daemon();
    first = program;
    START(NULL);
    assert_int_equal(program_wait(&program), 1);
    snprintf(expected, sizeof expected, "acrossd: %s is in use by another server\n", address);
    assert_string_equal(program.log, expected);
    program = first;
    fd = open_client();
    assert_served(fd, "still here");
    close(fd);
    stop_daemon();
}

static void test_addresses_that_others_can_reach_are_refused(void **state)
{
    (void)state;
    START("--listen=tcp:0.0.0.0:0", NULL);
    assert_int_equal(program_wait(&program), 2);
    assert_contains(program.log, "add --insecure");
    assert_ptr_equal(strchr(program.log, '\n'), program.log + program.log_size - 1); /* one line */
    START("--listen=tcp:0.0.0.0:0", "--insecure", NULL);
    if (geteuid() == 0) {
        assert_int_equal(program_wait(&program), 2);
        assert_contains(program.log, "--insecure is not for root");
        return;
    }
    program_await(&program, "tcp:0.0.0.0:");
    program_await(&program, "without encryption (--insecure): whoever connects may run anything\n");
    program_await(&program, "listening on tcp:0.0.0.0:");
    stop_daemon();
}

static void test_wrong_arguments_are_one_line(void **state)
{
    (void)state;
    START("--chdir=/nowhere/at/all", NULL);
    assert_int_equal(program_wait(&program), 2);
    assert_string_equal(program.log, "acrossd: --chdir /nowhere/at/all: No such file or directory: "
                                     "write the name of a folder\n");
}

/* ---- handshakes ---- */

/* Whatever descriptor has the number of the control socket: without a supervisor it is not one. */
static void test_a_zygote_without_a_supervisor_refuses_to_start(void **state)
{
    static const char *const words[] = {"--role=zygote", "--control-fd=3", NULL};
    (void)state;

    program_start(&program, WITH_PIPES, words);
    assert_int_equal(program_wait(&program), 2);
    assert_string_equal(program.log, "acrossd: --role is for acrossd's own use: leave it out\n");
}

static void test_a_peer_that_fails_its_handshake_is_logged(void **state)
{
    static const char future[] = "\xe3\x5b\x9e\x78\0\3\0\0\0\0\0\0\0\0\0\0";
    int other, fd;
    (void)state;

    start_daemon();
    other = open_client();
    fd = open_unix();
    send_bytes(fd, "GET / HTTP/1.0\r\n\r\n", 18);
    assert_end(fd);
    program_await(&program, "was refused: Invalid magic: 0x47455420\n");
    fd = open_unix();
    send_bytes(fd, future, SUPERBLOCK_SIZE);
    assert_received(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
    assert_end(fd);
    program_await(&program, "was refused: Local across 0.2.0 is not compatible with remote 0.3.0\n");
    fd = open_unix();
    send_bytes(fd, SUPERBLOCK, 15);
    close(fd);
    program_await(&program, "was refused: Incomplete superblock\n");
    assert_served(other, "unharmed");
    close(other);
    stop_daemon();
}

static void test_a_slow_handshake_is_ended(void **state)
{
    int fd;
    (void)state;

    START("--handshake-timeout=0.05", NULL);
    program_await(&program, "listening on ");
    fd = open_unix();
    send_bytes(fd, SUPERBLOCK, 3);
    assert_end(fd);
    program_await(&program, "was refused: The handshake was not finished within 50 ms\n");
    stop_daemon();
}

static uint64_t cpu_time_ms(void)
{
    struct timespec used;
    clockid_t clock;

    assert_int_equal(clock_getcpuclockid(program.pid, &clock), 0);
    assert_int_equal(clock_gettime(clock, &used), 0);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* Silent peers take all descriptors. Others wait meanwhile, and the daemon does not spin. */
static void test_waits_when_descriptors_run_out(void **state)
{
    struct rlimit few = {.rlim_cur = 20, .rlim_max = 20};
    int silent[30];
    uint64_t used;
    int fd;
    (void)state;

    START("--handshake-timeout=0.5", NULL);
    program_await(&program, "listening on ");
    assert_int_equal(prlimit(program.pid, RLIMIT_NOFILE, &few, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(silent); i++)
        silent[i] = open_unix();
    program_await(&program, "new connections have to wait: Too many open files\n");
    used = cpu_time_ms();
    program_await(&program, "was refused: The handshake was not finished within 500 ms\n"); /* half a second later */
    assert_true(cpu_time_ms() - used < 200);
    fd = open_client();
    assert_served(fd, "patience");
    close(fd);
    for (size_t i = 0; i < COUNT_OF(silent); i++)
        close(silent[i]);
    stop_daemon();
}

/* ---- workers ---- */

static bool is_shared(void)
{
    return strcmp(isolation, "--isolation=shared") == 0;
}

/* With a worker of their own, other connections are not affected. */
static void test_a_worker_that_dies_is_logged_and_replaced(void **state)
{
    int fd, other;
    (void)state;

    start_daemon();
    fd = open_client();
    other = open_client();
    send_bytes(fd, "K", 1);
    assert_end(fd);
    if (is_shared()) {
        assert_end(other);
    } else {
        assert_served(other, "unharmed");
        close(other);
    }
    program_await(&program, is_shared() ? "was killed by signal 9 (Killed); connections lost: 2\n"
                                        : "was killed by signal 9 (Killed); connections lost: 1\n");
    fd = open_client();
    send_bytes(fd, "X", 1);
    assert_end(fd);
    program_await(&program, "exited with status 3; connections lost: 1\n");
    fd = open_client();
    assert_served(fd, "again");
    close(fd);
    stop_daemon();
}

/* The orphan has the log open: program_wait() in stop_daemon() would not return. */
static void test_what_a_worker_leaves_behind_is_killed(void **state)
{
    int fd;
    (void)state;

    start_daemon();
    fd = open_client();
    assert_served(fd, "G");
    send_bytes(fd, "K", 1);
    assert_end(fd);
    program_await(&program, "was killed by signal 9 (Killed)");
    fd = open_client();
    assert_served(fd, "G");
    close(fd);
    stop_daemon();
}

static void test_a_worker_without_memory_ends(void **state)
{
    int fd;
    (void)state;

    if (has_sanitizer())
        skip();
    START("--worker-memory=512M", NULL);
    program_await(&program, "listening on ");
    fd = open_client();
    if (is_shared()) { /* there only the call fails */
        assert_served(fd, "M");
        close(fd);
    } else {
        send_bytes(fd, "M", 1);
        assert_end(fd);
        program_await(&program, "ran out of the memory that --worker-memory allows; connections lost: 1\n");
    }
    stop_daemon();
}

/* The children of a process, as text that is the caller's: their ids, each followed by a blank. */
static void read_children(pid_t pid, char *text, size_t size)
{
    char name[64];
    FILE *children;
    size_t length;

    snprintf(name, sizeof name, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    children = fopen(name, "re");
    assert_non_null(children);
    length = fread(text, 1, size - 1, children);
    text[length] = '\0';
    fclose(children);
}

/* A child of a process that has this name; -1: none. */
static long find_worker(pid_t parent, const char *wanted)
{
    char children[4096], name[64];
    char *end;

    read_children(parent, children, sizeof children);
    for (const char *at = children;; at = end) {
        long pid = strtol(at, &end, 10);
        char comm[32] = "";
        FILE *file;

        if (end == at)
            return -1;
        snprintf(name, sizeof name, "/proc/%ld/comm", pid);
        file = fopen(name, "re");
        if (file == NULL)
            continue;
        if (fscanf(file, "%31s", comm) == 1 && strcmp(comm, wanted) == 0) {
            fclose(file);
            return pid;
        }
        fclose(file);
    }
}

static long worker_of(pid_t parent, const char *name)
{
    long pid = find_worker(parent, name);

    if (pid < 0)
        fail_msg("process %ld has no child %s", (long)parent, name);
    return pid;
}

static long zygote_of(pid_t supervisor)
{
    return worker_of(supervisor, "acrossd-zygote");
}

static void test_a_zygote_that_dies_is_replaced(void **state)
{
    int fd, other;
    (void)state;

    start_daemon();
    other = open_client();
    assert_int_equal(kill((pid_t)zygote_of(program.pid), SIGKILL), 0);
    program_await(&program, "the zygote, process ");
    program_await(&program, "was killed by signal 9 (Killed)\n");
    assert_served(other, "unharmed");
    for (int i = 0; i < 4; i++) {
        fd = open_client();
        assert_served(fd, "new");
        close(fd);
    }
    close(other);
    stop_daemon();
}

/* Peers wait for up to the handshake timeout, and the connections of others continue. */
static void test_goes_on_when_no_zygote_starts_any_more(void **state)
{
    int fd, other;
    (void)state;

    START("--spare-workers=0", "--handshake-timeout=0.3", NULL);
    program_await(&program, "listening on ");
    other = open_client();
    make_interpreters_fail();
    assert_int_equal(kill((pid_t)zygote_of(program.pid), SIGKILL), 0);
    program_await(&program, "was killed by signal 9 (Killed)\n");
    program_await(&program, "the interpreter did not start, for the reason above\n");
    assert_served(other, "unharmed");
    if (!is_shared()) {
        fd = open_unix();
        send_bytes(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
        program_await(&program, "was refused: No worker was ready in the time that a handshake may take\n");
        close(fd);
    }
    unlink(switch_off);
    do { /* its own timeout may expire first */
        char byte;

        fd = open_unix();
        send_bytes(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
        if (recv(fd, &byte, 1, MSG_PEEK) == 1)
            break;
        close(fd);
    } while (true);
    close(fd);
    close(other);
    stop_daemon();
}

static void make_interpreters_die(void)
{
    int fd = open(switch_off, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static int count_in_log(const char *text)
{
    int count = 0;

    for (const char *at = program.log; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

/* Each attempt costs the start of an interpreter. */
static void test_zygotes_that_die_again_and_again_are_not_replaced_at_once(void **state)
{
    int fd;
    (void)state;

    START("--spare-workers=0", "--handshake-timeout=0.5", NULL);
    program_await(&program, "listening on ");
    make_interpreters_die();
    assert_int_equal(kill((pid_t)zygote_of(program.pid), SIGKILL), 0);
    program_await(&program, "was killed by signal 9 (Killed)\n");
    fd = open_unix();
    assert_end(fd); /* half a second later */
    program_await(&program, "was refused: The handshake was not finished within 500 ms\n");
    assert_true(count_in_log("was killed by signal 14 (Alarm clock)\n") <= 4); /* at 0, 0.2 and 0.6 seconds */
    unlink(switch_off);
    stop_daemon();
}

static void test_too_many_connections_are_refused(void **state)
{
    int fd, other;
    (void)state;

    START("--max-connections=1", NULL);
    program_await(&program, "listening on ");
    other = open_client();
    fd = open_unix();
    send_bytes(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
    program_await(&program, "was refused: The server has as many connections as it may have: 1\n");
    close(fd);
    assert_served(other, "unharmed");
    close(other);
    stop_daemon();
}

static void test_users_who_may_not_connect_are_refused(void **state)
{
    char expected[80];
    int fd;
    (void)state;

    START("--allow-uid=1234567", NULL);
    program_await(&program, "listening on ");
    fd = open_unix();
    send_bytes(fd, SUPERBLOCK, SUPERBLOCK_SIZE);
    snprintf(expected, sizeof expected, "was refused: User %ld may not connect\n", (long)getuid());
    program_await(&program, expected);
    close(fd);
    stop_daemon();
}

static void test_a_reload_gives_new_connections_new_workers(void **state)
{
    long zygote;
    int fd, other;
    (void)state;

    start_daemon();
    other = open_client();
    zygote = zygote_of(program.pid);
    program_signal(&program, SIGHUP);
    program_await(&program, "reloaded: new connections get new workers\n");
    while (kill((pid_t)zygote, 0) == 0) /* the old one exits */
        sched_yield();
    assert_int_not_equal(zygote_of(program.pid), zygote);
    fd = open_client();
    assert_served(fd, "new");
    assert_served(other, "old");
    close(fd);
    close(other);
    stop_daemon();
}

static void test_a_reload_that_fails_changes_nothing(void **state)
{
    long zygote;
    int fd;
    (void)state;

    start_daemon();
    zygote = zygote_of(program.pid);
    make_interpreters_fail();
    program_signal(&program, SIGHUP);
    program_await(&program, "the reload failed: new connections get workers as before\n");
    assert_int_equal(zygote_of(program.pid), zygote);
    fd = open_client();
    assert_served(fd, "as before");
    close(fd);
    stop_daemon();
}

static char slow[80]; /* the file that makes the name service hang */

/* A daemon that queries the name service when it reloads. It is doing so now, and gets no answer yet. */
static void reload_slowly(void)
{
    const struct passwd *user = getpwuid(geteuid());
    char option[64], begun[100];

    assert_non_null(user);
    snprintf(option, sizeof option, "--user=%s", user->pw_name);
    snprintf(slow, sizeof slow, "%s/slow", folder);
    snprintf(begun, sizeof begun, "%s.begun", slow);
    setenv("SLOW_SHIM", slow, 1);
    setenv("LD_PRELOAD", getenv("AX_TEST_SLOW_SHIM"), 1);
    START(option, NULL);
    unsetenv("LD_PRELOAD");
    program_await(&program, "listening on ");
    close(open(slow, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    program_signal(&program, SIGHUP);
    while (access(begun, F_OK) < 0)
        sched_yield();
}

static bool may_be_slow(void)
{
    return !has_sanitizer() && getenv("AX_TEST_SLOW_SHIM") != NULL && getpwuid(geteuid()) != NULL;
}

/* Several reloads requested meanwhile are merged into one. */
static void test_others_do_not_wait_for_a_reload(void **state)
{
    int fd;
    (void)state;

    if (!may_be_slow())
        skip();
    reload_slowly();
    for (int i = 0; i < 3; i++) {
        fd = open_client();
        assert_served(fd, "meanwhile");
        close(fd);
        program_signal(&program, SIGHUP);
    }
    unlink(slow);
    program_await(&program, "reloaded: new connections get new workers\n");
    stop_daemon();
}

static void test_the_end_does_not_wait_for_a_reload(void **state)
{
    char begun[100];
    (void)state;

    if (!may_be_slow())
        skip();
    reload_slowly();
    stop_daemon();
    snprintf(begun, sizeof begun, "%s.begun", slow);
    unlink(begun);
    unlink(slow);
}

static void test_a_broken_connection_is_logged(void **state)
{
    int fd, other;
    (void)state;

    start_daemon();
    other = open_client();
    fd = open_client();
    send_bytes(fd, "E", 1);
    assert_end(fd);
    program_await(&program, " broke: broken on purpose\n");
    assert_served(other, "unharmed");
    close(other);
    stop_daemon();
}

/* A worker's exit closes its connection; the socket's file remains, and does not prevent a new start. */
static void test_workers_end_with_their_supervisor(void **state)
{
    int fd;
    (void)state;

    start_daemon();
    fd = open_client();
    program_signal(&program, SIGKILL);
    assert_end(fd);
    assert_int_equal(program_wait(&program), 128 + SIGKILL);
    assert_int_equal(access(path, F_OK), 0);
    start_daemon();
    fd = open_client();
    assert_served(fd, "replaced");
    close(fd);
    stop_daemon();
}

/* ---- stopping ---- */

/* The file of the socket is removed first. */
static void await_stop(void)
{
    int fd;

    program_await(&program, "got signal");
    while ((fd = open_unix()) >= 0)
        close(fd);
}

static void test_a_running_call_may_finish(void **state)
{
    int fd;
    (void)state;

    START("--grace=86400", "--verbose", NULL);
    program_await(&program, "listening on ");
    fd = open_client();
    assert_served(fd, "B");
    program_signal(&program, SIGTERM);
    await_stop();
    assert_served(fd, "still served");
    assert_served(fd, "D");
    assert_end(fd);
    assert_int_equal(program_wait(&program), 0);
    assert_null(strstr(program.log, "calls that still ran"));
}

static void test_calls_end_after_the_grace_period(void **state)
{
    int fd;
    (void)state;

    START("--grace=0.1", NULL);
    program_await(&program, "listening on ");
    fd = open_client();
    assert_served(fd, "B");
    program_signal(&program, SIGINT);
    assert_end(fd);
    assert_int_equal(program_wait(&program), 0);
    assert_contains(program.log, "calls that still ran after 0.100 seconds of grace, and were ended: 1\n");
}

static void test_the_second_signal_ends_it_at_once(void **state)
{
    int fd;
    (void)state;

    START("--grace=86400", "--verbose", NULL);
    program_await(&program, "listening on ");
    fd = open_client();
    assert_served(fd, "B");
    program_signal(&program, SIGTERM);
    await_stop();
    program_signal(&program, SIGINT);
    assert_end(fd);
    assert_int_equal(program_wait(&program), 0);
}

/* Copies of the sockets that a process has; how many there are. */
static size_t take_sockets(pid_t pid, int *copies, size_t room)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
    size_t count = 0;

    for (int fd = 0; fd < 64 && count < room; fd++) {
        int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0u);
        struct stat status;

        if (copy >= 0 && fstat(copy, &status) == 0 && S_ISSOCK(status.st_mode))
            copies[count++] = copy;
        else if (copy >= 0)
            close(copy);
    }
    close(pidfd);
    return count;
}

/*
 * A worker counts as gone when its keeper has exited, even if another process holds the other end of its control
 * socket.
 */
static void test_the_second_signal_ends_it_whoever_holds_its_sockets(void **state)
{
    int copies[16];
    size_t count;
    int fd;
    (void)state;

    START("--grace=86400", "--verbose", "--spare-workers=0", NULL);
    program_await(&program, "listening on ");
    fd = open_client();
    assert_served(fd, "B");
    count = take_sockets((pid_t)worker_of((pid_t)zygote_of(program.pid), "acrossd-keeper"), copies, COUNT_OF(copies));
    if (count == 0)
        skip(); /* the kernel or its settings do not allow it */
    program_signal(&program, SIGTERM);
    await_stop();
    program_signal(&program, SIGTERM);
    assert_int_equal(program_wait(&program), 0);
    assert_null(strstr(program.log, "processes that were killed are still there"));
    close(fd);
    while (count > 0)
        close(copies[--count]);
}

/* The parent may have blocked signals for its own use. */
static void test_signals_count_although_they_were_blocked(void **state)
{
    sigset_t blocked;
    (void)state;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    start_daemon();
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
    stop_daemon();
}

/* ---- children that are not acrossd's own ---- */

static int alive[2]; /* a pipe that ends with the last of them */
static int word[2];  /* closing it ends one of them */
static int over[2];  /* the same, for all of them */

static void open_pipes(void)
{
    assert_int_equal(pipe2(alive, O_CLOEXEC), 0);
    assert_int_equal(pipe2(word, O_CLOEXEC), 0);
    assert_int_equal(pipe2(over, O_CLOEXEC), 0);
}

static void assert_alive(bool expected)
{
    struct pollfd item = {.fd = alive[0]};

    assert_int_equal(poll(&item, 1, expected ? 0 : -1), !expected);
}

/* In a child: waits until this pipe ends, with no other descriptors open than those meant for it. */
_Noreturn static void be_an_unrelated_child(int pipe_fd)
{
    char ignored;

    for (int fd = 0; fd < 64; fd++)
        if (fd != alive[1] && fd != pipe_fd)
            close(fd);
    _exit(read(pipe_fd, &ignored, 1) == 0 ? 0 : 1);
}

/* A child of the process that becomes acrossd, and one with a child, which it orphans when told to. */
static void have_children(void)
{
    if (fork() == 0)
        be_an_unrelated_child(over[0]);
    if (fork() == 0) {
        if (fork() == 0)
            be_an_unrelated_child(over[0]);
        be_an_unrelated_child(word[0]);
    }
}

/* A worker leaves an orphan whose end the client observes, and whose keeper cannot kill it: so the supervisor does. */
static void have_an_orphan_killed(pid_t supervisor)
{
    int fd = open_client();

    assert_served(fd, "G");
    assert_int_equal(kill((pid_t)worker_of((pid_t)zygote_of(supervisor), "acrossd-keeper"), SIGKILL), 0);
    assert_end(fd);
}

static void test_what_the_process_had_before_is_spared(void **state)
{
    (void)state;
    open_pipes();
    program_prepare = have_children;
    START("--spare-workers=0", NULL);
    close(alive[1]);
    program_await(&program, "listening on ");
    close(word[1]);
    have_an_orphan_killed((pid_t)worker_of(program.pid, "acrossd_echo"));
    stop_daemon();
    assert_alive(true);
    close(over[1]);
    assert_alive(false);
    close(alive[0]);
    close(over[0]);
    close(word[0]);
}

static bool may_unshare(void)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ? 0
                                                                                                                 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The rest runs as process 1 of a PID namespace, and this process exits as it does. */
static void become_process_1(void)
{
    int status;
    pid_t pid;

    if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        _exit(126);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mount("proc", "/proc", "proc", 0, NULL) < 0)
            _exit(126);
        return;
    }
    waitpid(pid, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* A process started from outside, as by `docker exec`, leaves an orphan. */
static void leave_behind_in(pid_t process_1)
{
    char name[64];
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        snprintf(name, sizeof name, "/proc/%ld/ns/pid", (long)process_1);
        if (setns(open(name, O_RDONLY | O_CLOEXEC), CLONE_NEWPID) < 0)
            _exit(1);
        pid = fork();
        if (pid == 0) { /* its parent is not visible in there */
            if (fork() == 0)
                be_an_unrelated_child(over[0]);
            _exit(0);
        }
        _exit(waitpid(pid, NULL, 0) == pid ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_what_process_1_adopts_is_spared(void **state)
{
    pid_t process_1;
    (void)state;

    if (!may_unshare())
        skip();
    open_pipes();
    program_prepare = become_process_1;
    START("--spare-workers=0", NULL);
    program_await(&program, "listening on ");
    while ((process_1 = (pid_t)find_worker(program.pid, "acrossd-init")) < 0) /* it may take its name later */
        sched_yield();
    leave_behind_in(process_1);
    close(alive[1]);
    have_an_orphan_killed((pid_t)worker_of(process_1, "acrossd_echo"));
    assert_alive(true);
    assert_int_equal(kill(process_1, SIGTERM), 0);
    assert_int_equal(program_wait(&program), 0);
    assert_alive(false); /* when process 1 exits, the kernel kills all others in the namespace */
    close(alive[0]);
    close(word[0]);
    close(word[1]);
    close(over[0]);
    close(over[1]);
}

/* ---- number of workers ---- */

static size_t count_children(pid_t pid)
{
    char text[4096];
    size_t count = 0;

    read_children(pid, text, sizeof text);
    for (const char *at = text; *at != '\0'; at++)
        count += *at == ' ';
    return count;
}

/* Connections that had to wait add as many spare workers. Without demand they are dismissed. */
static void test_spare_workers_follow_demand(void **state)
{
    pid_t zygote;
    int fds[4];
    (void)state;

    start_daemon();
    zygote = (pid_t)zygote_of(program.pid);
    assert_int_equal(kill(zygote, SIGSTOP), 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        fds[i] = open_unix();
        send_bytes(fds[i], SUPERBLOCK, SUPERBLOCK_SIZE);
    }
    assert_int_equal(kill(zygote, SIGCONT), 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        assert_received(fds[i], SUPERBLOCK, SUPERBLOCK_SIZE);
    while (count_children(zygote) < COUNT_OF(fds) + 2)
        sched_yield();
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    while (count_children(zygote) != 1)
        sched_yield();
    stop_daemon();
}

/* Keepers whose zygote has exited are the supervisor's children. */
static void test_a_reload_reaps_the_keepers_of_the_old_zygote(void **state)
{
    int fd;
    (void)state;

    start_daemon();
    fd = open_client();
    program_signal(&program, SIGHUP);
    program_await(&program, "reloaded: new connections get new workers\n");
    while (find_worker(program.pid, "acrossd-keeper") < 0)
        sched_yield();
    close(fd);
    while (find_worker(program.pid, "acrossd-keeper") >= 0)
        sched_yield();
    fd = open_client();
    assert_served(fd, "new");
    close(fd);
    stop_daemon();
}

#define BOTH(name)                                                                                                     \
    {#name " (process)", name, set_up_process, tear_down, NULL},                                                       \
    {                                                                                                                  \
#name " (shared)", name, set_up_shared, tear_down, NULL                                                        \
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_process, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_serves_every_address),
        BOTH(test_says_that_it_listens_only_when_it_can_serve),
        TEST(test_a_socket_in_use_is_left_alone),
        TEST(test_addresses_that_others_can_reach_are_refused),
        TEST(test_wrong_arguments_are_one_line),
        TEST(test_a_zygote_without_a_supervisor_refuses_to_start),
        BOTH(test_a_peer_that_fails_its_handshake_is_logged),
        TEST(test_a_slow_handshake_is_ended),
        TEST(test_waits_when_descriptors_run_out),
        BOTH(test_a_worker_that_dies_is_logged_and_replaced),
        BOTH(test_what_a_worker_leaves_behind_is_killed),
        BOTH(test_a_worker_without_memory_ends),
        BOTH(test_a_zygote_that_dies_is_replaced),
        BOTH(test_goes_on_when_no_zygote_starts_any_more),
        TEST(test_zygotes_that_die_again_and_again_are_not_replaced_at_once),
        BOTH(test_too_many_connections_are_refused),
        TEST(test_users_who_may_not_connect_are_refused),
        BOTH(test_a_reload_gives_new_connections_new_workers),
        BOTH(test_a_reload_that_fails_changes_nothing),
        TEST(test_others_do_not_wait_for_a_reload),
        TEST(test_the_end_does_not_wait_for_a_reload),
        BOTH(test_a_broken_connection_is_logged),
        BOTH(test_workers_end_with_their_supervisor),
        BOTH(test_a_running_call_may_finish),
        BOTH(test_calls_end_after_the_grace_period),
        BOTH(test_the_second_signal_ends_it_at_once),
        TEST(test_the_second_signal_ends_it_whoever_holds_its_sockets),
        TEST(test_signals_count_although_they_were_blocked),
        TEST(test_what_the_process_had_before_is_spared),
        TEST(test_what_process_1_adopts_is_spared),
        TEST(test_spare_workers_follow_demand),
        BOTH(test_a_reload_reaps_the_keepers_of_the_old_zygote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
