/* SPDX-License-Identifier: MIT */
#include "tests/embed/testing.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "embed/executor.h"

#define THREADS 3

static struct ax_executor executor;
static atomic_int threads_started, threads_ended;

/* A job that says when it runs, and ends when it is told to. */
struct gated {
    struct ax_job job;
    sem_t begun, gate, ended, refused;
    bool waits_for_peer;
};

static void run_gated(struct ax_job *job)
{
    struct gated *gated = CONTAINER_OF(job, struct gated, job);

    if (gated->waits_for_peer)
        ax_executor_wait_begin(&executor);
    sem_post(&gated->begun);
    wait_for(&gated->gate, 1);
    if (gated->waits_for_peer)
        ax_executor_wait_end(&executor);
    sem_post(&gated->ended);
}

static void refuse_gated(struct ax_job *job)
{
    sem_post(&CONTAINER_OF(job, struct gated, job)->refused);
}

static void gated_init(struct gated *gated, bool waits_for_peer)
{
    *gated = (struct gated){.job = {.run = run_gated, .refuse = refuse_gated}, .waits_for_peer = waits_for_peer};
    sem_init(&gated->begun, 0, 0);
    sem_init(&gated->gate, 0, 0);
    sem_init(&gated->ended, 0, 0);
    sem_init(&gated->refused, 0, 0);
}

static void count_start(void)
{
    atomic_fetch_add(&threads_started, 1);
}

static void count_end(void)
{
    atomic_fetch_add(&threads_ended, 1);
}

static bool has_idle_thread(void)
{
    pthread_mutex_lock(&executor.lock);
    bool idle = executor.idle != NULL;
    pthread_mutex_unlock(&executor.lock);
    return idle;
}

static int set_up(void **state)
{
    (void)state;
    static const struct ax_executor_hooks hooks = {.thread_start = count_start, .thread_end = count_end};
    threads_started = threads_ended = 0;
    if (ax_executor_start(&executor, &hooks, THREADS) != 0)
        return -1;
    while (!has_idle_thread()) /* the first one, which would take what is queued as it starts */
        sched_yield();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(ax_executor_stop(&executor, true, 60000), 0);
    ax_executor_fini(&executor);
    assert_int_equal(threads_started, threads_ended);
    return 0;
}

static void open_and_wait(struct gated *jobs, int count)
{
    for (int i = 0; i < count; i++)
        sem_post(&jobs[i].gate);
    for (int i = 0; i < count; i++)
        wait_for(&jobs[i].ended, 1);
}

static void calls_run_side_by_side(void **state)
{
    (void)state;
    struct gated jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        gated_init(&jobs[i], false);
        ax_executor_submit(&executor, &jobs[i].job);
    }
    for (int i = 0; i < THREADS; i++)
        wait_for(&jobs[i].begun, 1);
    open_and_wait(jobs, THREADS);
}

/* Fills all threads with calls. */
static void fill(struct gated jobs[THREADS], bool waiting)
{
    for (int i = 0; i < THREADS; i++) {
        gated_init(&jobs[i], waiting);
        ax_executor_submit(&executor, &jobs[i].job);
        wait_for(&jobs[i].begun, 1);
    }
}

static void a_call_above_the_limit_waits_for_a_thread(void **state)
{
    (void)state;
    struct gated jobs[THREADS], more;
    fill(jobs, false);
    gated_init(&more, false);
    ax_executor_submit(&executor, &more.job);
    assert_int_equal(executor.calls.count, 1);
    open_and_wait(jobs, 1);
    wait_for(&more.begun, 1);
    open_and_wait(&more, 1);
    open_and_wait(jobs + 1, THREADS - 1);
}

/* ---- behind others ---- */

static void a_call_waits_behind_one_that_has_just_begun(void **state)
{
    (void)state;
    struct gated first, behind;
    executor.behind_ns = UINT64_MAX;
    gated_init(&first, false);
    gated_init(&behind, false);
    assert_false(ax_executor_submit_behind(&executor, &first.job));
    wait_for(&first.begun, 1);
    assert_true(ax_executor_submit_behind(&executor, &behind.job));
    assert_int_equal(executor.calls.count, 1);
    open_and_wait(&first, 1);
    wait_for(&behind.begun, 1);
    open_and_wait(&behind, 1);
}

static void a_call_that_is_not_short_after_all_delays_no_other(void **state)
{
    (void)state;
    struct gated first, behind;
    executor.behind_ns = UINT64_MAX;
    gated_init(&first, false);
    gated_init(&behind, false);
    ax_executor_submit_behind(&executor, &first.job);
    wait_for(&first.begun, 1);
    ax_executor_submit_behind(&executor, &behind.job);
    assert_true(ax_executor_spread(&executor)); /* it is too early */
    assert_int_equal(executor.calls.count, 1);
    executor.behind_ns = 0;
    assert_false(ax_executor_spread(&executor));
    wait_for(&behind.begun, 1);
    open_and_wait(&behind, 1);
    open_and_wait(&first, 1);
}

static void nobody_waits_behind_a_call_that_began_long_ago(void **state)
{
    (void)state;
    struct gated first, second;
    executor.behind_ns = 0;
    gated_init(&first, false);
    gated_init(&second, false);
    assert_false(ax_executor_submit_behind(&executor, &first.job));
    wait_for(&first.begun, 1);
    assert_false(ax_executor_submit_behind(&executor, &second.job));
    wait_for(&second.begun, 1);
    open_and_wait(&second, 1);
    open_and_wait(&first, 1);
}

/* Says that it runs, and waits for a peer once it is let through the gate. */
static void run_late_waiter(struct ax_job *job)
{
    struct gated *gated = CONTAINER_OF(job, struct gated, job);

    sem_post(&gated->begun);
    wait_for(&gated->gate, 1);
    ax_executor_wait_begin(&executor);
    wait_for(&gated->gate, 1);
    ax_executor_wait_end(&executor);
    sem_post(&gated->ended);
}

static void who_waits_for_a_peer_keeps_nobody_behind_it(void **state)
{
    (void)state;
    struct gated first, behind;
    executor.behind_ns = UINT64_MAX;
    gated_init(&first, false);
    gated_init(&behind, false);
    first.job.run = run_late_waiter;
    ax_executor_submit_behind(&executor, &first.job);
    wait_for(&first.begun, 1);
    assert_true(ax_executor_submit_behind(&executor, &behind.job));
    sem_post(&first.gate);
    wait_for(&behind.begun, 1);
    open_and_wait(&behind, 1);
    open_and_wait(&first, 1);
}

/* Rests, if it may, until it is let through the gate. */
static void run_rester(struct ax_job *job)
{
    struct gated *gated = CONTAINER_OF(job, struct gated, job);

    wait_for(&gated->gate, 1);
    if (ax_executor_rest_begin(&executor)) {
        sem_post(&gated->begun);
        wait_for(&gated->gate, 1);
        ax_executor_rest_end();
    }
    sem_post(&gated->ended);
}

static void nobody_waits_behind_who_rests(void **state)
{
    (void)state;
    struct gated first, second;
    executor.behind_ns = UINT64_MAX;
    gated_init(&first, false);
    gated_init(&second, false);
    first.job.run = run_rester;
    ax_executor_submit_behind(&executor, &first.job);
    sem_post(&first.gate);
    wait_for(&first.begun, 1);
    assert_false(ax_executor_submit_behind(&executor, &second.job));
    wait_for(&second.begun, 1);
    open_and_wait(&second, 1);
    open_and_wait(&first, 1);
}

static void nobody_rests_while_a_call_waits(void **state)
{
    (void)state;
    struct gated first, behind;
    executor.behind_ns = UINT64_MAX;
    gated_init(&first, false);
    gated_init(&behind, false);
    first.job.run = run_rester;
    ax_executor_submit_behind(&executor, &first.job);
    assert_true(ax_executor_submit_behind(&executor, &behind.job));
    open_and_wait(&first, 1);
    wait_for(&behind.begun, 1);
    open_and_wait(&behind, 1);
}

/* ---- too many ---- */

static void a_call_that_finds_the_queue_full_is_refused(void **state)
{
    (void)state;
    struct gated jobs[THREADS], queued, refused;
    fill(jobs, false);
    executor.max_queued = 1;
    gated_init(&queued, false);
    gated_init(&refused, false);
    ax_executor_submit(&executor, &queued.job);
    ax_executor_submit(&executor, &refused.job);
    wait_for(&refused.refused, 1);
    open_and_wait(jobs, THREADS);
    open_and_wait(&queued, 1);
}

static void a_call_is_refused_when_all_threads_wait_for_peers(void **state)
{
    (void)state;
    struct gated jobs[THREADS], refused;
    fill(jobs, true);
    gated_init(&refused, false);
    ax_executor_submit(&executor, &refused.job);
    wait_for(&refused.refused, 1);
    open_and_wait(jobs, THREADS);
}

static void queued_calls_are_refused_when_the_last_thread_begins_to_wait(void **state)
{
    (void)state;
    struct gated jobs[THREADS], last, queued;
    fill(jobs, true);
    open_and_wait(jobs, 1);
    gated_init(&last, false);
    gated_init(&queued, false);
    ax_executor_submit(&executor, &last.job);
    wait_for(&last.begun, 1);
    ax_executor_submit(&executor, &queued.job); /* waits: `last` will end */
    assert_int_equal(executor.calls.count, 1);
    open_and_wait(&last, 1);
    wait_for(&queued.begun, 1);
    open_and_wait(&queued, 1);

    struct gated waiting, behind;
    gated_init(&last, false);
    gated_init(&waiting, true);
    gated_init(&behind, false);
    ax_executor_submit(&executor, &last.job);
    wait_for(&last.begun, 1);
    ax_executor_submit(&executor, &waiting.job);
    ax_executor_submit(&executor, &behind.job);
    open_and_wait(&last, 1); /* its thread takes `waiting`, which waits for a peer like all others */
    wait_for(&waiting.begun, 1);
    wait_for(&behind.refused, 1);
    open_and_wait(&waiting, 1);
    open_and_wait(jobs + 1, THREADS - 1);
}

static void check_a_service_gets_through_when_all_threads_are_stuck(void)
{
    struct gated jobs[THREADS], service;

    fill(jobs, false);
    gated_init(&service, false);
    ax_executor_submit_service(&executor, &service.job);
    wait_for(&service.begun, 1);
    open_and_wait(&service, 1);
    open_and_wait(jobs, THREADS);
}

static void services_get_through_when_all_threads_are_stuck(void **state)
{
    (void)state;
    check_a_service_gets_through_when_all_threads_are_stuck();
}

/* An end may block for a channel or a program: many of them, and nobody else notices. */
static void endings_that_block_delay_no_other_job(void **state)
{
    (void)state;
    static struct gated endings[AX_EXECUTOR_ENDING_THREADS + 1];
    struct gated *last = &endings[AX_EXECUTOR_ENDING_THREADS];
    for (int i = 0; i <= AX_EXECUTOR_ENDING_THREADS; i++) {
        gated_init(&endings[i], false);
        ax_executor_submit_ending(&executor, &endings[i].job);
    }
    for (int i = 0; i < AX_EXECUTOR_ENDING_THREADS; i++)
        wait_for(&endings[i].begun, 1);
    check_a_service_gets_through_when_all_threads_are_stuck();
    assert_int_equal(sem_trywait(&last->begun), -1);
    open_and_wait(endings, 1);
    wait_for(&last->begun, 1); /* it was too many, and has waited for one of the others */
    open_and_wait(endings + 1, AX_EXECUTOR_ENDING_THREADS);
}

static void endings_get_through_when_all_threads_are_stuck(void **state)
{
    (void)state;
    struct gated jobs[THREADS], services[AX_EXECUTOR_SERVICE_THREADS], ending;
    fill(jobs, false);
    for (int i = 0; i < AX_EXECUTOR_SERVICE_THREADS; i++) {
        gated_init(&services[i], false);
        ax_executor_submit_service(&executor, &services[i].job);
        wait_for(&services[i].begun, 1);
    }
    gated_init(&ending, false);
    ax_executor_submit_ending(&executor, &ending.job);
    wait_for(&ending.begun, 1);
    open_and_wait(&ending, 1);
    open_and_wait(services, AX_EXECUTOR_SERVICE_THREADS);
    open_and_wait(jobs, THREADS);
}

/* A thread that is at work with an end takes no call: calls that all wait for a peer are still refused. */
static void an_ending_does_not_hide_that_all_threads_wait(void **state)
{
    (void)state;
    struct gated jobs[THREADS], ending, refused;
    gated_init(&ending, false);
    ax_executor_submit_ending(&executor, &ending.job);
    wait_for(&ending.begun, 1);
    fill(jobs, true);
    gated_init(&refused, false);
    ax_executor_submit(&executor, &refused.job);
    wait_for(&refused.refused, 1);
    open_and_wait(jobs, THREADS);
    open_and_wait(&ending, 1);
}

static void background_work_is_never_refused(void **state)
{
    (void)state;
    struct gated jobs[THREADS], background;
    fill(jobs, true);
    gated_init(&background, false);
    ax_executor_submit_background(&executor, &background.job);
    open_and_wait(jobs, 1);
    wait_for(&background.begun, 1);
    open_and_wait(&background, 1);
    open_and_wait(jobs + 1, THREADS - 1);
}

static void stopping_leaves_threads_that_run_a_job(void **state)
{
    (void)state;
    struct gated jobs[2], later;
    for (int i = 0; i < 2; i++) {
        gated_init(&jobs[i], false);
        ax_executor_submit(&executor, &jobs[i].job);
        wait_for(&jobs[i].begun, 1);
    }
    assert_int_equal(ax_executor_stop(&executor, false, 60000), 2);
    gated_init(&later, false); /* what comes later runs all the same */
    ax_executor_submit(&executor, &later.job);
    wait_for(&later.begun, 1);
    open_and_wait(&later, 1);
    open_and_wait(jobs, 2);
}

static sem_t ending, may_end;

static void end_slowly(void)
{
    count_end();
    sem_post(&ending);
    wait_for(&may_end, 1);
}

/* To leave the interpreter a thread needs the GIL, for which it may wait long. */
static void a_thread_that_is_ending_takes_nobodys_place(void **state)
{
    (void)state;
    struct gated jobs[THREADS];
    sem_init(&ending, 0, 0);
    sem_init(&may_end, 0, 0);
    fill(jobs, false);
    executor.hooks.thread_end = end_slowly;
    ax_executor_stop(&executor, false, 0);
    open_and_wait(jobs, THREADS);
    wait_for(&ending, THREADS);
    assert_int_equal(ax_executor_stop(&executor, false, 0), THREADS); /* they are still there */
    check_a_service_gets_through_when_all_threads_are_stuck();
    for (int i = 0; i < 2 * THREADS + 1; i++)
        sem_post(&may_end);
}

#define SUBMITTERS 4
#define SUBMITS 5000

struct counted {
    struct ax_job job;
    sem_t *done;
    atomic_int *ran;
};

static void run_counted(struct ax_job *job)
{
    struct counted *counted = CONTAINER_OF(job, struct counted, job);

    atomic_fetch_add(counted->ran, 1);
    sem_post(counted->done);
    free(counted);
}

static void refuse_counted(struct ax_job *job)
{
    (void)job;
    fail();
}

static atomic_int ran;

static void *submit_many(void *arg)
{
    for (int i = 0; i < SUBMITS; i++) {
        struct counted *counted = malloc(sizeof *counted);
        *counted = (struct counted){.job = {.run = run_counted, .refuse = refuse_counted}, .done = arg, .ran = &ran};
        if (i % 3 == 0)
            ax_executor_submit_service(&executor, &counted->job);
        else
            ax_executor_submit(&executor, &counted->job);
    }
    return NULL;
}

static void every_job_runs_once(void **state)
{
    (void)state;
    pthread_t threads[SUBMITTERS];
    sem_t done;
    sem_init(&done, 0, 0);
    ran = 0;
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_create(&threads[i], NULL, submit_many, &done);
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(threads[i], NULL);
    wait_for(&done, SUBMITTERS * SUBMITS);
    assert_int_equal(ran, SUBMITTERS * SUBMITS);
    assert_true(threads_started <= THREADS + AX_EXECUTOR_SERVICE_THREADS);
}

/* ---- owners ---- */

static _Thread_local int kept; /* what a job has left in its thread */
static atomic_int renewed;

static void forget_kept(void)
{
    kept = 0;
    atomic_fetch_add(&renewed, 1);
}

/* A job that notes what it finds in its thread, and leaves its owner's number there. */
struct keeping {
    struct ax_job job;
    sem_t done;
    int found;
};

static void run_keeping(struct ax_job *job)
{
    struct keeping *keeping = CONTAINER_OF(job, struct keeping, job);

    keeping->found = kept;
    kept = (int)job->owner;
    sem_post(&keeping->done);
}

static void wait_until_idle(void)
{
    bool idle;

    do {
        sched_yield();
        pthread_mutex_lock(&executor.lock);
        idle = executor.in_jobs == 0 && executor.calls.first == NULL;
        pthread_mutex_unlock(&executor.lock);
    } while (!idle);
}

/* What a job of this owner finds in its thread. */
static int found_by(uint64_t owner, bool is_service)
{
    struct keeping keeping = {.job = {.run = run_keeping, .refuse = refuse_gated, .owner = owner}};

    sem_init(&keeping.done, 0, 0);
    if (is_service)
        ax_executor_submit_service(&executor, &keeping.job);
    else
        ax_executor_submit(&executor, &keeping.job);
    wait_for(&keeping.done, 1);
    wait_until_idle();
    return keeping.found;
}

static int set_up_owners(void **state)
{
    int failed = set_up(state);

    pthread_mutex_lock(&executor.lock);
    executor.hooks.thread_renew = forget_kept;
    pthread_mutex_unlock(&executor.lock);
    renewed = 0;
    return failed;
}

static void what_a_job_keeps_in_its_thread_is_there_for_its_owner_alone(void **state)
{
    (void)state;
    assert_int_equal(found_by(1, false), 0);
    assert_int_equal(found_by(1, false), 1);
    assert_int_equal(found_by(2, false), 0);
    assert_int_equal(found_by(2, true), 2);
    assert_int_equal(found_by(1, true), 0);
    assert_int_equal(found_by(1, false), 1);
}

static void what_a_job_keeps_in_its_thread_goes_with_its_owner(void **state)
{
    (void)state;
    assert_int_equal(found_by(1, false), 0);
    ax_executor_disown(&executor, 1);
    while (atomic_load(&renewed) == 0) /* though there is no other job */
        sched_yield();
    assert_int_equal(found_by(1, false), 0);
}

static void a_thread_that_is_busy_when_its_owner_goes_is_renewed_afterwards(void **state)
{
    struct gated gated;

    (void)state;
    gated_init(&gated, false);
    gated.job.owner = 1;
    ax_executor_submit(&executor, &gated.job);
    wait_for(&gated.begun, 1);
    ax_executor_disown(&executor, 1);
    sem_post(&gated.gate);
    while (atomic_load(&renewed) == 0)
        sched_yield();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(calls_run_side_by_side, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_above_the_limit_waits_for_a_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_waits_behind_one_that_has_just_begun, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_that_is_not_short_after_all_delays_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_behind_a_call_that_began_long_ago, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waits_for_a_peer_keeps_nobody_behind_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_behind_who_rests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_rests_while_a_call_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_that_finds_the_queue_full_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_is_refused_when_all_threads_wait_for_peers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queued_calls_are_refused_when_the_last_thread_begins_to_wait, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(services_get_through_when_all_threads_are_stuck, set_up, tear_down),
        cmocka_unit_test_setup_teardown(endings_that_block_delay_no_other_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(endings_get_through_when_all_threads_are_stuck, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_ending_does_not_hide_that_all_threads_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(background_work_is_never_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping_leaves_threads_that_run_a_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_that_is_ending_takes_nobodys_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_job_runs_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_job_keeps_in_its_thread_is_there_for_its_owner_alone, set_up_owners,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_a_job_keeps_in_its_thread_goes_with_its_owner, set_up_owners, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_that_is_busy_when_its_owner_goes_is_renewed_afterwards, set_up_owners,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
