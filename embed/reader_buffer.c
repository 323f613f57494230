/* SPDX-License-Identifier: MIT */
#include "embed/reader_buffer.h"

#include <stdlib.h>
#include <string.h>

#include "embed/connection_state.h"
#include "embed/engine.h"

static bool becomes_object(const struct ax_wish *wish)
{
    return wish->kind == AX_BUFFER_BYTES || wish->kind == AX_BUFFER_BYTEARRAY;
}

/* Nobody reads on for a moment. Whoever does so outside the loop leaves it to the loop, which has a timer. */
static void hold_locked(struct ax_connection *connection)
{
    connection->held = true;
    connection->held_until = ax_loop_now() + AX_PLACEMENT_HOLD_MS;
    if (connection->lease.state != AX_LEASE_LOOP)
        connection->lease.wanted = true;
}

bool ax_placement_look_locked(struct ax_connection *connection, struct ax_wish *wish)
{
    if (!ax_session_wants_place(&connection->session, wish))
        return false;
    if (!becomes_object(wish)) {
        connection->moving = true;
        return true;
    }
    connection->wish = *wish;
    if (connection->place_submitted || connection->ops->place == NULL)
        return false;
    connection->place_submitted = true;
    ax_connection_ref(connection);
    if (wish->size >= AX_PLACEMENT_HOLD_MIN)
        hold_locked(connection);
    ax_executor_submit_service(&connection->engine->executor, &connection->place_job);
    return false;
}

void ax_placement_move(struct ax_connection *connection, const struct ax_wish *wish)
{
    struct ax_buffer block;
    if (ax_blocks_take(connection->engine, wish->size, &block)) {
        unsigned char *begin = block.data;
        ax_connection_lock(connection);
        int error = ax_session_place(&connection->session, wish->body, &block);
        ax_connection_unlock(connection);
        if (error == 0)
            memcpy(begin, block.data, block.size); /* what has come is in `block` now */
        ax_buffer_fini(&block);
    }
    ax_connection_lock(connection);
    connection->moving = false;
    ax_connection_unlock(connection);
}

/* The memory has been given, or will not be: reading goes on. */
static int end_hold(struct ax_connection *connection, const struct ax_wish *wish, struct ax_buffer *memory)
{
    ax_connection_lock(connection);
    int error = memory != NULL ? ax_session_place(&connection->session, wish->body, memory) : AX_ESTATE;
    bool was_held = connection->held;
    connection->held = false;
    ax_connection_unlock(connection);
    if (was_held)
        ax_connection_post(connection);
    return error;
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
        if (end_hold(connection, &wish, &memory) == 0)
            memcpy(begin, memory.data, memory.size); /* while more comes behind it */
        ax_buffer_fini(&memory);
        connection->ops->placed(owner);
    } else {
        end_hold(connection, &wish, NULL);
    }
    ax_connection_unref(connection);
}
