/* SPDX-License-Identifier: MIT */
#include "daemon/process/tree.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void ax_tree_adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static FILE *open_children(void)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    return fopen(path, "re");
}

/* Returns whether it was still running. */
static bool end_worker(pid_t pid)
{
    if (waitpid(pid, NULL, WNOHANG) == pid)
        return false;
    return kill(pid, SIGKILL) == 0;
}

int ax_tree_kill_orphans(bool (*spare)(void *arg, pid_t pid), void *arg)
{
    FILE *children = open_children();
    int killed = 0;
    long pid;

    if (children == NULL)
        return -1;
    while (fscanf(children, "%ld", &pid) == 1)
        if ((spare == NULL || !spare(arg, (pid_t)pid)) && end_worker((pid_t)pid))
            killed++;
    fclose(children);
    return killed;
}

bool ax_tree_reap(pid_t pid, int *how)
{
    bool was_there = false;
    pid_t dead;
    int status;

    while ((dead = waitpid(-1, &status, WNOHANG)) > 0)
        if (dead == pid) {
            was_there = true;
            *how = status;
        }
    return was_there;
}

void ax_tree_end(void)
{
    /*
     * A list that changes while it is read may lack a child, but each death is waited for and followed by a new list.
     */
    while (ax_tree_kill_orphans(NULL, NULL) >= 0 && (waitpid(-1, NULL, 0) > 0 || errno == EINTR))
        continue;
}
