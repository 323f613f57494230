/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "program.h"

static struct program program;

#define START(wiring, ...) program_start(&program, wiring, (const char *const[]){"--stdio", __VA_ARGS__})

static void send_text(const char *text)
{
    assert_int_equal(write(program.in, text, strlen(text)), strlen(text));
}

static void assert_answer(const char *text)
{
    char answer[64];
    size_t size = 0;

    while (size < strlen(text)) {
        ssize_t got = read(program.out, answer + size, strlen(text) - size);

        if (got <= 0)
            fail_msg("%zu of the %zu bytes of \"%s\" came", size, strlen(text), text);
        size += (size_t)got;
    }
    assert_memory_equal(answer, text, size);
}

static void assert_end_of_output(void)
{
    char byte;

    assert_int_equal(read(program.out, &byte, 1), 0);
}

static void serve(enum program_wiring wiring)
{
    START(wiring, NULL);
    send_text("hello");
    assert_answer("hello");
    program_close_input(&program);
    assert_end_of_output();
    assert_int_equal(program_wait(&program), 0);
    assert_string_equal(program.log, "");
}

static void test_serves_pipes_until_they_end(void **state)
{
    (void)state;
    serve(WITH_PIPES);
}

static void test_serves_a_socket_until_it_ends(void **state)
{
    (void)state;
    serve(WITH_SOCKET);
}

static int alive[2]; /* a pipe whose write end the unrelated child holds */
static int over[2];  /* closing it ends the unrelated child */

/* A child of the process that becomes acrossd, with no other descriptors open. */
static void have_a_child(void)
{
    char ignored;

    if (fork() > 0)
        return;
    for (int fd = 0; fd < 64; fd++)
        if (fd != alive[1] && fd != over[0])
            close(fd);
    _exit(read(over[0], &ignored, 1) == 0 ? 0 : 1);
}

static void test_what_the_process_had_before_is_spared(void **state)
{
    struct pollfd item;
    (void)state;

    assert_int_equal(pipe2(alive, O_CLOEXEC) | pipe2(over, O_CLOEXEC), 0);
    program_prepare = have_a_child;
    serve(WITH_SOCKET); /* ends although acrossd-init had the socket, too */
    close(alive[1]);
    item = (struct pollfd){.fd = alive[0]};
    assert_int_equal(poll(&item, 1, 0), 0);
    close(over[1]);
    assert_int_equal(poll(&item, 1, -1), 1);
    close(alive[0]);
    close(over[0]);
}

static void user_code_prints(enum program_wiring wiring)
{
    START(wiring, NULL);
    send_text("P");
    assert_answer("P"); /* and nothing before it */
    program_close_input(&program);
    assert_end_of_output();
    assert_int_equal(program_wait(&program), 0);
    assert_string_equal(program.log, "printed\n");
}

/* The echo host also reports if there was anything to read from standard input. */
static void test_what_user_code_prints_goes_to_standard_error(void **state)
{
    (void)state;
    user_code_prints(WITH_PIPES);
    user_code_prints(WITH_SOCKET);
}

static void test_a_broken_connection_is_a_failure(void **state)
{
    (void)state;
    START(WITH_PIPES, NULL);
    send_text("E");
    assert_int_equal(program_wait(&program), 1);
    assert_string_equal(program.log, "acrossd: the connection broke: broken on purpose\n");
}

static void test_files_are_refused(void **state)
{
    (void)state;
    START(WITH_NULL, NULL);
    assert_int_equal(program_wait(&program), 2);
    assert_contains(program.log, "acrossd: --stdio needs pipes or sockets");
    assert_ptr_equal(strchr(program.log, '\n'), program.log + program.log_size - 1); /* one line */
}

static void test_a_signal_stops_it_in_order(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        START(WITH_PIPES, NULL);
        send_text("x");
        assert_answer("x");
        program_signal(&program, numbers[i]);
        assert_end_of_output();
        assert_int_equal(program_wait(&program), 0);
    }
}

static void test_a_running_call_may_finish(void **state)
{
    (void)state;
    START(WITH_PIPES, "--grace=86400", NULL);
    send_text("B");
    assert_answer("B");
    program_signal(&program, SIGTERM);
    send_text("D");
    assert_answer("D");
    assert_end_of_output();
    assert_int_equal(program_wait(&program), 0);
    assert_string_equal(program.log, "");
}

static void test_the_grace_period_bounds_what_calls_do_without_their_client(void **state)
{
    (void)state;
    START(WITH_PIPES, "--grace=0.1", NULL);
    send_text("B");
    assert_answer("B");
    program_close_input(&program);
    assert_int_equal(program_wait(&program), 0);
    assert_string_equal(program.log, "acrossd: calls that still ran after 0.100 seconds of grace, and were ended: 1\n");
}

/* The worker neither notices the end nor ends by itself: it is told to, and why. */
static void test_a_worker_that_does_not_end_is_told_why_it_has_to(void **state)
{
    (void)state;
    START(WITH_PIPES, "--grace=0", NULL);
    send_text("S");
    assert_answer("S");
    program_close_input(&program);
    assert_int_equal(program_wait(&program), 1);
    assert_string_equal(program.log, "acrossd: the connection broke: The client has gone\n");
    START(WITH_PIPES, "--grace=0", NULL);
    send_text("S");
    assert_answer("S");
    program_signal(&program, SIGTERM);
    assert_int_equal(program_wait(&program), 1);
    assert_string_equal(program.log, "acrossd: the connection broke: The server is stopping\n");
}

static void test_the_second_signal_ends_it_at_once(void **state)
{
    (void)state;
    START(WITH_PIPES, "--grace=86400", NULL);
    send_text("B");
    assert_answer("B");
    program_signal(&program, SIGTERM);
    program_signal(&program, SIGINT);
    assert_int_equal(program_wait(&program), 0);
}

static void test_an_interpreter_that_does_not_start_is_a_failure(void **state)
{
    (void)state;
    setenv("ECHO_HOST_FAIL", "/", 1);
    START(WITH_PIPES, NULL);
    unsetenv("ECHO_HOST_FAIL");
    assert_int_equal(program_wait(&program), 1);
    assert_contains(program.log, "acrossd: the interpreter did not start, for the reason above\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves_pipes_until_they_end),
        cmocka_unit_test(test_serves_a_socket_until_it_ends),
        cmocka_unit_test(test_what_the_process_had_before_is_spared),
        cmocka_unit_test(test_what_user_code_prints_goes_to_standard_error),
        cmocka_unit_test(test_a_broken_connection_is_a_failure),
        cmocka_unit_test(test_files_are_refused),
        cmocka_unit_test(test_a_signal_stops_it_in_order),
        cmocka_unit_test(test_a_running_call_may_finish),
        cmocka_unit_test(test_the_grace_period_bounds_what_calls_do_without_their_client),
        cmocka_unit_test(test_a_worker_that_does_not_end_is_told_why_it_has_to),
        cmocka_unit_test(test_the_second_signal_ends_it_at_once),
        cmocka_unit_test(test_an_interpreter_that_does_not_start_is_a_failure),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
