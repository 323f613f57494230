/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/status/status.h"

/* ---- contents ---- */

static const char *const addresses[] = {"unix:/run/x.sock", "tcp:127.0.0.1:7000"};

static const struct ax_status_worker workers[] = {
    {.pid = 101,
     .state = "serving",
     .age_ms = 273600000,
     .memory = 12345678,
     .connections = 1,
     .calls_running = 2,
     .calls_done = 1000000},
    {.pid = 4194304, .state = "spare", .age_ms = 250},
};

static const struct ax_status_connection connections[] = {
    {.id = 7, .peer = "unix:/run/x.sock pid 55 uid 1000", .state = "served", .age_ms = 192000, .worker = 101},
    {.id = 12, .peer = "tcp:127.0.0.1:4242", .state = "handshake", .age_ms = 12000},
};

static struct ax_status example(void)
{
    return (struct ax_status){
        .version = "0.2.0",
        .python = "3.11.2",
        .pid = 99,
        .isolation = "process",
        .state = "serving",
        .as_of_ms = 1700000000123,
        .uptime_ms = 14580000,
        .addresses = addresses,
        .address_count = 2,
        .connections = {.open = 2, .waiting = 0, .handshaking = 1, .total = 12, .refused = 3},
        .limits =
            {
                .connections = 1000,
                .connections_per_source = 100,
                .handshakes = 1024,
                .handshakes_per_source = 896,
                .waiting = 512,
                .worker_memory = 536870912,
            },
        .calls_running = 2,
        .calls_done = 1000005,
        .log_lines_lost = 4,
        .zygote = 100,
        .zygote_age_ms = 14579000,
        .workers = workers,
        .worker_count = 2,
        .connection_rows = connections,
        .connection_row_count = 2,
    };
}

/* The answer as a string, which the caller frees. */
static char *formatted(const struct ax_status *status, enum ax_status_format format)
{
    struct ax_writer writer;
    char *text;

    assert_int_equal(ax_status_format(&writer, status, format), 0);
    assert_false(writer.has_failed);
    text = strndup((const char *)writer.text.data, writer.text.size);
    assert_int_equal(strlen(text), writer.text.size);
    ax_writer_fini(&writer);
    return text;
}

static void test_the_text_is_aligned(void **state)
{
    static const char wanted[] =
        "acrossd 0.2.0, Python 3.11.2, process 99, serving, up 4h 3m\n"
        "isolation    process\n"
        "addresses    unix:/run/x.sock\n"
        "             tcp:127.0.0.1:7000\n"
        "connections  2 open (0 waiting, 1 in their handshake), 12 since the start, 3 refused\n"
        "limits       1000 connections (100 per source), 1024 handshakes (896 per source), 512 waiting, 536.9 MB for "
        "each process of a worker\n"
        "calls        2 running, 1000005 done\n"
        "zygote       process 100, up 4h 2m\n"
        "log          4 lines lost\n"
        "\n"
        " WORKER  STATE      AGE   MEMORY  CONNECTIONS  CALLS     DONE\n"
        "    101  serving  3d 4h  12.3 MB            1      2  1000000\n"
        "4194304  spare    250ms        -            0      0        0\n"
        "\n"
        "CONNECTION  STATE         AGE  WORKER  PEER\n"
        "         7  served     3m 12s     101  unix:/run/x.sock pid 55 uid 1000\n"
        "        12  handshake     12s       -  tcp:127.0.0.1:4242\n";
    struct ax_status status = example();
    char *text = formatted(&status, AX_STATUS_TEXT);
    (void)state;

    assert_string_equal(text, wanted);
    free(text);
}

static void test_the_text_leaves_out_what_there_is_none_of(void **state)
{
    struct ax_status status = example();
    char *text;
    (void)state;

    status.worker_count = 0;
    status.connection_row_count = 0;
    status.zygote = 0;
    memset(&status.limits, 0, sizeof status.limits);
    text = formatted(&status, AX_STATUS_TEXT);
    assert_null(strstr(text, "WORKER"));
    assert_null(strstr(text, "PEER"));
    assert_contains(text, "any number of connections, any number of handshakes, any number of waiting\n");
    assert_contains(text, "zygote       none\n");
    free(text);
}

/* One row of workers, with this age and memory. */
static void assert_quantities(uint64_t ms, uint64_t bytes, const char *part)
{
    struct ax_status_worker worker = {.pid = 1, .state = "spare", .age_ms = ms, .memory = bytes};
    struct ax_status status = example();
    char *text;

    status.workers = &worker;
    status.worker_count = 1;
    text = formatted(&status, AX_STATUS_TEXT);
    assert_contains(text, part);
    free(text);
}

static void test_quantities_have_the_unit_that_reads_best(void **state)
{
    (void)state;
    assert_quantities(0, 1, "  0ms     1 B ");
    assert_quantities(999, 999, "999ms   999 B ");
    assert_quantities(1000, 1000, " 1s  1.0 kB ");
    assert_quantities(59999, 1550, "59s  1.6 kB ");
    assert_quantities(60000, 999900, "1m 0s  999.9 kB ");
    assert_quantities(3599999, 999950, "59m 59s  1.0 MB ");
    assert_quantities(3600000, 999999999, "1h 0m  1.0 GB ");
    assert_quantities(86399999, 1500000000000, "23h 59m  1.5 TB ");
    assert_quantities(86400000, UINT64_MAX, "1d 0h  18.4 EB ");
}

static void test_the_text_is_one_line_for_each_peer(void **state)
{
    struct ax_status_connection connection = {.id = 1, .peer = "unix:/a\nb\x1b[31m\xff pid 1", .state = "served"};
    struct ax_status status = example();
    char *text;
    (void)state;

    status.connection_rows = &connection;
    status.connection_row_count = 1;
    text = formatted(&status, AX_STATUS_TEXT);
    assert_contains(text, "  unix:/a b [31m? pid 1\n");
    free(text);
}

/* ---- JSON ---- */

/* Runs a Python program with this text as `status`; returns its exit status. */
static int judge(const char *text, const char *program)
{
    char script[4096];
    int fds[2];
    int status;
    pid_t pid;

    snprintf(script, sizeof script, "import json, sys\nstatus = json.load(sys.stdin.buffer)\n%s", program);
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[0], STDIN_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(AX_PYTHON_EXECUTABLE, AX_PYTHON_EXECUTABLE, "-I", "-S", "-c", script, (char *)NULL);
        _exit(127);
    }
    close(fds[0]);
    for (size_t size = strlen(text); size > 0;) {
        ssize_t written = write(fds[1], text, size);

        assert_true(written > 0);
        text += written;
        size -= (size_t)written;
    }
    close(fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_json_has_all_of_it(void **state)
{
    static const char program[] =
        "assert status == {\n"
        "    'acrossd': '0.2.0', 'format': 1, 'python': '3.11.2', 'pid': 99, 'isolation': 'process',\n"
        "    'state': 'serving', 'as_of_ms': 1700000000123, 'uptime_ms': 14580000, 'addresses': ['unix:/run/x.sock', "
        "'tcp:127.0.0.1:7000'],\n"
        "    'connection_counts': {'open': 2, 'waiting': 0, 'handshaking': 1, 'total': 12, 'refused': 3},\n"
        "    'call_counts': {'running': 2, 'done': 1000005}, 'log_lines_lost': 4,\n"
        "    'limits': {'connections': 1000, 'connections_per_source': 100, 'handshakes': 1024,\n"
        "               'handshakes_per_source': 896, 'waiting': 512,\n"
        "               'worker_memory_bytes': 536870912, 'worker_memory_scope': 'process', 'worker_tasks': None},\n"
        "    'worker_groups': False,\n"
        "    'zygote': {'pid': 100, 'age_ms': 14579000},\n"
        "    'workers': [\n"
        "        {'pid': 101, 'state': 'serving', 'age_ms': 273600000, 'memory_bytes': 12345678, 'connections': 1,\n"
        "         'calls_running': 2, 'calls_done': 1000000},\n"
        "        {'pid': 4194304, 'state': 'spare', 'age_ms': 250, 'memory_bytes': None, 'connections': 0,\n"
        "         'calls_running': 0, 'calls_done': 0}],\n"
        "    'workers_omitted': 0,\n"
        "    'connections': [\n"
        "        {'id': 7, 'peer': 'unix:/run/x.sock pid 55 uid 1000', 'state': 'served', 'age_ms': 192000,\n"
        "         'worker': 101},\n"
        "        {'id': 12, 'peer': 'tcp:127.0.0.1:4242', 'state': 'handshake', 'age_ms': 12000, 'worker': None}],\n"
        "    'connections_omitted': 0,\n"
        "}, status\n";
    struct ax_status status = example();
    char *text = formatted(&status, AX_STATUS_JSON);
    (void)state;

    assert_int_equal(judge(text, program), 0);
    assert_int_equal(strncmp(text, AX_STATUS_JSON_START, strlen(AX_STATUS_JSON_START)), 0);
    assert_string_equal(text + strlen(text) - 2, "}\n");
    free(text);
}

static void test_json_says_null_for_what_there_is_none_of(void **state)
{
    static const char program[] = "assert set(status['limits'].values()) == {None}\n"
                                  "assert status['zygote'] is None\n"
                                  "assert status['workers'] == status['connections'] == status['addresses'] == []\n";
    struct ax_status status = example();
    char *text;
    (void)state;

    memset(&status.limits, 0, sizeof status.limits);
    status.address_count = status.worker_count = status.connection_row_count = 0;
    status.zygote = 0;
    text = formatted(&status, AX_STATUS_JSON);
    assert_int_equal(judge(text, program), 0);
    free(text);
}

static void test_json_escapes_what_it_must(void **state)
{
    static const char program[] = "assert status['connections'][0]['peer'] == "
                                  "'unix:/\"\\\\\\n\\t\\x01\\x7f \\u00fc\\u20ac\\U0001f600 ??? ?\"? end', "
                                  "ascii(status['connections'])\n";
    struct ax_status_connection connection = {
        .id = 1,
        .peer = "unix:/\"\\\n\t\x01\x7f \xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80 \xff\xc0\xaf \xc3\"\xe2 end",
        .state = "served",
    };
    struct ax_status status = example();
    char *text;
    (void)state;

    status.connection_rows = &connection;
    status.connection_row_count = 1;
    text = formatted(&status, AX_STATUS_JSON);
    assert_int_equal(judge(text, program), 0);
    free(text);
}

static void test_json_holds_the_largest_numbers(void **state)
{
    struct ax_status status = example();
    char *text;
    (void)state;

    status.calls_done = status.uptime_ms = status.connections.total = UINT64_MAX;
    text = formatted(&status, AX_STATUS_JSON);
    assert_int_equal(judge(text, "assert status['call_counts']['done'] == status['uptime_ms'] == 2**64 - 1\n"), 0);
    free(text);
}

/* ---- many rows ---- */

static size_t count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static struct ax_status many(size_t worker_count, size_t connection_count, const char *peer)
{
    struct ax_status_worker *all = calloc(worker_count, sizeof *all);
    struct ax_status_connection *rows = calloc(connection_count, sizeof *rows);
    struct ax_status status = example();

    assert_true(all != NULL && rows != NULL);
    for (size_t i = 0; i < worker_count; i++)
        all[i] = (struct ax_status_worker){.pid = (pid_t)(i + 1), .state = "serving", .calls_done = i};
    for (size_t i = 0; i < connection_count; i++)
        rows[i] = (struct ax_status_connection){.id = i, .peer = peer, .state = "served", .worker = (pid_t)i};
    status.workers = all;
    status.worker_count = worker_count;
    status.connection_rows = rows;
    status.connection_row_count = connection_count;
    return status;
}

static void many_free(struct ax_status *status)
{
    free((void *)status->workers);
    free((void *)status->connection_rows);
}

static void test_shows_a_thousand_workers(void **state)
{
    static const char program[] = "assert [row['pid'] for row in status['workers']] == list(range(1, 1001))\n"
                                  "assert [row['id'] for row in status['connections']] == list(range(2000))\n";
    struct ax_status status = many(1000, 2000, "tcp:127.0.0.1:4242");
    char *text = formatted(&status, AX_STATUS_TEXT);
    (void)state;

    assert_int_equal(count_lines(text), 9 + 2 + 1000 + 2 + 2000);
    free(text);
    text = formatted(&status, AX_STATUS_JSON);
    assert_int_equal(judge(text, program), 0);
    free(text);
    many_free(&status);
}

/* With peers whose every byte JSON escapes with six bytes. */
static void test_more_rows_than_are_shown_are_counted(void **state)
{
    static const char program[] = "assert len(status['workers']) == len(status['connections']) == 4096\n"
                                  "assert status['workers_omitted'] == 1\n"
                                  "assert status['connections_omitted'] == 904\n";
    struct ax_status status;
    char peer[160];
    char *text;
    (void)state;

    memset(peer, 1, sizeof peer);
    peer[sizeof peer - 1] = '\0';
    status = many(AX_STATUS_ROWS_MAX + 1, 5000, peer);
    text = formatted(&status, AX_STATUS_TEXT);
    assert_int_equal(count_lines(text), 9 + 2 * (2 + AX_STATUS_ROWS_MAX + 1));
    assert_contains(text, "\nand 1 more workers\n");
    assert_contains(text, "\nand 904 more connections\n");
    free(text);
    text = formatted(&status, AX_STATUS_JSON);
    assert_int_equal(judge(text, program), 0);
    free(text);
    many_free(&status);
}

static void test_an_answer_beyond_the_bound_is_none(void **state)
{
    struct ax_status status = example();
    struct ax_writer writer;
    char *long_text = malloc(AX_STATUS_SIZE_MAX + 1);
    (void)state;

    memset(long_text, 'x', AX_STATUS_SIZE_MAX);
    long_text[AX_STATUS_SIZE_MAX] = '\0';
    status.isolation = long_text;
    assert_int_equal(ax_status_format(&writer, &status, AX_STATUS_TEXT), -1);
    assert_int_equal(ax_status_format(&writer, &status, AX_STATUS_JSON), -1);
    free(long_text);
}

/* ---- memory ---- */

static void test_memory_grows_with_what_is_used(void **state)
{
    enum { SIZE = 16 << 20 };
    uint64_t before = ax_status_memory(getpid());
    uint64_t after;
    void *block = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)state;

    if (has_sanitizer())
        skip();
    assert_true(block != MAP_FAILED);
    assert_true(before > 0);
    memset(block, 1, SIZE);
    after = ax_status_memory(getpid());
    assert_true(after >= before + SIZE * 9 / 10 && after <= before + SIZE * 11 / 10);
    munmap(block, SIZE);
}

/* Half of a block counts for the child that shares it. */
static void test_memory_counts_shared_pages_in_parts(void **state)
{
    enum { SIZE = 64 << 20 };
    char *block = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t alone, shared;
    int fds[2];
    pid_t pid;
    (void)state;

    assert_true(block != MAP_FAILED);
    memset(block, 1, SIZE);
    alone = ax_status_memory(getpid());
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte;

        close(fds[1]);
        _exit((int)read(fds[0], &byte, 1)); /* until the test has looked */
    }
    shared = ax_status_memory(pid);
    close(fds[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(fds[0]);
    munmap(block, SIZE);
    if (alone < SIZE) /* PSS is not available here */
        skip();
    assert_true(shared < alone * 3 / 4);
    assert_true(shared > SIZE / 4);
}

static void test_the_memory_of_no_process_is_unknown(void **state)
{
    pid_t pid = fork();
    siginfo_t info;
    (void)state;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(ax_status_memory(pid), 0); /* dead, but not yet reaped */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(ax_status_memory(pid), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_text_is_aligned),
        cmocka_unit_test(test_the_text_leaves_out_what_there_is_none_of),
        cmocka_unit_test(test_quantities_have_the_unit_that_reads_best),
        cmocka_unit_test(test_the_text_is_one_line_for_each_peer),
        cmocka_unit_test(test_json_has_all_of_it),
        cmocka_unit_test(test_json_says_null_for_what_there_is_none_of),
        cmocka_unit_test(test_json_escapes_what_it_must),
        cmocka_unit_test(test_json_holds_the_largest_numbers),
        cmocka_unit_test(test_shows_a_thousand_workers),
        cmocka_unit_test(test_more_rows_than_are_shown_are_counted),
        cmocka_unit_test(test_an_answer_beyond_the_bound_is_none),
        cmocka_unit_test(test_memory_grows_with_what_is_used),
        cmocka_unit_test(test_memory_counts_shared_pages_in_parts),
        cmocka_unit_test(test_the_memory_of_no_process_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
