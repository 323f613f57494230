/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/process/control.h"

static void make_pair(int fds[2])
{
    assert_int_equal(ax_control_pair(fds), 0);
}

static void close_pair(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void test_keeps_messages_apart(void **state)
{
    struct ax_control sent = {.type = AX_CONTROL_ENDED, .connection = UINT64_MAX - 1};
    struct ax_control stop = {.type = AX_CONTROL_STOP, .value = 1234};
    struct ax_control got;
    struct ax_control_fds got_fds;
    int fds[2];
    (void)state;

    make_pair(fds);
    ax_control_set_text(&sent, "why", 3);
    assert_int_equal(ax_control_send(fds[0], &sent, NULL), 0);
    assert_int_equal(ax_control_send(fds[0], &stop, NULL), 0);
    assert_int_equal(ax_control_receive(fds[1], &got, &got_fds), 1);
    assert_int_equal(got_fds.fd[0], -1);
    assert_int_equal(got.type, AX_CONTROL_ENDED);
    assert_true(got.connection == UINT64_MAX - 1);
    assert_string_equal((const char *)got.text, "why");
    assert_int_equal(ax_control_receive(fds[1], &got, &got_fds), 1);
    assert_int_equal(got.type, AX_CONTROL_STOP);
    assert_int_equal(got.value, 1234);
    assert_int_equal(got.size, 0);
    close_pair(fds);
}

static void test_carries_a_descriptor(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_CONNECTION, .connection = 5};
    struct ax_control_fds got_fds;
    int fds[2], pipes[2];
    char byte = 0;
    (void)state;

    make_pair(fds);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(ax_control_send(fds[0], &message, &(struct ax_control_fds){{pipes[1], -1}}), 0);
    close(pipes[1]); /* the message keeps it open */
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), 1);
    assert_true(got_fds.fd[0] >= 0);
    assert_int_equal(got_fds.fd[1], -1);
    assert_int_equal(fcntl(got_fds.fd[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(got_fds.fd[0], "x", 1), 1);
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    ax_control_close(&got_fds);
    assert_int_equal(read(pipes[0], &byte, 1), 0); /* no other descriptor of it is open */
    close(pipes[0]);
    close_pair(fds);
}

static void test_carries_two_descriptors(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_FORK};
    struct ax_control_fds got_fds;
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_int_equal(ax_control_send(fds[0], &message, &(struct ax_control_fds){{STDIN_FILENO, STDERR_FILENO}}), 0);
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(fcntl(got_fds.fd[i], F_GETFD), FD_CLOEXEC);
    ax_control_close(&got_fds);
    assert_int_equal(got_fds.fd[1], -1);
    close_pair(fds);
}

static void test_cuts_a_long_text(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_ENDED};
    char text[AX_CONTROL_TEXT + 100];
    struct ax_control_fds got_fds;
    int fds[2];
    (void)state;

    memset(text, 'y', sizeof text);
    make_pair(fds);
    ax_control_set_text(&message, text, sizeof text);
    assert_int_equal(ax_control_send(fds[0], &message, NULL), 0);
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), 1);
    assert_int_equal(message.size, AX_CONTROL_TEXT);
    assert_int_equal(message.text[AX_CONTROL_TEXT], '\0');
    close_pair(fds);
}

static void test_refuses_what_is_no_message(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_STOP, .size = 7}; /* claims more than it contains */
    char huge[sizeof message + 100] = {0};
    struct ax_control_fds got_fds;
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_int_equal(send(fds[0], "abc", 3, 0), 3);
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), -EPROTO);
    message = (struct ax_control){.type = AX_CONTROL_STOP, .size = 7};
    assert_true(send(fds[0], &message, offsetof(struct ax_control, text) + 6, 0) > 0);
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), -EPROTO);
    assert_true(send(fds[0], huge, sizeof huge, 0) > 0);
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), -EPROTO);
    close_pair(fds);
}

static void test_tells_when_the_other_side_is_gone(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_READY};
    struct ax_control_fds got_fds;
    int fds[2];
    (void)state;

    make_pair(fds);
    assert_int_equal(ax_control_send(fds[0], &message, NULL), 0);
    close(fds[0]);
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), 1); /* what it sent before is still delivered */
    assert_int_equal(ax_control_receive(fds[1], &message, &got_fds), 0);
    assert_int_equal(ax_control_send(fds[1], &message, NULL), -EPIPE);
    close(fds[1]);
}

/* Queued descriptors count against the limit of open files: it must not be reached before the buffer is full. */
static void test_a_busy_receiver_makes_it_wait_even_with_few_files(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_CONNECTION};
    struct rlimit before, few;
    struct ax_control_fds got_fds;
    int fds[2], code, count = 0;
    (void)state;

    ax_control_set_text(&message, "0123456789abcdef", 16);
    make_pair(fds);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((code = ax_control_send(fds[0], &message, &(struct ax_control_fds){{STDIN_FILENO, -1}})) == 0)
        count++;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(code, -EAGAIN);
    assert_true(count >= 4 && count <= 60);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    while (ax_control_receive(fds[1], &message, &got_fds) == 1) {
        count--;
        ax_control_close(&got_fds);
    }
    assert_int_equal(count, 0);
    close_pair(fds);
}

static void test_a_descriptor_too_many_is_missing_from_its_message(void **state)
{
    struct ax_control message = {.type = AX_CONTROL_CONNECTION, .connection = 9};
    struct rlimit before, few;
    struct ax_control_fds got_fds;
    int fds[2], code;
    (void)state;

    make_pair(fds);
    assert_int_equal(ax_control_send(fds[0], &message, &(struct ax_control_fds){{STDIN_FILENO, -1}}), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    code = ax_control_receive(fds[1], &message, &got_fds);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(code, 1);
    assert_int_equal(message.connection, 9);
    assert_int_equal(got_fds.fd[0], -1);
    close_pair(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_messages_apart),
        cmocka_unit_test(test_carries_a_descriptor),
        cmocka_unit_test(test_carries_two_descriptors),
        cmocka_unit_test(test_cuts_a_long_text),
        cmocka_unit_test(test_refuses_what_is_no_message),
        cmocka_unit_test(test_tells_when_the_other_side_is_gone),
        cmocka_unit_test(test_a_busy_receiver_makes_it_wait_even_with_few_files),
        cmocka_unit_test(test_a_descriptor_too_many_is_missing_from_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
