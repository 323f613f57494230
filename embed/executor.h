/* SPDX-License-Identifier: MIT */
/*
 * The threads that run user code.
 *
 * Every call runs in a thread of its own, so that one which blocks delays no other. Threads are cached, most recently
 * used first, and end when they have been idle for a while. There are four kinds of job:
 *   calls      up to max_threads at once; then they queue, and beyond max_queued they are refused.
 *   services   short jobs of the engine (dropping released objects), which must run even if every thread is blocked in
 *              a call: they have a queue and a few threads of their own.
 *   endings    of connections. They must also run, but may block, for a channel or a program that does not end: they
 *              take no thread from calls and services, and delay each other only when there are very many.
 *   background work of our own side that may block, like a call, but is never refused.
 * Waking a thread costs more than a short call. So a call may first wait *behind* one that has just begun, whose thread
 * takes it next; if that one turns out to be long, whoever submitted the waiting call soon gets it a thread of its own.
 * A call that waits for its peer may depend on a call of the peer to us. When all threads wait like that, a queued call
 * might never start: then the queue is refused, which prevents a deadlock.
 *
 * Jobs have owners, the connections. Thread-local data (threading.local) of one owner must not be visible to another: a
 * job goes to a thread that has worked for its owner before, if possible, and other threads are *renewed* first.
 *
 * Thread-safe. Independent of Python: hooks attach a thread to the interpreter.
 */
#ifndef AX_EMBED_EXECUTOR_H
#define AX_EMBED_EXECUTOR_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AX_EXECUTOR_MAX_THREADS                                                                                        \
    256 /* calls at once: above what a host with a few cores can serve, below what it can't hold */
#define AX_EXECUTOR_MAX_QUEUED 65536  /* calls in the queue; their memory is bounded by each session's limits */
#define AX_EXECUTOR_SERVICE_THREADS 2 /* threads in addition to those for calls */
#define AX_EXECUTOR_IDLE_MS 10000     /* an idle thread ends after this */
#define AX_EXECUTOR_BEHIND_MS 1       /* how long a call waits behind another, at most twice */

#define AX_EXECUTOR_ENDING_THREADS 64 /* threads for ends of connections, besides all these; more endings wait */

enum ax_job_kind { AX_JOB_CALL, AX_JOB_SERVICE, AX_JOB_BACKGROUND, AX_JOB_ENDING };

/*
 * A unit of work. Embedded in what it is about; owned by the executor from submit to run or refuse, and in at most one
 * queue.
 */
struct ax_job {
    void (*run)(struct ax_job *job);    /* in a thread of the executor, without any lock; a child that it forks ends */
    void (*refuse)(struct ax_job *job); /* instead of run, in any thread, without the executor's lock; calls only */
    enum ax_job_kind kind;              /* set by the submit functions */
    uint64_t owner;                     /* the owner whose code it runs, as for ax_executor_disown(); 0: none */
    uint64_t queued_at;                 /* ns; only for calls that wait behind others */
    struct ax_job *next;
};

/* A FIFO of jobs; guarded by its owner. */
struct ax_job_queue {
    struct ax_job *first;
    struct ax_job *last;
    uint32_t count;
};

static inline void ax_job_push(struct ax_job_queue *queue, struct ax_job *job)
{
    job->next = NULL;
    if (queue->last != NULL)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
    queue->count++;
}

/* The oldest, or NULL. */
static inline struct ax_job *ax_job_pop(struct ax_job_queue *queue)
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

struct ax_executor_hooks {
    void (*thread_start)(void); /* in a new thread, before its first job; may be NULL */
    void (*thread_end)(void);   /* in it, after its last */
    void (*thread_renew)(
        void); /* in it, between jobs of different owners: forgets what is local to the thread; may be NULL */
};

struct ax_executor_thread;

/* `lock`, a leaf, guards all fields except hooks, blocked and limits: nothing is locked or called while it is held. */
struct ax_executor {
    struct ax_executor_hooks hooks;
    unsigned generation; /* of the process that started it (fork.h) */
    sigset_t blocked;    /* signal mask of its threads, inherited by processes that calls start: as in the thread that
                            started the executor */
    uint32_t max_threads;
    uint32_t max_queued;
    uint64_t behind_ns; /* a call that began less than this ago is expected to end soon */
    pthread_mutex_t lock;
    struct ax_executor_thread *idle;  /* most recently used first */
    struct ax_executor_thread *busy;  /* threads that run jobs, the newest first */
    struct ax_executor_thread *spare; /* records of threads that have ended */
    uint32_t threads;                 /* threads that take jobs, including those that are being started */
    uint32_t ending;                  /* threads that take no more jobs, but have not ended yet */
    uint32_t in_jobs;                 /* threads that run a job */
    uint32_t in_calls;                /* threads that run a call */
    uint32_t waiting;                 /* of in_calls: those that wait for a peer */
    struct ax_job_queue calls;
    atomic_uint queued; /* calls.count, readable without the lock */
    struct ax_job_queue services;
    struct ax_job_queue endings;
    uint32_t in_endings; /* threads that run an ending */
    bool stopping;
    pthread_cond_t ended; /* while stopping: a thread has ended, or begun a job */
};

/*
 * Starts the first thread; others are started on demand. `max_threads` 0 takes the default. 0, or -EAGAIN when no
 * thread can be started.
 */
int ax_executor_start(struct ax_executor *executor, const struct ax_executor_hooks *hooks, uint32_t max_threads);

/* Runs a call, or refuses it before or after this returns. Must not be called under a lock that refuse() takes. */
void ax_executor_submit(struct ax_executor *executor, struct ax_job *job);

/*
 * The same, but the call may wait behind one that has just begun. If it returns true, ax_executor_spread() must be
 * called every AX_EXECUTOR_BEHIND_MS until that returns false.
 */
bool ax_executor_submit_behind(struct ax_executor *executor, struct ax_job *job);

/* Gives threads to calls that have waited too long behind others. Returns whether there are some that have not. */
bool ax_executor_spread(struct ax_executor *executor);

/*
 * Around a wait of a thread that runs a job of a call, but is idle at the moment, so that no call waits behind it.
 * False: a call is queued, and this thread should return from its job instead.
 */
bool ax_executor_rest_begin(struct ax_executor *executor);
void ax_executor_rest_end(void);

/* Runs a service soon; never in a process that was forked since the executor was started. */
void ax_executor_submit_service(struct ax_executor *executor, struct ax_job *job);

/* Runs the end of a connection, which may block. */
void ax_executor_submit_ending(struct ax_executor *executor, struct ax_job *job);

/* Runs background work when there is a thread for it. */
void ax_executor_submit_background(struct ax_executor *executor, struct ax_job *job);

/*
 * This owner has ended. Threads that have run its jobs, and may have kept thread-local data for it, are renewed soon,
 * and before they run other jobs. A job of this owner that runs later must call this again before it returns. Any
 * thread.
 */
void ax_executor_disown(struct ax_executor *executor, uint64_t owner);

/* Around a wait for a peer, in any thread: no effect except in a thread of this executor that runs a call. */
void ax_executor_wait_begin(struct ax_executor *executor);
void ax_executor_wait_end(struct ax_executor *executor);

/*
 * Ends all threads that have no job; those that begin or end a job later do so as well. Waits until only threads in the
 * middle of a job are left or, with wait_for_jobs, until those have ended, too; at most timeout_ms. Returns how many
 * threads are left.
 */
uint32_t ax_executor_stop(struct ax_executor *executor, bool wait_for_jobs, uint32_t timeout_ms);

/* Frees the executor after ax_executor_stop() has returned 0 and nothing is submitted any more. */
void ax_executor_fini(struct ax_executor *executor);

#endif
