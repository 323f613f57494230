/* SPDX-License-Identifier: MIT */
/* One thread that waits: which of them look for signals, also behind a fork. */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embed/waiter.h"

static void *note_slice(void *slice)
{
    *(int *)slice = ax_waiter_slice();
    return NULL;
}

/* What ax_waiter_slice() says in the process that this thread forks. */
static void *fork_and_note_slice(void *slice)
{
    int status;

    assert_int_equal(ax_waiter_slice(), -1);
    pid_t child = fork();
    if (child == 0) {
        ax_waiter_after_fork();
        _exit(ax_waiter_slice() == AX_WAITER_SLICE_MS ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    *(int *)slice = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? AX_WAITER_SLICE_MS : -1;
    return NULL;
}

static int slice_in_thread(void *(*note)(void *))
{
    pthread_t thread;
    int slice = 0;

    assert_int_equal(pthread_create(&thread, NULL, note, &slice), 0);
    pthread_join(thread, NULL);
    return slice;
}

static void the_main_thread_alone_looks_for_signals(void **state)
{
    (void)state;
    assert_int_equal(ax_waiter_slice(), AX_WAITER_SLICE_MS);
    assert_int_equal(slice_in_thread(note_slice), -1);
}

static void a_thread_that_forks_is_the_main_one_of_the_new_process(void **state)
{
    (void)state;
    assert_int_equal(slice_in_thread(fork_and_note_slice), AX_WAITER_SLICE_MS);
}

static void a_wait_ends_when_it_is_posted(void **state)
{
    struct ax_waiter waiter;

    (void)state;
    ax_waiter_init(&waiter);
    assert_false(ax_waiter_try(&waiter));
    ax_waiter_post(&waiter);
    assert_int_equal(ax_waiter_wait(&waiter), 0);
    assert_false(ax_waiter_try(&waiter));
    ax_waiter_fini(&waiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_main_thread_alone_looks_for_signals),
        cmocka_unit_test(a_thread_that_forks_is_the_main_one_of_the_new_process),
        cmocka_unit_test(a_wait_ends_when_it_is_posted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
