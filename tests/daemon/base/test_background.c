/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "daemon/base/background.h"

static uv_loop_t loop;
static struct ax_background background;

/* A job that blocks until it is released. */
struct task {
    int go[2]; /* a pipe; closing it releases the job */
    pthread_t thread;
    bool blocks_signals;
    atomic_int worked;
    atomic_int done;
    atomic_int dropped;
};

static void work(void *arg)
{
    struct task *task = arg;
    sigset_t mask;
    char ignored;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    task->blocks_signals = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
    task->thread = pthread_self();
    (void)!read(task->go[0], &ignored, 1);
    task->worked++;
}

static void done(void *arg)
{
    struct task *task = arg;

    assert_false(ax_background_is_busy(&background)); /* another job may follow at once */
    task->done++;
}

static void drop(void *arg)
{
    struct task *task = arg;

    task->dropped++;
}

static void begin(struct task *task)
{
    *task = (struct task){0};
    assert_int_equal(pipe(task->go), 0);
    assert_int_equal(ax_background_run(&background, work, done, drop, task), 0);
    assert_true(ax_background_is_busy(&background));
}

static void let_go(struct task *task)
{
    close(task->go[1]);
}

static void finish_task(const struct task *task)
{
    close(task->go[0]);
}

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_background_init(&background, &loop), 0);
    uv_ref((uv_handle_t *)&background.async); /* otherwise the loop would have nothing to do */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_background_close(&background);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void test_works_in_a_thread_and_tells_the_loop(void **state)
{
    struct task task;
    (void)state;

    begin(&task);
    uv_run(&loop, UV_RUN_NOWAIT); /* which does not wait for it */
    assert_int_equal(task.done, 0);
    let_go(&task);
    while (task.done == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(task.worked, 1);
    assert_int_equal(task.dropped, 0);
    assert_true(task.blocks_signals);
    assert_false(pthread_equal(task.thread, pthread_self()));
    finish_task(&task);
}

static void test_what_was_abandoned_is_dropped_when_it_ends(void **state)
{
    struct task stuck, next;
    (void)state;

    begin(&stuck);
    ax_background_abandon(&background);
    assert_false(ax_background_is_busy(&background));
    begin(&next); /* there is nothing to wait for */
    let_go(&next);
    while (next.done == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(stuck.dropped, 0);
    let_go(&stuck);
    while (stuck.dropped == 0)
        sched_yield();
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(stuck.done, 0);
    finish_task(&stuck);
    finish_task(&next);
}

static void test_what_is_done_can_be_abandoned_before_the_loop_knows(void **state)
{
    struct task task;
    (void)state;

    begin(&task);
    let_go(&task);
    while (task.worked == 0)
        sched_yield();
    ax_background_abandon(&background);
    while (task.dropped == 0)
        sched_yield();
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(task.done, 0);
    finish_task(&task);
}

static void test_closing_waits_for_nothing(void **state)
{
    struct task task;
    (void)state;

    begin(&task);
    ax_background_close(&background);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(task.worked, 0);
    let_go(&task);
    while (task.dropped == 0)
        sched_yield();
    finish_task(&task);
    assert_int_equal(ax_background_init(&background, &loop), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_works_in_a_thread_and_tells_the_loop),
        TEST(test_what_was_abandoned_is_dropped_when_it_ends),
        TEST(test_what_is_done_can_be_abandoned_before_the_loop_knows),
        TEST(test_closing_waits_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
