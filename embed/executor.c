/* SPDX-License-Identifier: MIT */
#include "embed/executor.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "embed/deadline.h"

struct ax_executor_thread {
    struct ax_executor *executor;
    struct ax_job *job;              /* what to run next; NULL: nothing yet */
    pthread_cond_t given;            /* job was set, or the executor is stopping */
    struct ax_executor_thread *next; /* in the idle stack */
    bool idle;
};

/* The executor whose call this thread runs, if any. */
static _Thread_local struct ax_executor *calling;

static void queue_push(struct ax_job_queue *queue, struct ax_job *job)
{
    job->next = NULL;
    if (queue->last != NULL)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
    queue->count++;
}

static struct ax_job *queue_pop(struct ax_job_queue *queue)
{
    struct ax_job *job = queue->first;
    if (job == NULL)
        return NULL;
    queue->first = job->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->count--;
    return job;
}

/* Takes what may be refused out of a queue. */
static struct ax_job_queue take_calls(struct ax_job_queue *queue)
{
    struct ax_job_queue calls = {0}, others = {0};
    struct ax_job *job;
    while ((job = queue_pop(queue)) != NULL)
        queue_push(job->kind == AX_JOB_CALL ? &calls : &others, job);
    *queue = others;
    return calls;
}

static void refuse_all(struct ax_job_queue *queue)
{
    struct ax_job *job;
    while ((job = queue_pop(queue)) != NULL)
        job->refuse(job);
}

static bool start_thread(struct ax_executor *executor, struct ax_job *job);

int ax_executor_start(struct ax_executor *executor, const struct ax_executor_hooks *hooks, uint32_t max_threads)
{
    *executor = (struct ax_executor){
        .hooks = *hooks,
        .max_threads = max_threads != 0 ? max_threads : AX_EXECUTOR_MAX_THREADS,
        .max_queued = AX_EXECUTOR_MAX_QUEUED,
    };
    pthread_sigmask(SIG_SETMASK, NULL, &executor->blocked);
    pthread_mutex_init(&executor->lock, NULL);
    ax_deadline_cond_init(&executor->ended);
    /* One thread from the start, which never ends: a service always finds somebody, whatever the machine is short of. */
    pthread_mutex_lock(&executor->lock);
    bool started = start_thread(executor, NULL);
    pthread_mutex_unlock(&executor->lock);
    return started ? 0 : -EAGAIN;
}

/* ---- in a thread ---- */

static void forget_idle(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    struct ax_executor_thread **link = &executor->idle;
    while (*link != thread)
        link = &(*link)->next;
    *link = thread->next;
    thread->idle = false;
}

/* Waits until the thread is given a job; false when it has been idle for too long, or all are to stop. With the lock. */
static bool wait_for_job(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    struct timespec deadline = ax_deadline_after(AX_EXECUTOR_IDLE_MS);
    thread->next = executor->idle;
    executor->idle = thread;
    thread->idle = true;
    int timed_out = 0;
    while (thread->job == NULL && !executor->stopping && (timed_out == 0 || executor->threads == 1)) {
        if (timed_out == 0)
            timed_out = pthread_cond_timedwait(&thread->given, &executor->lock, &deadline);
        else
            pthread_cond_wait(&thread->given, &executor->lock); /* the last thread stays */
    }
    if (thread->idle)
        forget_idle(executor, thread);
    return thread->job != NULL;
}

/* The next job from the queues; a call counts as being run from here on. With the lock. */
static struct ax_job *next_queued(struct ax_executor *executor)
{
    struct ax_job *job = queue_pop(&executor->services);
    if (job == NULL && executor->in_calls < executor->max_threads) {
        job = queue_pop(&executor->calls);
        executor->in_calls += job != NULL;
    }
    return job;
}

static void run_job(struct ax_executor *executor, struct ax_job *job)
{
    bool is_call = job->kind != AX_JOB_SERVICE;
    calling = is_call ? executor : NULL;
    executor->in_jobs++;
    if (executor->stopping)
        pthread_cond_signal(&executor->ended);
    pthread_mutex_unlock(&executor->lock);
    job->run(job); /* which may free the job */
    pthread_mutex_lock(&executor->lock);
    executor->in_jobs--;
    executor->in_calls -= is_call;
    calling = NULL;
}

static void *thread_main(void *arg)
{
    struct ax_executor_thread *thread = arg;
    struct ax_executor *executor = thread->executor;
    /* The engine's own thread, which may start this one, blocks all. */
    pthread_sigmask(SIG_SETMASK, &executor->blocked, NULL);
    if (executor->hooks.thread_start != NULL)
        executor->hooks.thread_start();
    pthread_mutex_lock(&executor->lock);
    for (;;) {
        struct ax_job *job = thread->job;
        thread->job = NULL;
        if (job == NULL)
            job = next_queued(executor);
        if (job != NULL)
            run_job(executor, job);
        else if (!wait_for_job(executor, thread))
            break;
    }
    pthread_mutex_unlock(&executor->lock);
    if (executor->hooks.thread_end != NULL)
        executor->hooks.thread_end();
    pthread_mutex_lock(&executor->lock);
    thread->next = executor->spare;
    executor->spare = thread;
    executor->threads--;
    pthread_cond_signal(&executor->ended);
    pthread_mutex_unlock(&executor->lock);
    return NULL;
}

/* ---- giving work ---- */

/* The record of a thread that has ended, or a new one. With the lock. */
static struct ax_executor_thread *take_record(struct ax_executor *executor)
{
    struct ax_executor_thread *thread = executor->spare;
    if (thread != NULL) {
        executor->spare = thread->next;
        return thread;
    }
    thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return NULL;
    thread->executor = executor;
    ax_deadline_cond_init(&thread->given);
    return thread;
}

/* Starts a thread that begins with this job. With the lock. */
static bool start_thread(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *thread = take_record(executor);
    if (thread == NULL)
        return false;
    thread->job = job;
    pthread_t id;
    if (pthread_create(&id, NULL, thread_main, thread) != 0) {
        thread->next = executor->spare;
        executor->spare = thread;
        return false;
    }
    pthread_detach(id);
    executor->threads++;
    return true;
}

/* Gives the job to an idle thread, or to a new one while there are fewer than max_threads. With the lock. An idle thread is to
 * be signalled without it, or it would wake up only to wait for the lock: it is stored in *wake. */
static bool give(struct ax_executor *executor, struct ax_job *job, uint32_t max_threads,
                 struct ax_executor_thread **wake)
{
    struct ax_executor_thread *thread = executor->idle;
    *wake = thread;
    if (thread == NULL)
        return executor->threads < max_threads && start_thread(executor, job);
    executor->idle = thread->next;
    thread->idle = false;
    thread->job = job;
    return true;
}

/* The thread may have noticed its job, run it and ended by now: its record is not freed, so that this harms nobody. */
static void wake_up(struct ax_executor_thread *thread)
{
    if (thread != NULL)
        pthread_cond_signal(&thread->given);
}

/* Whether no queued call would come to run without the help of a peer: all calls wait for one, and there is no other thread
 * that may take a call, be it idle or busy with a service. With the lock. */
static bool is_stuck(const struct ax_executor *executor)
{
    bool another = executor->threads > executor->in_calls && executor->in_calls < executor->max_threads;
    return executor->waiting == executor->in_calls && !another;
}

/* Gives the job a thread now, as far as those for calls go. With the lock. */
static bool give_call(struct ax_executor *executor, struct ax_job *job, struct ax_executor_thread **wake)
{
    *wake = NULL;
    if (executor->in_calls >= executor->max_threads || !give(executor, job, executor->max_threads, wake))
        return false;
    executor->in_calls++;
    return true;
}

void ax_executor_submit(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *wake;
    bool accepted = true;
    job->kind = AX_JOB_CALL;
    pthread_mutex_lock(&executor->lock);
    if (!give_call(executor, job, &wake)) {
        accepted = executor->calls.count < executor->max_queued && !is_stuck(executor);
        if (accepted)
            queue_push(&executor->calls, job);
    }
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
    if (!accepted)
        job->refuse(job);
}

void ax_executor_submit_background(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *wake;
    job->kind = AX_JOB_BACKGROUND;
    pthread_mutex_lock(&executor->lock);
    if (!give_call(executor, job, &wake))
        queue_push(&executor->calls, job);
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
}

void ax_executor_submit_service(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *wake;
    job->kind = AX_JOB_SERVICE;
    pthread_mutex_lock(&executor->lock);
    /* Without a thread for it now, the next one that ends a job takes it: services are looked at first. */
    if (!give(executor, job, executor->max_threads + AX_EXECUTOR_SERVICE_THREADS, &wake))
        queue_push(&executor->services, job);
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
}

void ax_executor_wait_begin(struct ax_executor *executor)
{
    if (calling != executor)
        return;
    struct ax_job_queue refused = {0};
    pthread_mutex_lock(&executor->lock);
    executor->waiting++;
    if (is_stuck(executor))
        refused = take_calls(&executor->calls);
    pthread_mutex_unlock(&executor->lock);
    refuse_all(&refused);
}

void ax_executor_wait_end(struct ax_executor *executor)
{
    if (calling != executor)
        return;
    pthread_mutex_lock(&executor->lock);
    executor->waiting--;
    pthread_mutex_unlock(&executor->lock);
}

uint32_t ax_executor_stop(struct ax_executor *executor, bool wait_for_jobs, uint32_t timeout_ms)
{
    struct timespec deadline = ax_deadline_after(timeout_ms);
    pthread_mutex_lock(&executor->lock);
    executor->stopping = true;
    for (struct ax_executor_thread *thread = executor->idle; thread != NULL; thread = thread->next)
        pthread_cond_signal(&thread->given);
    int timed_out = 0;
    while (executor->threads > (wait_for_jobs ? 0U : executor->in_jobs) && timed_out == 0)
        timed_out = pthread_cond_timedwait(&executor->ended, &executor->lock, &deadline);
    uint32_t left = executor->threads;
    pthread_mutex_unlock(&executor->lock);
    return left;
}

void ax_executor_fini(struct ax_executor *executor)
{
    struct ax_executor_thread *spare = executor->spare;
    while (spare != NULL) {
        struct ax_executor_thread *next = spare->next;
        pthread_cond_destroy(&spare->given);
        free(spare);
        spare = next;
    }
    pthread_cond_destroy(&executor->ended);
    pthread_mutex_destroy(&executor->lock);
}
