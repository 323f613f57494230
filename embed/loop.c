/* SPDX-License-Identifier: MIT */
#include "embed/loop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DESCRIPTORS 8 /* needed by a loop, with some to spare: libuv 1.44 opens six for the first one */

void ax_task_init(struct ax_task *task, void (*run)(struct ax_task *task))
{
    task->run = run;
    task->next = NULL;
    atomic_init(&task->queued, false);
}

static void run_tasks(struct ax_loop *loop)
{
    struct ax_task *task = atomic_exchange(&loop->tasks, NULL);

    while (task != NULL) {
        struct ax_task *next = task->next;
        /* From here on it may be posted again; what was written before a post is visible to run(). */
        atomic_store(&task->queued, false);
        task->run(task);
        task = next;
    }
}

static void on_wake(uv_async_t *wake)
{
    struct ax_loop *loop = wake->data;

    run_tasks(loop);
    if (atomic_load(&loop->stopping))
        uv_stop(&loop->uv);
}

static void *loop_main(void *arg)
{
    struct ax_loop *loop = arg;

    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* All signals are blocked: a handler in this thread would not interrupt the wait of a Python thread. */
static int start_thread(struct ax_loop *loop)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&loop->thread, NULL, loop_main, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

/*
 * libuv aborts the process if it cannot open the descriptors for the signals of the first loop. A program that embeds
 * the engine must not be aborted, so check first.
 */
static int check_descriptors(void)
{
    int fds[DESCRIPTORS];
    int count = 0;
    int error = 0;

    while (count < DESCRIPTORS && error == 0) {
        fds[count] = eventfd(0, EFD_CLOEXEC);
        if (fds[count] < 0)
            error = -errno;
        else
            count++;
    }
    while (count > 0)
        close(fds[--count]);
    return error;
}

int ax_loop_start(struct ax_loop *loop)
{
    atomic_init(&loop->tasks, NULL);
    atomic_init(&loop->stopping, false);
    int error = check_descriptors();
    if (error != 0)
        return error;
    error = uv_loop_init(&loop->uv);
    if (error != 0)
        return error;
    error = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (error != 0)
        goto fail_loop;
    loop->wake.data = loop;
    error = start_thread(loop);
    if (error != 0)
        goto fail_async;
    return 0;

fail_async:
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
fail_loop:
    uv_loop_close(&loop->uv);
    return error;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void ax_loop_stop(struct ax_loop *loop)
{
    atomic_store(&loop->stopping, true);
    uv_async_send(&loop->wake);
    pthread_join(loop->thread, NULL);
    run_tasks(loop);
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT); /* runs the close callbacks */
    uv_loop_close(&loop->uv);
}

bool ax_loop_post(struct ax_loop *loop, struct ax_task *task)
{
    if (atomic_exchange(&task->queued, true))
        return false;
    struct ax_task *first = atomic_load(&loop->tasks);
    do
        task->next = first;
    while (!atomic_compare_exchange_weak(&loop->tasks, &first, task));
    uv_async_send(&loop->wake);
    return true;
}

int ax_loop_wait(struct ax_loop *loop, struct ax_waiter *waiter)
{
    (void)loop; /* run by its own thread */
    return ax_waiter_wait(waiter);
}

uint64_t ax_loop_now(void)
{
    return uv_hrtime() / 1000000;
}
