/* SPDX-License-Identifier: MIT */
#include "embed/waiter.h"

#include <errno.h>
#include <stddef.h>

void ax_waiter_init(struct ax_waiter *waiter)
{
    sem_init(&waiter->posted, 0, 0);
    waiter->next = NULL;
}

void ax_waiter_post(struct ax_waiter *waiter)
{
    sem_post(&waiter->posted);
}

int ax_waiter_wait(struct ax_waiter *waiter)
{
    return sem_wait(&waiter->posted) == 0 ? 0 : -EINTR; /* EINTR is the only error that a valid semaphore has */
}

void ax_waiter_fini(struct ax_waiter *waiter)
{
    sem_destroy(&waiter->posted);
}
