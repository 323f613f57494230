/* SPDX-License-Identifier: MIT */
#include "embed/connection_calls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "embed/connection_releases.h"
#include "embed/connection_writer.h"
#include "embed/reader.h"

static struct ax_request *request_of(struct ax_job *job)
{
    return (struct ax_request *)job;
}

/* ---- calls of ours ---- */

int ax_connection_call(struct ax_connection *connection, const struct ax_operation *operation,
                       struct ax_payload *payload, struct ax_pending *pending)
{
    if (ax_connection_is_past(connection))
        return AX_ESTATE;
    ax_waiter_init(&pending->waiter);
    pending->requests = (struct ax_job_queue){0};
    pending->done = false;
    pending->message = NULL;
    ax_connection_lock(connection);
    int error;
    do
        error = ax_session_call(&connection->session, operation, payload, pending, ax_loop_now(), &pending->id);
    while (error == AX_EFULL && (error = ax_connection_watch_locked(connection)) == 0);
    if (error == 0)
        ax_connection_settle_locked(connection);
    ax_connection_unlock(connection);
    if (error != 0)
        ax_waiter_fini(&pending->waiter);
    return error;
}

int ax_connection_await(struct ax_connection *connection, struct ax_pending *pending, struct ax_request **request)
{
    *request = NULL;
    if (ax_connection_is_past(connection))
        return 0;
    ax_executor_wait_begin(&connection->engine->executor);
    int error = ax_reader_wait(connection, &pending->waiter);
    ax_executor_wait_end(&connection->engine->executor);
    if (error != 0)
        return error;
    ax_connection_lock(connection);
    *request = request_of(ax_job_pop(&pending->requests));
    ax_connection_unlock(connection);
    if (*request == NULL)
        ax_waiter_fini(&pending->waiter);
    return 0;
}

void ax_connection_abandon(struct ax_connection *connection, struct ax_pending *pending)
{
    if (ax_connection_is_past(connection))
        return;
    ax_connection_lock(connection);
    if (!pending->done)
        ax_session_forget(&connection->session, pending->id);
    ax_connection_unlock(connection);
    ax_waiter_fini(&pending->waiter);
    for (struct ax_job *job; (job = ax_job_pop(&pending->requests)) != NULL;) /* no more are added */
        ax_executor_submit(&connection->engine->executor, job);
    if (pending->message == NULL)
        return;
    ax_connection_release_unclaimed(connection, pending->message, NULL, 0);
    ax_connection_drop_later(connection, ax_ticket_done(connection, &pending->ticket));
    ax_message_free(pending->message);
}

/* ---- requests of the peer ---- */

static void run_request(struct ax_job *job)
{
    struct ax_connection *connection = request_of(job)->connection;

    ax_connection_ref(connection);
    do
        connection->ops->serve(request_of(job));
    while ((job = ax_reader_next_job(connection)) != NULL);
    ax_connection_disown_if_finished(connection);
    ax_connection_unref(connection);
}

static void refuse_request(struct ax_job *job)
{
    struct ax_request *request = request_of(job);
    struct ax_connection *connection = request->connection;

    ax_connection_release_unclaimed(connection, request->message, NULL, 0);
    ax_connection_drop_later(connection, ax_request_unpickled(request));
    ax_request_fail(request, "Too many calls: all threads that run calls are in use, and no more can wait for one");
    ax_request_free(request);
}

/* Takes ownership of the message, except when memory is short: then NULL. */
static struct ax_request *request_new(struct ax_connection *connection, struct ax_message *message)
{
    struct ax_request *request = calloc(1, sizeof *request);

    if (request == NULL)
        return NULL;
    request->job.owner = connection->number;
    request->job.run = run_request;
    request->job.refuse = refuse_request;
    request->connection = connection;
    request->message = message;
    ax_connection_ref(connection);
    ax_engine_call_begins(connection->engine);
    return request;
}

void ax_request_give_credit(struct ax_request *request)
{
    struct ax_connection *connection = request->connection;
    uint64_t counted = request->message->counted;

    if (counted == 0 || ax_connection_is_past(connection))
        return;
    request->message->counted = 0;
    ax_connection_lock(connection);
    ax_session_consumed(&connection->session, counted, ax_loop_now());
    ax_connection_settle_locked(connection);
    ax_connection_unlock(connection);
}

struct ax_object *ax_request_unpickled(struct ax_request *request)
{
    ax_request_give_credit(request);
    return ax_ticket_done(request->connection, &request->ticket);
}

int ax_request_result(struct ax_request *request, enum ax_result_kind kind, struct ax_payload *payload)
{
    struct ax_connection *connection = request->connection;
    uint64_t call = request->message->call;
    int error;

    ax_connection_lock(connection);
    do {
        error = ax_session_result(&connection->session, call, kind, payload, ax_loop_now());
        if (error == AX_EFULL)
            ax_connection_watch_locked(connection); /* not interrupted by signals: the result waits until there is
                                                       room */
    } while (error == AX_EFULL);
    if (error == 0)
        ax_connection_settle_locked(connection);
    ax_connection_unlock(connection);
    return error;
}

void ax_request_fail(struct ax_request *request, const char *text)
{
    struct ax_connection *connection = request->connection;

    ax_connection_lock(connection);
    int error = ax_session_result_failed(&connection->session, request->message->call, text, ax_loop_now());
    if (error == AX_ENOMEM) /* rather than let the peer wait forever */
        ax_session_fail(&connection->session, AX_ENOMEM, "Out of memory for a result");
    ax_connection_settle_locked(connection);
    ax_connection_unlock(connection);
}

void ax_request_free(struct ax_request *request)
{
    struct ax_connection *connection = request->connection;

    ax_message_free(request->message);
    free(request);
    ax_engine_call_ends(connection->engine);
    ax_connection_unref(connection);
}

/* ---- events of the session ---- */

static void on_call(struct ax_connection *connection, struct ax_message *message, struct ax_arrivals *arrivals)
{
    struct ax_request *request = request_new(connection, message);

    if (request == NULL) {
        ax_message_free(message);
        ax_session_fail(&connection->session, AX_ENOMEM, "Out of memory for a call");
        return;
    }
    ax_ticket_take(connection, &request->ticket);
    struct ax_pending *outer =
        message->within > 0 ? ax_session_waiter(&connection->session, message->within - 1) : NULL;
    if (outer != NULL) {
        ax_job_push(&outer->requests, &request->job);
        arrivals->handed++;
        ax_waiter_post(&outer->waiter);
    } else { /* not within a call, or no thread waits for that call any more */
        ax_job_push(&arrivals->jobs, &request->job);
    }
}

static void on_result(struct ax_connection *connection, struct ax_pending *pending, struct ax_message *message,
                      struct ax_arrivals *arrivals)
{
    arrivals->handed++;
    pending->message = message;
    pending->done = true;
    ax_ticket_take(connection, &pending->ticket);
    ax_waiter_post(&pending->waiter);
}

static void on_release(struct ax_connection *connection, struct ax_message *message)
{
    struct ax_object *doomed = NULL;
    struct ax_ids ids = message->ids;
    uint64_t id;

    while (ax_ids_next(&ids, &id)) {
        if (ax_objects_doom(&connection->objects, id, &doomed) == 0)
            continue;
        char reason[64];
        snprintf(reason, sizeof reason, "Object not found: %" PRIu64, id);
        ax_session_fail(&connection->session, AX_EPROTOCOL, reason);
        break;
    }
    ax_message_free(message);
    /* Earlier messages that are not unpickled yet may refer to these objects. */
    ax_connection_drop_in_order(connection, doomed);
}

void ax_connection_on_event_locked(struct ax_connection *connection, struct ax_event *event,
                                   struct ax_arrivals *arrivals)
{
    switch (event->type) {
    case AX_EVENT_CALL:
        on_call(connection, event->message, arrivals);
        break;
    case AX_EVENT_RESULT:
        on_result(connection, event->waiter, event->message, arrivals);
        break;
    case AX_EVENT_RELEASE:
        on_release(connection, event->message);
        break;
    case AX_EVENT_CLOSED:
        ax_message_free(event->message);
        break;
    case AX_EVENT_NONE:
    case AX_EVENT_READY:
    case AX_EVENT_FAILED:
        break; /* handled by ax_connection_settle_locked(), from the state */
    }
}
