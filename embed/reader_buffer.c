/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "embed/reader_private.h"

static bool becomes_object(const struct ax_buffer_request *buffer_request)
{
    return buffer_request->kind == AX_BUFFER_BYTES || buffer_request->kind == AX_BUFFER_BYTEARRAY;
}

/* Pauses reading for a moment. A reader other than the loop leaves it to the loop, which has a timer. */
static void pause_locked(struct ax_reader *reader)
{
    reader->paused = true;
    reader->paused_until = ax_loop_now() + AX_READER_PAUSE_MS;
    if (reader->state != AX_LEASE_LOOP)
        reader->wanted = true;
}

bool ax_reader_request_buffer_locked(struct ax_connection *connection, struct ax_buffer_request *buffer_request)
{
    struct ax_reader *reader = &connection->reader;

    if (!ax_session_wants_buffer(&connection->session, buffer_request))
        return false;
    if (!becomes_object(buffer_request)) {
        reader->copying = true;
        return true;
    }
    reader->buffer_request = *buffer_request;
    if (reader->buffer_submitted || connection->ops->allocate == NULL)
        return false;
    reader->buffer_submitted = true;
    ax_connection_ref(connection);
    if (buffer_request->size >= AX_READER_PAUSE_MIN)
        pause_locked(reader);
    ax_executor_submit_service(&connection->engine->executor, &reader->buffer_job);
    return false;
}

void ax_reader_provide_buffer(struct ax_connection *connection, const struct ax_buffer_request *buffer_request)
{
    struct ax_buffer block;

    if (ax_blocks_take(&connection->engine->blocks, buffer_request->size, &block)) {
        unsigned char *begin = block.data;
        ax_connection_lock(connection);
        int error = ax_session_give_buffer(&connection->session, buffer_request->body, &block);
        ax_connection_unlock(connection);
        if (error == 0)
            memcpy(begin, block.data, block.size); /* `block` now holds the bytes received before */
        ax_buffer_fini(&block);
    }
    ax_connection_lock(connection);
    connection->reader.copying = false;
    ax_connection_unlock(connection);
}

/* The buffer has been provided, or will not be: resumes reading. */
static int end_pause(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                     struct ax_buffer *buffer)
{
    ax_connection_lock(connection);
    int error = buffer != NULL ? ax_session_give_buffer(&connection->session, buffer_request->body, buffer) : AX_ESTATE;
    bool was_paused = connection->reader.paused;
    connection->reader.paused = false;
    ax_connection_unlock(connection);
    if (was_paused)
        ax_connection_post(connection);
    return error;
}

void ax_reader_run_buffer(struct ax_job *job)
{
    struct ax_connection *connection =
        (struct ax_connection *)((char *)job - offsetof(struct ax_connection, reader.buffer_job));
    struct ax_buffer buffer;

    ax_connection_lock(connection);
    struct ax_buffer_request buffer_request = connection->reader.buffer_request;
    connection->reader.buffer_submitted = false;
    ax_connection_unlock(connection);
    if (connection->ops->allocate(connection, &buffer_request, &buffer)) {
        unsigned char *begin = buffer.data;
        void *owner = buffer.owner;
        if (end_pause(connection, &buffer_request, &buffer) == 0)
            memcpy(begin, buffer.data, buffer.size); /* while more is received behind it */
        ax_buffer_fini(&buffer);
        connection->ops->copied(owner);
    } else {
        end_pause(connection, &buffer_request, NULL);
    }
    ax_connection_unref(connection);
}
