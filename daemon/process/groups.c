/* SPDX-License-Identifier: MIT */
#include "daemon/process/groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"

#define AGAIN_MS 50u /* killed processes have mostly exited by then */

/* The thread's data. It owns the groups in it meanwhile. */
struct task {
    struct ax_groups *groups; /* only for the loop's thread */
    struct ax_cgroup base;
    pid_t supervisor;
    uint64_t number; /* of the first one to be created */
    unsigned wanted;
    struct ax_group *made;
    struct ax_group *doomed; /* on return: those that are not empty */
    int code;                /* a negative errno: no more could be created */
};

static void look(struct ax_groups *groups);

static void push(struct ax_group **list, struct ax_group *group)
{
    group->next = *list;
    *list = group;
}

static struct ax_group *pop(struct ax_group **list)
{
    struct ax_group *group = *list;

    if (group != NULL)
        *list = group->next;
    return group;
}

void ax_group_close(struct ax_group *group)
{
    if (group->procs_fd >= 0)
        close(group->procs_fd);
    group->procs_fd = -1;
}

static void free_group(struct ax_group *group)
{
    ax_group_close(group);
    free(group);
}

static void free_all(struct ax_group **list)
{
    struct ax_group *group;

    while ((group = pop(list)) != NULL)
        free_group(group);
}

/* ---- in the thread ---- */

static void remove_doomed(struct task *task)
{
    struct ax_group *left = NULL, *group;
    char name[AX_CGROUP_NAME];

    while ((group = pop(&task->doomed)) != NULL) {
        ax_cgroup_name(name, task->supervisor, group->number);
        if (ax_cgroup_remove(&task->base, name) == -EBUSY)
            push(&left, group);
        else
            free_group(group);
    }
    task->doomed = left;
}

static int make_one(struct task *task)
{
    struct ax_group *group = calloc(1, sizeof *group);
    char name[AX_CGROUP_NAME];

    if (group == NULL)
        return -ENOMEM;
    group->number = task->number++;
    ax_cgroup_name(name, task->supervisor, group->number);
    group->procs_fd = ax_cgroup_make(&task->base, name);
    if (group->procs_fd < 0) {
        int code = group->procs_fd;

        free(group);
        return code;
    }
    push(&task->made, group);
    return 0;
}

static void work(void *arg)
{
    struct task *task = arg;

    remove_doomed(task);
    for (unsigned i = 0; i < task->wanted && task->code == 0; i++)
        task->code = make_one(task);
}

static void drop(void *arg)
{
    struct task *task = arg;

    free_all(&task->made);
    free_all(&task->doomed);
    free(task);
}

/* ---- in the loop ---- */

static void on_timer(uv_timer_t *timer)
{
    look(timer->data);
}

static void done(void *arg)
{
    struct task *task = arg;
    struct ax_groups *groups = task->groups;
    struct ax_group *group;
    bool is_busy = task->doomed != NULL;
    bool has_more = groups->doomed != NULL;

    while ((group = pop(&task->made)) != NULL) {
        push(&groups->stock, group);
        groups->stocked++;
    }
    while ((group = pop(&task->doomed)) != NULL)
        push(&groups->doomed, group);
    if (task->code < 0 && groups->exist) {
        ax_log(AX_LOG_WARNING, "cannot make a control group in %s: %s. Workers go without from now on",
               groups->base.path, strerror(-task->code));
        groups->exist = false;
    }
    drop(task);
    if (has_more)
        look(groups);
    else if (is_busy)
        uv_timer_start(&groups->timer, on_timer, AGAIN_MS, 0);
    groups->ready(groups->owner);
}

/* Starts the thread if there is work. Without memory, that is retried when there is more work. */
static void look(struct ax_groups *groups)
{
    unsigned wanted = groups->exist && groups->stocked < AX_GROUPS_STOCK ? AX_GROUPS_STOCK - groups->stocked : 0;
    struct task *task;

    if (ax_background_is_busy(&groups->background) || (wanted == 0 && groups->doomed == NULL))
        return;
    task = calloc(1, sizeof *task);
    if (task == NULL)
        return;
    *task = (struct task){.groups = groups,
                          .base = groups->base,
                          .supervisor = getpid(),
                          .number = groups->last_number + 1,
                          .wanted = wanted,
                          .doomed = groups->doomed};
    if (ax_background_run(&groups->background, work, done, drop, task) < 0) {
        free(task);
        uv_timer_start(&groups->timer, on_timer, AGAIN_MS, 0);
        return;
    }
    groups->last_number += wanted;
    groups->doomed = NULL;
}

struct ax_group *ax_groups_take(struct ax_groups *groups, uint64_t memory, uint64_t tasks)
{
    struct ax_group *group = pop(&groups->stock);
    char name[AX_CGROUP_NAME];
    int code;

    if (group == NULL) {
        look(groups);
        return NULL;
    }
    groups->stocked--;
    ax_cgroup_name(name, getpid(), group->number);
    code = ax_cgroup_limit(&groups->base, name, memory, tasks);
    if (code < 0)
        ax_log(AX_LOG_WARNING, "cannot limit the control group %s/%s: %s", groups->base.path, name, strerror(-code));
    look(groups);
    return group;
}

void ax_groups_end(struct ax_groups *groups, struct ax_group *group)
{
    if (group == NULL)
        return;
    push(&groups->doomed, group);
    look(groups);
}

static void announce(const struct ax_groups *groups)
{
    const struct ax_cgroup *base = &groups->base;
    const char *limits = base->has_memory && base->has_pids ? "limits of memory and tasks"
                         : base->has_memory                 ? "a limit of memory, but none of tasks"
                         : base->has_pids                   ? "a limit of tasks, but none of memory"
                                                            : "no limits, since it has no controllers for them";

    ax_log(AX_LOG_INFO, "each worker has a control group in %s, which can have %s", base->path, limits);
}

int ax_groups_init(struct ax_groups *groups, uv_loop_t *loop, void (*ready)(void *owner), void *owner)
{
    bool is_leaf;
    int code;

    *groups = (struct ax_groups){.ready = ready, .owner = owner};
    uv_timer_init(loop, &groups->timer);
    uv_unref((uv_handle_t *)&groups->timer);
    groups->timer.data = groups;
    code = ax_background_init(&groups->background, loop);
    if (code < 0 || !ax_cgroup_find(&groups->base, &is_leaf))
        return code;
    code = ax_cgroup_enter(&groups->base, is_leaf);
    if (code < 0) {
        ax_log(AX_LOG_WARNING, "cannot use the control group %s: %s. Workers go without", groups->base.path,
               strerror(-code));
        return 0;
    }
    ax_cgroup_remove_stale(&groups->base, getpid());
    groups->exist = true;
    announce(groups);
    look(groups);
    return 0;
}

void ax_groups_close(struct ax_groups *groups)
{
    bool existed = groups->base.path[0] != '\0';

    ax_background_close(&groups->background);
    uv_close((uv_handle_t *)&groups->timer, NULL);
    free_all(&groups->stock);
    free_all(&groups->doomed);
    groups->exist = false;
    if (existed && groups->last_number > 0)
        ax_cgroup_remove_stale(&groups->base, getpid());
}
