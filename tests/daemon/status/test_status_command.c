/* SPDX-License-Identifier: MIT */
/* The command runs in a process of its own; the test is its server. */
#include "testing.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/status/status.h"
#include "daemon/status/status_command.h"

#define WORDS_MAX 8
#define LONG_SIZE (8u << 20) /* more than any buffer of a socket or a pipe */

/* ---- the server ---- */

static char *folder;
static int listener;            /* on the unix socket */
static struct sockaddr_un name; /* its own */
static char address[128];       /* the same, as a command line argument */

static int set_up(void **state)
{
    (void)state;

    folder = make_folder();
    name.sun_family = AF_UNIX;
    snprintf(name.sun_path, sizeof name.sun_path, "%s/a.sock", folder);
    snprintf(address, sizeof address, "unix:%s", name.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(listener, (struct sockaddr *)&name, sizeof name) < 0 || listen(listener, 8) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(listener);
    unlink(name.sun_path);
    rmdir(folder);
    free(folder);
    return 0;
}

/* Accepts the command's connection, and reads its request. */
static int accept_request(int fd, enum ax_status_format *format)
{
    unsigned char request[AX_SUPERBLOCK_SIZE];
    char reason[256] = "";
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    assert_true(accepted >= 0);
    assert_int_equal(recv(accepted, request, sizeof request, MSG_WAITALL), sizeof request);
    if (ax_status_request_decode(format, request, reason, sizeof reason) < 0)
        fail_msg("%s", reason);
    return accepted;
}

static void send_all(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);

        assert_true(sent > 0);
        text += sent;
        size -= (size_t)sent;
    }
}

/* Answers one request with this text. */
static void serve(int fd, enum ax_status_format wanted, const char *answer)
{
    enum ax_status_format format = AX_STATUS_TEXT;
    int accepted = accept_request(fd, &format);

    assert_int_equal(format, wanted);
    send_all(accepted, answer, strlen(answer));
    close(accepted);
}

/* ---- the command ---- */

struct command {
    pid_t pid;
    FILE *out; /* temporary files; NULL: none, or closed */
    FILE *err;
    char said[1024]; /* its standard error, once it has ended */
};

/* Starts `acrossd status` with these words, the last one being NULL. out_fd -1: into a file. */
static void start_into(struct command *command, int out_fd, const char *const *words)
{
    char *argv[WORDS_MAX + 3] = {(char *)"acrossd", (char *)"status"};
    int argc = 2;

    for (; words[argc - 2] != NULL; argc++)
        argv[argc] = (char *)words[argc - 2];
    *command = (struct command){.out = tmpfile(), .err = tmpfile()};
    assert_true(command->out != NULL && command->err != NULL);
    fflush(NULL);
    command->pid = fork();
    assert_true(command->pid >= 0);
    if (command->pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        dup2(out_fd >= 0 ? out_fd : fileno(command->out), STDOUT_FILENO);
        dup2(fileno(command->err), STDERR_FILENO);
        argc = ax_status_command(argc, argv);
        fflush(stderr);
        _exit(argc);
    }
}

#define START(command, ...) start_into((command), -1, (const char *const[]){__VA_ARGS__, NULL})

/* Its exit status, or 128 and a signal's number. */
static int finish(struct command *command)
{
    size_t size;
    int status;

    assert_int_equal(waitpid(command->pid, &status, 0), command->pid);
    rewind(command->err);
    size = fread(command->said, 1, sizeof command->said - 1, command->err);
    command->said[size] = '\0';
    fclose(command->err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void assert_printed(struct command *command, const char *wanted)
{
    size_t size = strlen(wanted);
    char *text = calloc(1, size + 2);

    rewind(command->out);
    assert_int_equal(fread(text, 1, size + 1, command->out), size);
    assert_memory_equal(text, wanted, size);
    free(text);
    fclose(command->out);
}

/* It exited with this status, printed nothing, and wrote one message that contains this. */
static void assert_failed(struct command *command, int status, const char *part)
{
    int found = finish(command);

    assert_contains(command->said, part);
    assert_int_equal(found, status);
    assert_int_equal(strncmp(command->said, "acrossd: ", 9), 0);
    assert_ptr_equal(strchr(command->said, '\n'), command->said + strlen(command->said) - 1);
    assert_printed(command, "");
}

/* ---- answers ---- */

static void test_prints_the_text(void **state)
{
    static const char answer[] = "acrossd 0.2.0, and so on\nmore\n";
    struct command command;
    (void)state;

    START(&command, address);
    serve(listener, AX_STATUS_TEXT, answer);
    assert_int_equal(finish(&command), 0);
    assert_string_equal(command.said, "");
    assert_printed(&command, answer);
}

static void test_prints_json(void **state)
{
    static const char answer[] = "{\"acrossd\": \"0.2.0\"}\n";
    struct command command;
    (void)state;

    START(&command, "--json", address);
    serve(listener, AX_STATUS_JSON, answer);
    assert_int_equal(finish(&command), 0);
    assert_printed(&command, answer);
}

static char *long_answer(void)
{
    char *text = malloc(LONG_SIZE + 1);

    memset(text, 'x', LONG_SIZE);
    memcpy(text, AX_STATUS_TEXT_START, strlen(AX_STATUS_TEXT_START));
    text[LONG_SIZE - 1] = '\n';
    text[LONG_SIZE] = '\0';
    return text;
}

static void test_prints_a_long_answer_whole(void **state)
{
    char *answer = long_answer();
    struct command command;
    (void)state;

    START(&command, address);
    serve(listener, AX_STATUS_TEXT, answer);
    assert_int_equal(finish(&command), 0);
    assert_printed(&command, answer);
    free(answer);
}

static void test_an_answer_may_come_in_pieces(void **state)
{
    static const char answer[] = "acrossd in pieces\n";
    enum ax_status_format format;
    struct command command;
    int accepted;
    (void)state;

    START(&command, address, "--timeout", "60");
    accepted = accept_request(listener, &format);
    for (size_t i = 0; i < strlen(answer); i++)
        send_all(accepted, answer + i, 1);
    close(accepted);
    assert_int_equal(finish(&command), 0);
    assert_printed(&command, answer);
}

static void test_a_reader_that_is_gone_is_no_signal(void **state)
{
    static const char answer[] = "acrossd 0.2.0\n";
    struct command command;
    int fds[2];
    (void)state;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    start_into(&command, fds[1], (const char *const[]){address, NULL});
    serve(listener, AX_STATUS_TEXT, answer);
    assert_failed(&command, 1, "cannot write to standard output: Broken pipe");
    close(fds[1]);
}

/* The second of two addresses answers. */
static void test_tries_every_address_of_a_name(void **state)
{
    struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t size = sizeof own;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int only_6 = 1;
    char text[64];
    struct command command;
    (void)state;

    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_6, sizeof only_6);
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, size) < 0)
        skip();
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &size), 0);
    snprintf(text, sizeof text, "tcp:localhost:%u", ntohs(own.sin6_port));
    START(&command, text);
    serve(fd, AX_STATUS_TEXT, "acrossd 0.2.0\n");
    assert_int_equal(finish(&command), 0);
    assert_printed(&command, "acrossd 0.2.0\n");
    close(fd);
}

/* ---- no answers ---- */

static void test_nobody_listens(void **state)
{
    struct command command;
    char text[160];
    (void)state;

    snprintf(text, sizeof text, "%s.gone", address);
    START(&command, text);
    assert_failed(&command, 1, "nobody listens on unix:");
    close(listener);
    START(&command, address); /* the file still exists */
    assert_failed(&command, 1, "nobody listens on unix:");
    listener = -1;
}

static void test_nobody_listens_on_a_port(void **state)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof own;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[64];
    struct command command;
    (void)state;

    assert_int_equal(bind(fd, (struct sockaddr *)&own, size), 0); /* and no other process can take it */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &size), 0);
    snprintf(text, sizeof text, "tcp:127.0.0.1:%u", ntohs(own.sin_port));
    START(&command, text);
    assert_failed(&command, 1, "nobody listens on tcp:127.0.0.1:");
    close(fd);
}

static void test_what_is_no_acrossd_is_said(void **state)
{
    static const char *const answers[] = {"", "a", "HTTP/1.1 400 Bad Request\r\n\r\n", "{\"acrossd\": \"0.2.0\"}\n"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        struct command command;

        START(&command, address);
        serve(listener, AX_STATUS_TEXT, answers[i]);
        assert_failed(&command, 1, "gave no status: it is no acrossd");
    }
}

/* An older acrossd closes as soon as it has read the magic. */
static void test_a_peer_that_reads_only_a_part_is_none(void **state)
{
    unsigned char magic[4];
    struct command command;
    int accepted;
    (void)state;

    START(&command, address);
    accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(recv(accepted, magic, sizeof magic, MSG_WAITALL), sizeof magic);
    close(accepted);
    assert_failed(&command, 1, "gave no status");
}

static void test_a_peer_that_closes_at_once_is_none(void **state)
{
    struct command command;
    (void)state;

    START(&command, address);
    close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    assert_failed(&command, 1, "gave no status");
}

static void test_half_an_answer_is_not_printed(void **state)
{
    struct command command;
    (void)state;

    START(&command, address);
    serve(listener, AX_STATUS_TEXT, "acrossd 0.2.0, Python");
    assert_failed(&command, 1, "is cut short");
    START(&command, address, "--json");
    serve(listener, AX_STATUS_JSON, "{\"acrossd\": \"0.2.0\",\n");
    assert_failed(&command, 1, "is cut short");
}

static void test_an_answer_that_never_comes_is_not_waited_for(void **state)
{
    struct command command;
    (void)state;

    START(&command, address, "--timeout=0.05");
    assert_failed(&command, 1, "did not answer within 0.05 s"); /* the kernel has accepted for us */
}

/* Each byte arrives in time, but the whole answer does not. */
static void test_the_time_is_for_the_whole_answer(void **state)
{
    enum ax_status_format format;
    struct command command;
    struct pollfd gone = {0};
    int accepted;
    (void)state;

    START(&command, address, "--timeout=0.2");
    accepted = gone.fd = accept_request(listener, &format);
    while (send(accepted, "acrossd ", 8, MSG_NOSIGNAL) > 0)
        poll(&gone, 1, 1); /* slowly, until the other side leaves */
    close(accepted);
    assert_failed(&command, 1, "did not answer within 0.2 s");
}

/* The backlog is full: connect() itself blocks. */
static void test_a_full_queue_is_not_waited_for(void **state)
{
    struct command command;
    int fds[16];
    size_t count = 0;
    (void)state;

    for (; count < COUNT_OF(fds); count++) {
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fds[count], (struct sockaddr *)&name, sizeof name) < 0)
            break;
    }
    assert_true(count < COUNT_OF(fds));
    START(&command, address, "--timeout=0.05");
    assert_failed(&command, 1, "nobody answers at unix:");
    for (size_t i = 0; i <= count; i++)
        close(fds[i]);
}

/* ---- usage ---- */

static void test_wrong_usage_is_said(void **state)
{
    static const struct {
        const char *words[4];
        const char *part;
    } cases[] = {
        {{NULL}, "needs the address"},
        {{"--json", NULL}, "needs the address"},
        {{"unix:a", "unix:b", NULL}, "unix:b is a second one"},
        {{"unix:a", "--yaml", NULL}, "no option --yaml"},
        {{"unix:a", "--timeoutx=1", NULL}, "no option --timeoutx=1"},
        {{"unix:a", "--timeout", NULL}, "--timeout needs a value"},
        {{"unix:a", "--timeout", "0", NULL}, "not \"0\""},
        {{"unix:a", "--timeout=", NULL}, "not \"\""},
        {{"unix:a", "--timeout=1x", NULL}, "not \"1x\""},
        {{"unix:a", "--timeout=nan", NULL}, "not \"nan\""},
        {{"unix:a", "--timeout=-1", NULL}, "not \"-1\""},
        {{"unix:a", "--timeout=1e9", NULL}, "not \"1e9\""},
        {{"/run/x.sock", NULL}, "write unix:/run/x.sock"},
        {{"tcp:localhost:0", NULL}, "names no port"},
    };
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct command command;

        start_into(&command, -1, cases[i].words);
        assert_failed(&command, 2, cases[i].part);
    }
}

static void test_helps(void **state)
{
    struct command command;
    char text[64] = "";
    (void)state;

    START(&command, "--help");
    assert_int_equal(finish(&command), 0);
    rewind(command.out);
    assert_true(fread(text, 1, sizeof text - 1, command.out) > 0);
    assert_contains(text, "Usage: acrossd status ADDRESS");
    fclose(command.out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_prints_the_text),
        TEST(test_prints_json),
        TEST(test_prints_a_long_answer_whole),
        TEST(test_an_answer_may_come_in_pieces),
        TEST(test_a_reader_that_is_gone_is_no_signal),
        TEST(test_tries_every_address_of_a_name),
        TEST(test_nobody_listens),
        TEST(test_nobody_listens_on_a_port),
        TEST(test_what_is_no_acrossd_is_said),
        TEST(test_a_peer_that_reads_only_a_part_is_none),
        TEST(test_a_peer_that_closes_at_once_is_none),
        TEST(test_half_an_answer_is_not_printed),
        TEST(test_an_answer_that_never_comes_is_not_waited_for),
        TEST(test_the_time_is_for_the_whole_answer),
        TEST(test_a_full_queue_is_not_waited_for),
        TEST(test_wrong_usage_is_said),
        TEST(test_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
