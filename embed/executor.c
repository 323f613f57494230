/* SPDX-License-Identifier: MIT */
#include "embed/executor.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "embed/deadline.h"
#include "embed/fork.h"

struct ax_executor_thread {
    struct ax_executor *executor;
    struct ax_job *job;              /* the next job; NULL: none yet */
    pthread_cond_t given;            /* job was set, or the executor is stopping */
    struct ax_executor_thread *next; /* in the idle stack, or among the busy ones */
    struct ax_executor_thread *prev; /* among the busy ones */
    bool idle;
    bool stale;                      /* its owner has ended: to be renewed when it has no job */
    uint64_t owner;                  /* the owner of the jobs that it has run since it was renewed; 0: none */
    atomic_uint_fast64_t busy_since; /* ns; 0: it runs no call, or the call waits. Other threads may use it only as a
                                        hint */
};

/* The executor whose call this thread runs, if any; then the thread. */
static _Thread_local struct ax_executor *calling;
static _Thread_local struct ax_executor_thread *self;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Removes the jobs that may be refused from a queue. */
static struct ax_job_queue take_calls(struct ax_job_queue *queue)
{
    struct ax_job_queue calls = {0}, others = {0};
    struct ax_job *job;

    while ((job = ax_job_pop(queue)) != NULL)
        ax_job_push(job->kind == AX_JOB_CALL ? &calls : &others, job);
    *queue = others;
    return calls;
}

static void refuse_all(struct ax_job_queue *queue)
{
    struct ax_job *job;

    while ((job = ax_job_pop(queue)) != NULL)
        job->refuse(job);
}

static struct ax_executor_thread *start_thread(struct ax_executor *executor, struct ax_job *job);

int ax_executor_start(struct ax_executor *executor, const struct ax_executor_hooks *hooks, uint32_t max_threads)
{
    *executor = (struct ax_executor){
        .hooks = *hooks,
        .generation = ax_fork_generation,
        .max_threads = max_threads != 0 ? max_threads : AX_EXECUTOR_MAX_THREADS,
        .max_queued = AX_EXECUTOR_MAX_QUEUED,
        .behind_ns = AX_EXECUTOR_BEHIND_MS * 1000000,
    };
    ax_fork_watch();
    pthread_sigmask(SIG_SETMASK, NULL, &executor->blocked);
    pthread_mutex_init(&executor->lock, NULL);
    ax_deadline_cond_init(&executor->ended);
    /* One thread is started at once and never ends, so that services always have one, whatever resources run out. */
    pthread_mutex_lock(&executor->lock);
    bool started = start_thread(executor, NULL) != NULL;
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

/*
 * Waits until the thread is given a job; false when it has been idle for too long, or the executor is stopping. With
 * the lock.
 */
static bool wait_for_job(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    struct timespec deadline = ax_deadline_after(AX_EXECUTOR_IDLE_MS);

    thread->next = executor->idle;
    executor->idle = thread;
    thread->idle = true;
    int timed_out = 0;
    while (thread->job == NULL && !thread->stale && !executor->stopping && (timed_out == 0 || executor->threads == 1)) {
        if (timed_out == 0)
            timed_out = pthread_cond_timedwait(&thread->given, &executor->lock, &deadline);
        else
            pthread_cond_wait(&thread->given, &executor->lock); /* the last thread never times out */
    }
    if (thread->idle)
        forget_idle(executor, thread);
    return thread->job != NULL;
}

static void add_busy(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    thread->prev = NULL;
    thread->next = executor->busy;
    if (executor->busy != NULL)
        executor->busy->prev = thread;
    executor->busy = thread;
}

/* The thread begins a call. With the lock. */
static void begin_call(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    executor->in_calls++;
    atomic_store_explicit(&thread->busy_since, now_ns(), memory_order_relaxed);
    add_busy(executor, thread);
}

/* The same for a service; its end is not waited for. */
static void begin_service(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    atomic_store_explicit(&thread->busy_since, 0, memory_order_relaxed);
    add_busy(executor, thread);
}

static void end_job(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    if (thread->prev != NULL)
        thread->prev->next = thread->next;
    else
        executor->busy = thread->next;
    if (thread->next != NULL)
        thread->next->prev = thread->prev;
}

static struct ax_job *pop_call(struct ax_executor *executor)
{
    struct ax_job *job = ax_job_pop(&executor->calls);

    atomic_store_explicit(&executor->queued, executor->calls.count, memory_order_relaxed);
    return job;
}

static void push_call(struct ax_executor *executor, struct ax_job *job)
{
    ax_job_push(&executor->calls, job);
    atomic_store_explicit(&executor->queued, executor->calls.count, memory_order_relaxed);
}

/* The next job from the queues. With the lock. */
static struct ax_job *next_queued(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    struct ax_job *job = ax_job_pop(&executor->services);

    if (job == NULL && executor->in_endings < AX_EXECUTOR_ENDING_THREADS) {
        job = ax_job_pop(&executor->endings);
        executor->in_endings += job != NULL;
    }
    if (job == NULL && executor->in_calls < executor->max_threads) {
        job = pop_call(executor);
        if (job != NULL)
            begin_call(executor, thread);
    }
    return job;
}

static void run_job(struct ax_executor *executor, struct ax_executor_thread *thread, struct ax_job *job)
{
    bool is_call = job->kind == AX_JOB_CALL || job->kind == AX_JOB_BACKGROUND;
    bool is_ending = job->kind == AX_JOB_ENDING;

    calling = is_call ? executor : NULL;
    self = thread;
    if (!is_call)
        begin_service(executor, thread);
    if (job->owner != 0)
        thread->owner = job->owner;
    executor->in_jobs++;
    if (executor->stopping)
        pthread_cond_signal(&executor->ended);
    pthread_mutex_unlock(&executor->lock);
    job->run(job); /* which may free the job */
    if (ax_fork_is_past(executor->generation))
        ax_fork_end();
    pthread_mutex_lock(&executor->lock);
    executor->in_jobs--;
    executor->in_calls -= is_call;
    executor->in_endings -= is_ending;
    end_job(executor, thread);
    calling = NULL;
}

/* Whether the thread may have kept data of another owner than the job's (NULL: no job). With the lock. */
static bool is_for_another(const struct ax_executor_thread *thread, const struct ax_job *job)
{
    if (thread->owner == 0)
        return false;
    return thread->stale || (job != NULL && job->owner != 0 && job->owner != thread->owner);
}

/* With the lock, which is released meanwhile: the hook may block. */
static void renew(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    thread->owner = 0;
    thread->stale = false;
    pthread_mutex_unlock(&executor->lock);
    if (executor->hooks.thread_renew != NULL)
        executor->hooks.thread_renew();
    if (ax_fork_is_past(executor->generation)) /* destructors of thread-local data may have forked */
        ax_fork_end();
    pthread_mutex_lock(&executor->lock);
}

/* The next job, after renewing the thread if necessary; NULL: there is none. With the lock. */
static struct ax_job *take_job(struct ax_executor *executor, struct ax_executor_thread *thread)
{
    if (thread->stale && thread->job == NULL)
        renew(executor, thread);
    struct ax_job *job = thread->job;
    thread->job = NULL;
    if (job == NULL)
        job = next_queued(executor, thread);
    if (is_for_another(thread, job))
        renew(executor, thread);
    return job;
}

static void *thread_main(void *arg)
{
    struct ax_executor_thread *thread = arg;
    struct ax_executor *executor = thread->executor;

    /* The thread that starts this one may block all signals, as the loop does. */
    pthread_sigmask(SIG_SETMASK, &executor->blocked, NULL);
    if (executor->hooks.thread_start != NULL)
        executor->hooks.thread_start();
    pthread_mutex_lock(&executor->lock);
    for (;;) {
        struct ax_job *job = take_job(executor, thread);
        if (job != NULL)
            run_job(executor, thread, job);
        else if (!wait_for_job(executor, thread) && !thread->stale)
            break;
    }
    /* Leaving the interpreter may take long: the thread is not counted meanwhile. */
    executor->threads--;
    executor->ending++;
    pthread_mutex_unlock(&executor->lock);
    if (executor->hooks.thread_end != NULL)
        executor->hooks.thread_end();
    if (ax_fork_is_past(executor->generation))
        ax_fork_end();
    pthread_mutex_lock(&executor->lock);
    thread->owner = 0;
    thread->next = executor->spare;
    executor->spare = thread;
    executor->ending--;
    pthread_cond_signal(&executor->ended);
    pthread_mutex_unlock(&executor->lock);
    return NULL;
}

/* ---- giving work ---- */

/* Reuses the record of a thread that has ended, or allocates one. With the lock. */
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

/* Starts a thread with this job; NULL on failure. With the lock. */
static struct ax_executor_thread *start_thread(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *thread = take_record(executor);

    if (thread == NULL)
        return NULL;
    thread->job = job;
    pthread_t id;
    if (pthread_create(&id, NULL, thread_main, thread) != 0) {
        thread->next = executor->spare;
        executor->spare = thread;
        return NULL;
    }
    pthread_detach(id);
    executor->threads++;
    return thread;
}

/*
 * The best idle thread for a job: one that has worked for the same owner, else for none, else the one that has been
 * idle longest. Of several of the first two kinds, the one that was busy last. NULL: none is idle. With the lock.
 */
static struct ax_executor_thread *find_idle(struct ax_executor *executor, uint64_t owner)
{
    struct ax_executor_thread *found = executor->idle;

    if (owner == 0)
        return found;
    bool is_found_free = false;
    for (struct ax_executor_thread *thread = found; thread != NULL; thread = thread->next) {
        if (thread->owner == owner)
            return thread;
        if (!is_found_free) {
            found = thread;
            is_found_free = thread->owner == 0;
        }
    }
    return found;
}

/*
 * Gives the job to an idle thread, or to a new one while there are fewer than max_threads besides those that run
 * endings; NULL: neither. With the lock. An idle thread is stored in *wake, to be signalled after the lock was
 * released, since it would otherwise wake up only to wait for the lock.
 */
static struct ax_executor_thread *give(struct ax_executor *executor, struct ax_job *job, uint32_t max_threads,
                                       struct ax_executor_thread **wake)
{
    struct ax_executor_thread *thread = find_idle(executor, job->owner);

    *wake = thread;
    if (thread == NULL)
        return executor->threads - executor->in_endings < max_threads ? start_thread(executor, job) : NULL;
    forget_idle(executor, thread);
    thread->job = job;
    return thread;
}

/* The thread may have run its job and ended by now; its record is never freed before the executor, so this is safe. */
static void wake_up(struct ax_executor_thread *thread)
{
    if (thread != NULL)
        pthread_cond_signal(&thread->given);
}

/*
 * Whether queued calls can only run after a peer has answered: all calls wait for peers, and no other thread, idle or
 * in a service, may take one. With the lock.
 */
static bool is_stuck(const struct ax_executor *executor)
{
    bool another =
        executor->threads - executor->in_endings > executor->in_calls && executor->in_calls < executor->max_threads;

    return executor->waiting == executor->in_calls && !another;
}

/* Gives the job one of the threads for calls now, if possible. With the lock. */
static bool give_call(struct ax_executor *executor, struct ax_job *job, struct ax_executor_thread **wake)
{
    *wake = NULL;
    if (executor->in_calls >= executor->max_threads)
        return false;
    struct ax_executor_thread *thread = give(executor, job, executor->max_threads, wake);
    if (thread == NULL)
        return false;
    begin_call(executor, thread);
    return true;
}

/* Whether a call has just begun, so that its thread may soon be free. With the lock. */
static bool has_fresh_call(const struct ax_executor *executor, uint64_t now)
{
    for (const struct ax_executor_thread *thread = executor->busy; thread != NULL; thread = thread->next) {
        uint64_t since = atomic_load_explicit(&thread->busy_since, memory_order_relaxed);
        if (since != 0 && now - since < executor->behind_ns)
            return true;
    }
    return false;
}

static bool submit_call(struct ax_executor *executor, struct ax_job *job, bool may_wait)
{
    struct ax_executor_thread *wake = NULL;
    bool accepted = true, behind = false;

    job->kind = AX_JOB_CALL;
    pthread_mutex_lock(&executor->lock);
    if (may_wait) {
        job->queued_at = now_ns();
        behind = has_fresh_call(executor, job->queued_at);
    }
    if (behind || !give_call(executor, job, &wake)) {
        accepted = executor->calls.count < executor->max_queued && !is_stuck(executor);
        if (accepted)
            push_call(executor, job);
    }
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
    if (!accepted)
        job->refuse(job);
    return accepted && behind;
}

void ax_executor_submit(struct ax_executor *executor, struct ax_job *job)
{
    submit_call(executor, job, false);
}

bool ax_executor_submit_behind(struct ax_executor *executor, struct ax_job *job)
{
    return submit_call(executor, job, true);
}

/* Gives the oldest queued call a thread; false if there is no such call, or no thread. With the lock. */
static bool give_oldest(struct ax_executor *executor, struct ax_executor_thread **wake)
{
    *wake = NULL;
    if (executor->calls.first == NULL || !give_call(executor, executor->calls.first, wake))
        return false;
    pop_call(executor);
    return true;
}

bool ax_executor_spread(struct ax_executor *executor)
{
    bool given, is_fresh;

    do {
        struct ax_executor_thread *wake = NULL;
        uint64_t now = now_ns();
        pthread_mutex_lock(&executor->lock);
        const struct ax_job *oldest = executor->calls.first;
        is_fresh = oldest != NULL && now - oldest->queued_at < executor->behind_ns;
        given = !is_fresh && give_oldest(executor, &wake);
        pthread_mutex_unlock(&executor->lock);
        wake_up(wake);
    } while (given);
    return is_fresh;
}

bool ax_executor_rest_begin(struct ax_executor *executor)
{
    if (atomic_load_explicit(&executor->queued, memory_order_relaxed) > 0)
        return false;
    atomic_store_explicit(&self->busy_since, 0, memory_order_relaxed);
    return true;
}

void ax_executor_rest_end(void)
{
    atomic_store_explicit(&self->busy_since, now_ns(), memory_order_relaxed);
}

void ax_executor_submit_background(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *wake;

    job->kind = AX_JOB_BACKGROUND;
    pthread_mutex_lock(&executor->lock);
    if (!give_call(executor, job, &wake))
        push_call(executor, job);
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
}

void ax_executor_submit_service(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *wake;

    if (ax_fork_is_past(executor->generation))
        return; /* a forked child has no threads for it: the job's memory is leaked */
    job->kind = AX_JOB_SERVICE;
    pthread_mutex_lock(&executor->lock);
    /* If there is no thread for it now, the next thread that finishes a job takes it: services come first. */
    if (give(executor, job, executor->max_threads + AX_EXECUTOR_SERVICE_THREADS, &wake) == NULL)
        ax_job_push(&executor->services, job);
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
}

void ax_executor_disown(struct ax_executor *executor, uint64_t owner)
{
    pthread_mutex_lock(&executor->lock);
    for (struct ax_executor_thread *thread = executor->busy; thread != NULL; thread = thread->next)
        if (thread->owner == owner)
            thread->stale = true;
    for (struct ax_executor_thread *thread = executor->idle; thread != NULL; thread = thread->next)
        if (thread->owner == owner) {
            thread->stale = true;
            pthread_cond_signal(&thread->given);
        }
    pthread_mutex_unlock(&executor->lock);
}

void ax_executor_submit_ending(struct ax_executor *executor, struct ax_job *job)
{
    struct ax_executor_thread *wake = NULL;

    job->kind = AX_JOB_ENDING;
    pthread_mutex_lock(&executor->lock);
    bool given = executor->in_endings < AX_EXECUTOR_ENDING_THREADS &&
                 give(executor, job, executor->max_threads + AX_EXECUTOR_SERVICE_THREADS + 1, &wake) != NULL;
    if (given)
        executor->in_endings++;
    else
        ax_job_push(&executor->endings, job);
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
}

void ax_executor_wait_begin(struct ax_executor *executor)
{
    if (calling != executor)
        return;
    struct ax_job_queue refused = {0};
    struct ax_executor_thread *wake = NULL;
    atomic_store_explicit(&self->busy_since, 0, memory_order_relaxed);
    pthread_mutex_lock(&executor->lock);
    executor->waiting++;
    if (!give_oldest(executor, &wake) && is_stuck(executor)) { /* the oldest call may depend on this one */
        refused = take_calls(&executor->calls);
        atomic_store_explicit(&executor->queued, executor->calls.count, memory_order_relaxed);
    }
    pthread_mutex_unlock(&executor->lock);
    wake_up(wake);
    refuse_all(&refused);
}

void ax_executor_wait_end(struct ax_executor *executor)
{
    if (calling != executor)
        return;
    pthread_mutex_lock(&executor->lock);
    executor->waiting--;
    pthread_mutex_unlock(&executor->lock);
    atomic_store_explicit(&self->busy_since, now_ns(), memory_order_relaxed);
}

/* With the lock. */
static uint32_t count_threads(const struct ax_executor *executor)
{
    return executor->threads + executor->ending;
}

uint32_t ax_executor_stop(struct ax_executor *executor, bool wait_for_jobs, uint32_t timeout_ms)
{
    struct timespec deadline = ax_deadline_after(timeout_ms);

    pthread_mutex_lock(&executor->lock);
    executor->stopping = true;
    for (struct ax_executor_thread *thread = executor->idle; thread != NULL; thread = thread->next)
        pthread_cond_signal(&thread->given);
    int timed_out = 0;
    while (count_threads(executor) > (wait_for_jobs ? 0U : executor->in_jobs) && timed_out == 0)
        timed_out = pthread_cond_timedwait(&executor->ended, &executor->lock, &deadline);
    uint32_t left = count_threads(executor);
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
