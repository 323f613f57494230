/* SPDX-License-Identifier: MIT */
#include "embed/placement.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "embed/connection_private.h"
#include "embed/engine.h"

/* Has the body go on in a block. What has come so far is little: the wish was fulfilled at once. */
static void move_in(struct ax_connection *connection, const struct ax_wish *wish, struct ax_buffer *block)
{
    unsigned char *begin = block->data;
    if (ax_session_place(&connection->session, wish->body, block) == 0)
        memcpy(begin, block->data, block->size);
    ax_buffer_fini(block);
}

static bool becomes_object(const struct ax_wish *wish)
{
    return wish->kind == AX_BUFFER_BYTES || wish->kind == AX_BUFFER_BYTEARRAY;
}

bool ax_placement_look_locked(struct ax_connection *connection)
{
    struct ax_wish wish;
    struct ax_buffer memory;
    if (!ax_session_wants_place(&connection->session, &wish))
        return false;
    if (!becomes_object(&wish)) {
        if (ax_blocks_take(connection->engine, wish.size, &memory))
            move_in(connection, &wish, &memory);
        return false;
    }
    connection->wish = wish;
    if (connection->place_submitted || connection->ops->place == NULL)
        return false;
    connection->place_submitted = true;
    ax_connection_ref(connection);
    while (sem_trywait(&connection->place_done) == 0)
        ;
    ax_executor_submit_service(&connection->engine->executor, &connection->place_job);
    return wish.size >= AX_PLACEMENT_HOLD_MIN;
}

void ax_placement_hold(struct ax_connection *connection)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += AX_PLACEMENT_HOLD_US * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    sem_timedwait(&connection->place_done, &until); /* a signal ends it, too: it is of no importance */
}

void ax_placement_run(struct ax_job *job)
{
    struct ax_connection *connection =
        (struct ax_connection *)((char *)job - offsetof(struct ax_connection, place_job));
    struct ax_buffer memory;
    ax_connection_lock(connection);
    struct ax_wish wish = connection->wish;
    connection->place_submitted = false;
    ax_connection_unlock(connection);
    if (connection->ops->place(connection, &wish, &memory)) {
        unsigned char *begin = memory.data;
        void *owner = memory.owner;
        ax_connection_lock(connection);
        int error = ax_session_place(&connection->session, wish.body, &memory);
        ax_connection_unlock(connection);
        sem_post(&connection->place_done);
        if (error == 0)
            memcpy(begin, memory.data, memory.size); /* while more comes behind it */
        ax_buffer_fini(&memory);
        connection->ops->placed(owner);
    }
    ax_connection_unref(connection);
}
