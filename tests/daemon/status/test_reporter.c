/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/socket.h>
#include <unistd.h>

#include "daemon/status/reporter.h"

static uv_loop_t loop;
static struct ax_reporter reporter;
static struct ax_replies replies;
static int gathered; /* how often the report's source was requested */

/* A supervisor without anything. */
static struct ax_options options;
static struct ax_acceptor acceptor;
static struct ax_clients clients;
static struct ax_pool pool;

static void gather(void *owner, struct ax_report_source *source)
{
    assert_ptr_equal(owner, &options);
    gathered++;
    *source = (struct ax_report_source){
        .options = &options, .acceptor = &acceptor, .clients = &clients, .pool = &pool, .now = uv_now(&loop)};
}

static int set_up(void **state)
{
    (void)state;
    gathered = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    replies = (struct ax_replies){.loop = &loop};
    return ax_reporter_init(&reporter, &loop, &replies, gather, &options);
}

static int tear_down(void **state)
{
    (void)state;
    ax_reporter_close(&reporter);
    ax_replies_end(&replies);
    uv_run(&loop, UV_RUN_DEFAULT);
    ax_reporter_free_memory(&reporter);
    return uv_loop_close(&loop);
}

static int ask(enum ax_status_format format)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ax_reporter_answer(&reporter, pair[1], format);
    return pair[0];
}

/* The whole answer, which is the caller's. "" if there is none. */
static char *read_answer(int fd)
{
    char *text = calloc(1, 65536);
    size_t size = 0;
    ssize_t got;

    assert_non_null(text);
    while ((got = recv(fd, text + size, 65535 - size, 0)) != 0) {
        if (got > 0)
            size += (size_t)got;
        else
            uv_run(&loop, UV_RUN_NOWAIT);
    }
    close(fd);
    return text;
}

/* The loop's clock stands still while it does not run: no time passes between the requests. */
static void test_who_asks_again_gets_the_same(void **state)
{
    char *first = read_answer(ask(AX_STATUS_JSON));
    int before = gathered;
    (void)state;

    assert_memory_equal(first, AX_STATUS_JSON_START, strlen(AX_STATUS_JSON_START));
    for (int i = 0; i < 10; i++) {
        reporter.answers[AX_STATUS_JSON].made_at = uv_now(&loop); /* it counts as new, however slow this test is */
        int fd = ask(AX_STATUS_JSON);
        char *again = read_answer(fd);

        assert_string_equal(again, first);
        free(again);
    }
    assert_int_equal(gathered, before);
    free(first);
}

static void test_an_old_answer_is_made_anew(void **state)
{
    int before;
    (void)state;

    free(read_answer(ask(AX_STATUS_TEXT)));
    before = gathered;
    reporter.answers[AX_STATUS_TEXT].made_at -= AX_REPORTER_MS;
    reporter.read_at -= AX_REPORTER_MS;
    free(read_answer(ask(AX_STATUS_TEXT)));
    assert_true(gathered > before);
}

/* Requests during a reading wait for it together. Of too many, some get no answer. */
static void test_many_at_once_are_answered_with_one_report(void **state)
{
    int fds[AX_REPLIES_MAX + 4];
    size_t answered = 0;
    (void)state;

    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = ask(AX_STATUS_JSON);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        char *text = read_answer(fds[i]);

        answered += text[0] != '\0';
        free(text);
    }
    assert_true(answered >= AX_REPLIES_MAX);
    assert_true(gathered <= (int)AX_REPLIES_MAX / 2); /* twice, unless this test takes seconds */
}

static void test_who_waits_at_the_end_sees_it(void **state)
{
    int fd = ask(AX_STATUS_JSON);
    char byte;
    (void)state;

    ax_reporter_close(&reporter);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(ax_reporter_init(&reporter, &loop, &replies, gather, &options), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_asks_again_gets_the_same),
        TEST(test_an_old_answer_is_made_anew),
        TEST(test_many_at_once_are_answered_with_one_report),
        TEST(test_who_waits_at_the_end_sees_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
