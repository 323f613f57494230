/* SPDX-License-Identifier: MIT */
/*
 * The threads that run user code.
 *
 * Every call runs on a thread of its own, so that one which blocks delays no other. Threads are cached, the one that
 * was busy last first, and end after a while without work. There are three kinds of job:
 *   calls     up to max_threads at once; then they queue, and beyond max_queued they are refused.
 *   services  short jobs of the engine (dropping released objects), which must get through when every thread is stuck
 *             in a call: they have a queue and a few threads of their own.
 *   endings   of connections. They must get through as well, but may block, for a channel or a program that does not
 *             end: they take no thread away from calls and services, and delay each other only when there are very
 *             many.
 *   background work that our own side asked for and that may block, like a call, but is never refused.
 * Waking a thread costs more than a short call. So a call may first wait *behind* one that has just begun, whose thread
 * takes it next; if that one turns out not to be short, whoever has submitted the other finds it a thread of its own
 * soon. A call that waits for the peer may wait for a call of the peer to us. When all threads wait like that, a queued
 * call might never start: then the queue is refused, instead of a deadlock.
 *
 * Jobs have owners, the connections. What one of them leaves in a thread (threading.local) is nothing for another one:
 * a thread is given to the owner that it worked for before, if possible, and is else *renewed*.
 *
 * Thread-safe. Knows no Python: the hooks attach a thread to the interpreter.
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
#define AX_EXECUTOR_MAX_QUEUED 65536  /* calls waiting for a thread; their memory is bounded by each session's limits */
#define AX_EXECUTOR_SERVICE_THREADS 2 /* more threads than calls may use */
#define AX_EXECUTOR_IDLE_MS 10000     /* a thread without work ends after this */
#define AX_EXECUTOR_BEHIND_MS 1       /* how long a call waits behind another, and as much again */

#define AX_EXECUTOR_ENDING_THREADS 64 /* threads beside all these that ends of connections may take; more ends wait */

enum ax_job_kind { AX_JOB_CALL, AX_JOB_SERVICE, AX_JOB_BACKGROUND, AX_JOB_ENDING };

/*
 * Work for a thread. Embedded in what it is about; owned by the executor from submit to run or refuse, and in one queue
 * at most.
 */
struct ax_job {
    void (*run)(struct ax_job *job);    /* in a thread of the executor, without any lock; a child that it forks ends */
    void (*refuse)(struct ax_job *job); /* instead of run, in any thread, without the executor's lock; calls only */
    enum ax_job_kind kind;              /* set by the submit functions */
    uint64_t owner;     /* whose code it runs, as with ax_executor_disown(); 0: nobody's in particular */
    uint64_t queued_at; /* ns; of one that waits behind another */
    struct ax_job *next;
};

/* Jobs in the order in which they came; its owner guards it. */
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

/*
 * All fields but hooks, blocked and limits are guarded by lock, which is a leaf: nothing else is locked or called under
 * it.
 */
struct ax_executor {
    struct ax_executor_hooks hooks;
    unsigned generation; /* of the process that it was started in (fork.h) */
    sigset_t blocked;    /* signals in its threads, and so in processes that calls start: as where it was started */
    uint32_t max_threads;
    uint32_t max_queued;
    uint64_t behind_ns; /* a call that began less than this ago is expected to end soon */
    pthread_mutex_t lock;
    struct ax_executor_thread *idle;  /* the one that was busy last is first */
    struct ax_executor_thread *busy;  /* those that run jobs, the newest first */
    struct ax_executor_thread *spare; /* records of threads that have ended */
    uint32_t threads;                 /* that take jobs, including those that are being started */
    uint32_t ending;                  /* that take none any more, but are not gone yet */
    uint32_t in_jobs;                 /* that run a job */
    uint32_t in_calls;                /* that run a call */
    uint32_t waiting;                 /* of in_calls: that wait for a peer */
    struct ax_job_queue calls;
    atomic_uint queued; /* calls.count, readable without the lock */
    struct ax_job_queue services;
    struct ax_job_queue endings;
    uint32_t in_endings; /* threads that run one */
    bool stopping;
    pthread_cond_t ended; /* while stopping: a thread has ended, or begun a job */
};

/*
 * Starts the first thread; the others come as they are needed. `max_threads` 0 takes the default. 0, or -EAGAIN when
 * there can be no thread.
 */
int ax_executor_start(struct ax_executor *executor, const struct ax_executor_hooks *hooks, uint32_t max_threads);

/* Runs a call, or refuses it before or after this returns. Not under a lock that refuse() takes. */
void ax_executor_submit(struct ax_executor *executor, struct ax_job *job);

/*
 * The same, but the call may wait behind one that has just begun. True: then ax_executor_spread() is to be called every
 * AX_EXECUTOR_BEHIND_MS until it returns false.
 */
bool ax_executor_submit_behind(struct ax_executor *executor, struct ax_job *job);

/* Finds threads for calls that have waited too long behind others. Whether there are some that have not. */
bool ax_executor_spread(struct ax_executor *executor);

/*
 * Around a wait of a thread that runs a call's job, and has nothing to do at the moment: nobody is to wait behind it.
 * False: a call waits for a thread, so that this one should rather return from its job.
 */
bool ax_executor_rest_begin(struct ax_executor *executor);
void ax_executor_rest_end(void);

/* Runs a service, soon; never in a process that was forked since the executor was started. */
void ax_executor_submit_service(struct ax_executor *executor, struct ax_job *job);

/* Runs the end of a connection, which may block. */
void ax_executor_submit_ending(struct ax_executor *executor, struct ax_job *job);

/* Runs background work, when there is a thread for it. */
void ax_executor_submit_background(struct ax_executor *executor, struct ax_job *job);

/*
 * This owner has ended. Threads that have run its jobs, and may have kept something for it, are renewed before they run
 * others, and soon. A job of its that runs later calls this again before it returns. Any thread.
 */
void ax_executor_disown(struct ax_executor *executor, uint64_t owner);

/* Around a wait for a peer, in any thread: does nothing where it is not a thread of this executor running a call. */
void ax_executor_wait_begin(struct ax_executor *executor);
void ax_executor_wait_end(struct ax_executor *executor);

/*
 * Lets every thread end that has no work; those that begin or end a job after this do so, too. Waits until only threads
 * are left that are in the middle of a job; with wait_for_jobs, until those have ended as well; at most timeout_ms.
 * Returns how many are left.
 */
uint32_t ax_executor_stop(struct ax_executor *executor, bool wait_for_jobs, uint32_t timeout_ms);

/* Frees what is left when ax_executor_stop() has returned 0 and nobody submits any more. */
void ax_executor_fini(struct ax_executor *executor);

#endif
