/* SPDX-License-Identifier: MIT */
#include "daemon/base/background.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct ax_background_job {
    pthread_mutex_t lock;
    bool is_done;                     /* guarded by lock, like the rest */
    struct ax_background *background; /* NULL: abandoned; the thread owns the job */
    void (*work)(void *arg);
    void (*done)(void *arg);
    void (*drop)(void *arg);
    void *arg;
};

static void free_job(struct ax_background_job *job)
{
    pthread_mutex_destroy(&job->lock);
    free(job);
}

static void *run(void *arg)
{
    struct ax_background_job *job = arg;
    bool is_abandoned;

    job->work(job->arg);
    pthread_mutex_lock(&job->lock);
    job->is_done = true;
    is_abandoned = job->background == NULL;
    if (!is_abandoned)
        uv_async_send(&job->background->async); /* under the lock, so that the handle is not closed meanwhile */
    pthread_mutex_unlock(&job->lock);
    if (is_abandoned) {
        job->drop(job->arg);
        free_job(job);
    }
    return NULL;
}

static bool is_done(struct ax_background_job *job)
{
    bool result;

    pthread_mutex_lock(&job->lock);
    result = job->is_done;
    pthread_mutex_unlock(&job->lock);
    return result;
}

static void on_async(uv_async_t *async)
{
    struct ax_background *background = async->data;
    struct ax_background_job *job = background->job;
    void (*done)(void *arg);
    void *arg;

    if (job == NULL || !is_done(job)) /* a wake-up for an abandoned job */
        return;
    background->job = NULL;
    done = job->done;
    arg = job->arg;
    free_job(job);
    done(arg);
}

int ax_background_init(struct ax_background *background, uv_loop_t *loop)
{
    int code = uv_async_init(loop, &background->async, on_async);

    background->job = NULL;
    background->async.data = background;
    if (code == 0)
        uv_unref((uv_handle_t *)&background->async);
    return code;
}

/* The thread has all signals blocked, so that the loop's thread gets them. Returns an errno. */
static int start_thread(struct ax_background_job *job)
{
    sigset_t all, before;
    pthread_t thread;
    int code;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&thread, NULL, run, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0)
        pthread_detach(thread);
    return code;
}

int ax_background_run(struct ax_background *background, void (*work)(void *arg), void (*done)(void *arg),
                      void (*drop)(void *arg), void *arg)
{
    struct ax_background_job *job = calloc(1, sizeof *job);
    int code;

    if (job == NULL)
        return -ENOMEM;
    *job = (struct ax_background_job){.background = background, .work = work, .done = done, .drop = drop, .arg = arg};
    pthread_mutex_init(&job->lock, NULL);
    background->job = job;
    code = start_thread(job);
    if (code == 0)
        return 0;
    background->job = NULL;
    free_job(job);
    return -code;
}

bool ax_background_is_busy(const struct ax_background *background)
{
    return background->job != NULL;
}

void ax_background_abandon(struct ax_background *background)
{
    struct ax_background_job *job = background->job;
    bool was_done;

    background->job = NULL;
    if (job == NULL)
        return;
    pthread_mutex_lock(&job->lock);
    was_done = job->is_done;
    job->background = NULL;
    pthread_mutex_unlock(&job->lock);
    if (!was_done)
        return; /* its thread frees it */
    job->drop(job->arg);
    free_job(job);
}

void ax_background_close(struct ax_background *background)
{
    ax_background_abandon(background);
    uv_close((uv_handle_t *)&background->async, NULL);
}
