/* SPDX-License-Identifier: MIT */
#include "embed/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "embed/connection_calls.h"
#include "embed/connection_releases.h"
#include "embed/connection_writer.h"
#include "embed/reader.h"

/* ---- the engine's list ---- */

struct ax_connection *ax_connection_of(struct ax_member *member)
{
    return (struct ax_connection *)((char *)member - offsetof(struct ax_connection, member));
}

static void ref_member(struct ax_member *member)
{
    ax_connection_ref(ax_connection_of(member));
}

static void unref_member(struct ax_member *member)
{
    ax_connection_unref(ax_connection_of(member));
}

static void close_in_child(struct ax_member *member)
{
    struct ax_connection *connection = ax_connection_of(member);

    ax_stream_close(&connection->stream);
    connection->wire = NULL;
}

static const struct ax_member_ops member_ops = {.ref = ref_member, .unref = unref_member, .forked = close_in_child};

/* ---- life ---- */

static void run_finish(struct ax_job *job);

static void destroy(struct ax_connection *connection)
{
    ax_connection_free_releases(connection);
    ax_stream_close(&connection->stream);
    ax_reader_fini(connection);
    ax_session_fini(&connection->session);
    ax_objects_fini(&connection->objects);
    free(connection->end_reason);
    pthread_mutex_destroy(&connection->order_lock);
    pthread_mutex_destroy(&connection->lock);
    connection->ops->freed(connection->above);
    free(connection);
}

struct ax_connection *ax_connection_new(struct ax_engine *engine, const struct ax_connection_ops *ops,
                                        const struct ax_session_config *config, void *above)
{
    struct ax_connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return NULL;
    struct ax_session_config own = *config;
    own.keeps_discarded = true;
    int error = ax_session_init(&connection->session, &own, ax_loop_now());
    if (error != 0) {
        free(connection);
        errno = error == AX_ENOMEM ? ENOMEM : EINVAL;
        return NULL;
    }
    static atomic_uint_fast64_t numbers;
    atomic_init(&connection->references, 1);
    connection->number = atomic_fetch_add(&numbers, 1) + 1;
    connection->engine = engine;
    connection->ops = ops;
    connection->above = above;
    connection->on_event = ax_connection_on_event_locked;
    connection->destroy = destroy;
    pthread_mutex_init(&connection->lock, NULL);
    pthread_mutex_init(&connection->order_lock, NULL);
    connection->stream = (struct ax_stream){.in_fd = -1, .out_fd = -1};
    connection->tickets.next = connection->tickets.prev = &connection->tickets;
    ax_objects_init(&connection->objects);
    ax_reader_init(connection);
    connection->member.ops = &member_ops;
    connection->drop_job = (struct ax_job){.run = ax_connection_run_drop, .owner = connection->number};
    connection->finish_job = (struct ax_job){.run = run_finish, .owner = connection->number};
    return connection;
}

/* ---- starting and ending ---- */

/* 0, or a negative errno: regular files are always ready, and cannot be polled. */
static int check_waitable(int fd)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return -errno;
    return S_ISREG(info.st_mode) ? -EPERM : 0;
}

int ax_connection_start(struct ax_connection *connection, int in_fd, int out_fd, const void *received, size_t size)
{
    struct ax_stream stream;
    int error = check_waitable(in_fd);

    if (error == 0)
        error = check_waitable(out_fd);
    if (error != 0) {
        close(in_fd);
        if (out_fd != in_fd)
            close(out_fd);
        return error;
    }
    error = ax_stream_init(&stream, in_fd, out_fd);
    if (error != 0)
        return error;

    struct ax_arrivals arrivals = {0};
    ax_connection_lock(connection);
    if (atomic_load(&connection->phase) >= AX_PHASE_STOPPING) {
        ax_stream_close(&stream);
    } else {
        connection->stream = stream;
        ax_connection_register_locked(connection);
        ax_reader_take_in_locked(connection, received, size, &arrivals);
        ax_connection_post(connection);
    }
    ax_connection_unlock(connection);
    ax_reader_deliver(connection, &arrivals);
    return 0;
}

void ax_connection_close(struct ax_connection *connection, const char *reason)
{
    if (ax_connection_is_past(connection))
        return;
    ax_connection_lock(connection);
    connection->close_called = true;
    ax_session_close(&connection->session, reason, ax_loop_now());
    ax_connection_settle_locked(connection);
    ax_connection_unlock(connection);
}

/* Both sides have sent GOODBYE, or there was no handshake: the session cannot fail any more, but output may be left. */
static void end_closed_locked(struct ax_connection *connection)
{
    if (!connection->writes_blocked)
        return; /* the loop is about to close the stream, or has done so */
    ax_session_drop_output(&connection->session);
    connection->writes_blocked = false;
    ax_connection_post(connection);
}

static bool end_now(struct ax_connection *connection, enum ax_end end, int error, int io_error, const char *reason)
{
    if (ax_connection_is_past(connection))
        return false;
    ax_connection_lock(connection);
    enum ax_session_state state = connection->session.state;
    bool first = state < AX_STATE_CLOSED;
    if (first) {
        connection->end = end;
        connection->io_error = io_error;
        ax_session_fail(&connection->session, error, reason);
        ax_connection_settle_locked(connection);
    } else if (state == AX_STATE_CLOSED) {
        end_closed_locked(connection);
    }
    ax_connection_unlock(connection);
    return first;
}

void ax_connection_cancel(struct ax_connection *connection)
{
    end_now(connection, AX_END_CANCELLED, AX_ESTATE, 0, "Connection was cancelled");
}

bool ax_connection_fail(struct ax_connection *connection, int io_error, const char *reason)
{
    return end_now(connection, AX_END_FAILED, AX_EPROTOCOL, io_error, reason);
}

int ax_connection_fail_at_end(struct ax_connection *connection, const char *reason)
{
    int error = 0;

    if (ax_connection_is_past(connection))
        return 0;
    ax_connection_lock(connection);
    if (connection->end_reason == NULL) {
        connection->end_reason = strdup(reason);
        error = connection->end_reason != NULL ? 0 : AX_ENOMEM;
    }
    ax_connection_unlock(connection);
    return error;
}

static void drop_all(struct ax_connection *connection)
{
    struct ax_object *object, *all = NULL;

    while ((object = ax_objects_take_any(&connection->objects)) != NULL) {
        object->next = all;
        all = object;
    }
    connection->ops->drop(connection, all);
}

/* In the executor: the descriptors are closed. */
static void run_finish(struct ax_job *job)
{
    struct ax_connection *connection =
        (struct ax_connection *)((char *)job - offsetof(struct ax_connection, finish_job));

    connection->ops->finished(connection);
    drop_all(connection);
    ax_connection_lock(connection);
    ax_connection_set_phase_locked(connection, AX_PHASE_FINISHED);
    ax_connection_unlock(connection);
    ax_executor_disown(&connection->engine->executor, connection->number);
    ax_engine_remove(connection->engine, &connection->member);
}
