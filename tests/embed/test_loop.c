/* SPDX-License-Identifier: MIT */
#include "tests/embed/testing.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embed/loop.h"

#define POSTERS 4
#define POSTS 2000

struct counted {
    struct ax_task task;
    int runs; /* the loop's thread only */
    sem_t ran;
};

static struct ax_loop loop;

static void count_run(struct ax_task *task)
{
    struct counted *counted = CONTAINER_OF(task, struct counted, task);

    counted->runs++;
    sem_post(&counted->ran);
}

static void counted_init(struct counted *counted)
{
    ax_task_init(&counted->task, count_run);
    counted->runs = 0;
    sem_init(&counted->ran, 0, 0);
}

static int set_up(void **state)
{
    (void)state;
    return ax_loop_start(&loop);
}

static int tear_down(void **state)
{
    (void)state;
    ax_loop_stop(&loop);
    return 0;
}

static void runs_a_task_that_is_posted(void **state)
{
    (void)state;
    struct counted counted;
    counted_init(&counted);
    assert_true(ax_loop_post(&loop, &counted.task));
    wait_for(&counted.ran, 1);
    assert_true(ax_loop_post(&loop, &counted.task));
    wait_for(&counted.ran, 1);
    assert_int_equal(counted.runs, 2);
}

struct poster {
    struct counted *shared;
    struct counted own;
    int accepted;
    pthread_t thread;
};

static void *post_many(void *arg)
{
    struct poster *poster = arg;

    for (int i = 0; i < POSTS; i++) {
        poster->accepted += ax_loop_post(&loop, &poster->shared->task);
        assert_true(ax_loop_post(&loop, &poster->own.task));
        wait_for(&poster->own.ran, 1);
    }
    return NULL;
}

static void runs_once_for_each_post_that_was_accepted(void **state)
{
    (void)state;
    struct counted shared;
    struct poster posters[POSTERS];
    counted_init(&shared);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.shared = &shared};
        counted_init(&posters[i].own);
        pthread_create(&posters[i].thread, NULL, post_many, &posters[i]);
    }
    int accepted = 0;
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_int_equal(posters[i].own.runs, POSTS);
        accepted += posters[i].accepted;
    }
    wait_for(&shared.ran, accepted);
    assert_int_equal(shared.runs, accepted);
}

static void note_signal(int number)
{
    (void)number;
}

struct interrupted {
    struct ax_waiter waiter;
    sem_t about_to_wait;
    sem_t done;
    int first, second;
};

static void *wait_twice(void *arg)
{
    struct interrupted *interrupted = arg;

    do { /* the signal may come before the wait: then the next one is interrupted */
        sem_post(&interrupted->about_to_wait);
        interrupted->first = ax_loop_wait(&loop, &interrupted->waiter);
    } while (interrupted->first != -EINTR);
    sem_post(&interrupted->done);
    interrupted->second = ax_loop_wait(&loop, &interrupted->waiter);
    return NULL;
}

static void a_signal_handler_ends_a_wait_early(void **state)
{
    (void)state;
    struct interrupted interrupted;
    struct sigaction action = {.sa_handler = note_signal};
    sigaction(SIGUSR1, &action, NULL);
    ax_waiter_init(&interrupted.waiter);
    sem_init(&interrupted.about_to_wait, 0, 0);
    sem_init(&interrupted.done, 0, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, wait_twice, &interrupted);
    wait_for(&interrupted.about_to_wait, 1);
    while (sem_trywait(&interrupted.done) != 0)
        pthread_kill(thread, SIGUSR1); /* again and again, since nobody can see that a thread waits */
    ax_waiter_post(&interrupted.waiter);
    pthread_join(thread, NULL);
    while (interrupted.second == -EINTR) { /* a late one hit the second wait */
        interrupted.second = ax_loop_wait(&loop, &interrupted.waiter);
    }
    assert_int_equal(interrupted.second, 0);
    ax_waiter_fini(&interrupted.waiter);
}

/* How a process ends that starts its first loop when it may open so many descriptors more. */
static int start_with_few(unsigned few)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        int next = dup(0);
        rlim_t most = (rlim_t)next + few;
        close(next);
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, most});
        int error = ax_loop_start(&loop);
        if (error == 0)
            ax_loop_stop(&loop);
        _exit(error == -EMFILE ? 1 : error == 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void starts_or_fails_with_few_descriptors_and_does_not_end_the_process(void **state)
{
    (void)state;
    int status = -1;
    for (unsigned few = 0; few < 16; few++) {
        status = start_with_few(few);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 1);
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_or_fails_with_few_descriptors_and_does_not_end_the_process), /* first: no loop so far */
        cmocka_unit_test_setup_teardown(runs_a_task_that_is_posted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runs_once_for_each_post_that_was_accepted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signal_handler_ends_a_wait_early, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
