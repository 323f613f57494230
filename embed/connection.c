/* SPDX-License-Identifier: MIT */
#include "embed/connection.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "embed/connection_state.h"
#include "embed/engine.h"
#include "embed/reader_buffer.h"

/* Slices that one write takes. */
#define WRITE_SLICES 16
/* Bytes that one round of writing sends before others get their turn; the rest follows when the stream has room again. */
#define WRITE_BUDGET (256u * 1024u)
/* How long who moves much gives way to others: to be woken on another core takes them 50 µs and more; they may not get to run at all. */
#define GIVE_WAY_NS 1000000

/* ---- life ---- */

static void run_drop(struct ax_job *job);
static void run_finish(struct ax_job *job);

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
    pthread_mutex_init(&connection->lock, NULL);
    pthread_mutex_init(&connection->order_lock, NULL);
    connection->stream = (struct ax_stream){.in_fd = -1, .out_fd = -1};
    connection->lease.wake_fd = -1;
    connection->tickets.next = connection->tickets.prev = &connection->tickets;
    ax_objects_init(&connection->objects);
    ax_task_init(&connection->attend, ax_connection_attend);
    connection->drop_job = (struct ax_job){.run = run_drop, .owner = connection->number};
    connection->finish_job = (struct ax_job){.run = run_finish, .owner = connection->number};
    connection->place_job.run = ax_placement_run;
    connection->timer_due = AX_NEVER;
    return connection;
}

void ax_connection_ref(struct ax_connection *connection)
{
    atomic_fetch_add(&connection->references, 1);
}

void ax_connection_unref(struct ax_connection *connection)
{
    if (atomic_fetch_sub(&connection->references, 1) > 1)
        return;
    for (struct ax_release *release = atomic_load(&connection->releases), *next; release != NULL; release = next) {
        next = release->next;
        free(release);
    }
    ax_stream_close(&connection->stream);
    ax_lease_end_locked(connection);
    ax_session_fini(&connection->session);
    ax_objects_fini(&connection->objects);
    free(connection->end_reason);
    pthread_mutex_destroy(&connection->order_lock);
    pthread_mutex_destroy(&connection->lock);
    connection->ops->freed(connection->above);
    free(connection);
}

void ax_connection_post(struct ax_connection *connection)
{
    ax_connection_ref(connection); /* for the task, until it has run */
    if (!ax_loop_post(&connection->engine->loop, &connection->attend))
        ax_connection_unref(connection); /* it was queued, and has one */
}

/* ---- the lock ---- */

#ifndef NDEBUG
static bool (*may_not_lock)(void);

void ax_connection_forbid_lock(bool (*is_held)(void))
{
    may_not_lock = is_held;
}
#endif

/* Who holds the lock is never to wait for the GIL: so nobody who holds the GIL may wait for the lock. */
static void check_thread(void)
{
    assert(may_not_lock == NULL || !may_not_lock());
}

void ax_connection_lock(struct ax_connection *connection)
{
    check_thread();
    if (pthread_mutex_trylock(&connection->lock) == 0)
        return;
    atomic_fetch_add(&connection->knocking, 1);
    pthread_mutex_lock(&connection->lock);
    atomic_fetch_sub(&connection->knocking, 1);
}

void ax_connection_lock_last(struct ax_connection *connection)
{
    check_thread();
    if (atomic_load(&connection->knocking) > 0) {
        uint64_t end = uv_hrtime() + GIVE_WAY_NS;
        while (atomic_load(&connection->knocking) > 0 && uv_hrtime() < end)
            sched_yield();
    }
    pthread_mutex_lock(&connection->lock);
}

/* Messages that are freed by a service: to give the kernel its pages back takes long. */
struct discarded {
    struct ax_job job;
    struct ax_message *messages;
};

static void run_discard(struct ax_job *job)
{
    struct discarded *discarded = (struct discarded *)job;
    ax_message_free_all(discarded->messages);
    free(discarded);
}

static void discard(struct ax_connection *connection, struct ax_message *messages)
{
    struct discarded *discarded = malloc(sizeof *discarded);
    if (discarded == NULL) {
        ax_message_free_all(messages);
        return;
    }
    *discarded = (struct discarded){.job.run = run_discard, .messages = messages};
    ax_executor_submit_service(&connection->engine->executor, &discarded->job);
}

void ax_connection_unlock(struct ax_connection *connection)
{
    struct ax_message *discarded = NULL;
    /* The body that is being moved may be one of them: whoever moves it unlocks once more. */
    if (connection->session.discarded != NULL && !connection->moving)
        discarded = ax_session_take_discarded(&connection->session);
    pthread_mutex_unlock(&connection->lock);
    if (discarded != NULL)
        discard(connection, discarded);
}

/* Whether this process was forked from the connection's: then its locks may be held by nobody, and nothing is done with it. */
static bool is_past(const struct ax_connection *connection)
{
    return ax_engine_is_past(connection->engine);
}

/* ---- phases ---- */

static void wake_watchers(struct ax_connection *connection)
{
    struct ax_waiter *waiter = connection->watchers;
    connection->watchers = NULL;
    while (waiter != NULL) {
        struct ax_waiter *next = waiter->next; /* gone when posted */
        ax_waiter_post(waiter);
        waiter = next;
    }
}

static void set_phase(struct ax_connection *connection, enum ax_phase phase)
{
    if ((int)phase <= atomic_load(&connection->phase))
        return;
    atomic_store(&connection->phase, (int)phase);
    wake_watchers(connection);
}

/* Blocks until the watchers are woken. Called and left with the lock; gives it back in between. */
static int watch_locked(struct ax_connection *connection)
{
    struct ax_waiter waiter;
    ax_waiter_init(&waiter);
    waiter.next = connection->watchers;
    connection->watchers = &waiter;
    ax_connection_unlock(connection);
    int error = ax_loop_wait(&connection->engine->loop, &waiter);
    ax_connection_lock(connection);
    if (error != 0) { /* still in the list, or just taken out and posted */
        struct ax_waiter **link = &connection->watchers;
        while (*link != NULL && *link != &waiter)
            link = &(*link)->next;
        if (*link != NULL)
            *link = waiter.next;
    }
    ax_waiter_fini(&waiter);
    return error;
}

int ax_connection_wait(struct ax_connection *connection, enum ax_phase phase)
{
    int error = 0;
    if (is_past(connection))
        return 0;
    ax_connection_lock(connection);
    while (atomic_load(&connection->phase) < (int)phase && error == 0)
        error = watch_locked(connection);
    ax_connection_unlock(connection);
    return error;
}

enum ax_phase ax_connection_phase(struct ax_connection *connection)
{
    return is_past(connection) ? AX_PHASE_FINISHED : (enum ax_phase)atomic_load(&connection->phase);
}

/* ---- writing, and moving on ---- */

static void gather_releases(struct ax_connection *connection)
{
    struct ax_release *release = atomic_exchange(&connection->releases, NULL);
    while (release != NULL) {
        struct ax_release *next = release->next;
        ax_session_release(&connection->session, release->id);
        free(release);
        release = next;
    }
}

/* Tells other processes, if any looks, whether a message may be on the stream in part. */
static void tell_wire(struct ax_connection *connection)
{
    const struct ax_session *session = &connection->session;
    bool whole = session->state == AX_STATE_READY && ax_session_unsent(session) == 0;
    uint32_t state = whole && (session->features & AX_FEATURE_REASON) != 0 ? AX_WIRE_EXPLAINED : AX_WIRE_BUSY;
    if (session->state == AX_STATE_CLOSED && ax_session_unsent(session) == 0)
        state = AX_WIRE_CLOSED;
    if (connection->wire != NULL && *connection->wire != state)
        *connection->wire = state;
}

/*
 * A peer that has gone is not the end yet: what it sent before, perhaps a GOODBYE, is still to be read, and then its end. With
 * any other error the peer may well be there, and would wait for what does not come.
 */
static void take_write_error(struct ax_connection *connection, int error)
{
    connection->write_error = error;
    if (error == EPIPE || error == ECONNRESET)
        return;
    connection->io_error = error;
    if (connection->end == AX_END_NONE)
        connection->end = AX_END_FAILED;
    ax_session_fail(&connection->session, AX_EEOF, strerror(error));
}

static void write_some(struct ax_connection *connection)
{
    struct ax_slice slices[WRITE_SLICES];
    size_t budget = WRITE_BUDGET;
    connection->writes_blocked = false;
    while (connection->write_error == 0) {
        size_t count = ax_session_pending(&connection->session, slices, WRITE_SLICES);
        if (count == 0)
            return;
        tell_wire(connection);
        ssize_t size = ax_stream_write(&connection->stream, slices, count);
        if (size == -EAGAIN) {
            connection->writes_blocked = true;
            return;
        }
        if (size < 0) {
            take_write_error(connection, (int)-size);
            return;
        }
        ax_session_sent(&connection->session, (size_t)size, ax_loop_now());
        if ((size_t)size >= budget) {
            connection->writes_blocked = true;
            return;
        }
        budget -= (size_t)size;
    }
}

/* No call of ours will have a result any more. */
static void end_calls(struct ax_connection *connection)
{
    struct ax_pending *pending;
    while ((pending = ax_session_next_waiter(&connection->session)) != NULL) {
        pending->message = NULL;
        pending->done = true;
        ax_waiter_post(&pending->waiter);
    }
}

static void follow_session(struct ax_connection *connection)
{
    switch (connection->session.state) {
    case AX_STATE_SUPERBLOCK:
    case AX_STATE_GREETING:
        return;
    case AX_STATE_READY:
        atomic_store(&connection->was_running, true);
        set_phase(connection, AX_PHASE_RUNNING);
        return;
    case AX_STATE_CLOSING:
    case AX_STATE_CLOSED:
        if (connection->end == AX_END_NONE)
            connection->end = connection->close_called ? AX_END_CLOSED : AX_END_REMOTE;
        break;
    case AX_STATE_FAILED:
        if (connection->end == AX_END_NONE || connection->end == AX_END_CLOSED)
            connection->end = AX_END_FAILED;
        break;
    }
    end_calls(connection);
    set_phase(connection, AX_PHASE_STOPPING);
}

void ax_connection_write_locked(struct ax_connection *connection)
{
    if (connection->stream.out_fd >= 0)
        write_some(connection);
    tell_wire(connection);
}

void ax_connection_settle_locked(struct ax_connection *connection)
{
    bool was_blocked = connection->writes_blocked;
    gather_releases(connection);
    if (!was_blocked)
        ax_connection_write_locked(connection);
    if (connection->session.relieved) {
        connection->session.relieved = false;
        wake_watchers(connection);
    }
    follow_session(connection);
    bool blocked_now = connection->writes_blocked && !was_blocked;
    bool ending = connection->session.state >= AX_STATE_CLOSING && connection->session.state != connection->attended;
    if (blocked_now || ending)
        ax_connection_post(connection);
}

/* ---- starting and ending ---- */

void ax_connection_register_locked(struct ax_connection *connection)
{
    if (!connection->registered)
        ax_engine_add(connection->engine, connection);
    connection->registered = true;
}

/* 0, or a negative errno: a regular file is always ready, and cannot be waited for. */
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
        ax_connection_feed_locked(connection, received, size, &arrivals);
        ax_connection_settle_locked(connection);
        ax_connection_post(connection);
    }
    ax_connection_unlock(connection);
    ax_connection_submit(connection, &arrivals.queue);
    return 0;
}

void ax_connection_close(struct ax_connection *connection, const char *reason)
{
    if (is_past(connection))
        return;
    ax_connection_lock(connection);
    connection->close_called = true;
    ax_session_close(&connection->session, reason, ax_loop_now());
    ax_connection_settle_locked(connection);
    ax_connection_unlock(connection);
}

/* Both sides have said GOODBYE, or there was no handshake: nothing is left to fail, but something may wait to be sent. */
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
    if (is_past(connection))
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
    if (is_past(connection))
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
    set_phase(connection, AX_PHASE_FINISHED);
    ax_connection_unlock(connection);
    ax_executor_disown(&connection->engine->executor, connection->number);
    ax_engine_remove(connection->engine, connection);
}

/* ---- calls of ours ---- */

int ax_connection_call(struct ax_connection *connection, const struct ax_operation *operation, struct ax_cargo *cargo,
                       struct ax_pending *pending)
{
    if (is_past(connection))
        return AX_ESTATE;
    ax_waiter_init(&pending->waiter);
    pending->requests = (struct ax_request_queue){0};
    pending->done = false;
    pending->message = NULL;
    ax_connection_lock(connection);
    int error;
    do
        error = ax_session_call(&connection->session, operation, cargo, pending, ax_loop_now(), &pending->id);
    while (error == AX_EFULL && (error = watch_locked(connection)) == 0);
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
    if (is_past(connection))
        return 0;
    ax_executor_wait_begin(&connection->engine->executor);
    int error = ax_lease_wait(connection, &pending->waiter);
    ax_executor_wait_end(&connection->engine->executor);
    if (error != 0)
        return error;
    ax_connection_lock(connection);
    *request = ax_request_pop(&pending->requests);
    ax_connection_unlock(connection);
    if (*request == NULL)
        ax_waiter_fini(&pending->waiter);
    return 0;
}

void ax_connection_abandon(struct ax_connection *connection, struct ax_pending *pending)
{
    if (is_past(connection))
        return;
    ax_connection_lock(connection);
    if (!pending->done)
        ax_session_forget(&connection->session, pending->id);
    ax_connection_unlock(connection);
    ax_waiter_fini(&pending->waiter);
    ax_connection_submit(connection, &pending->requests); /* nobody adds to them any more */
    if (pending->message == NULL)
        return;
    ax_connection_release_unclaimed(connection, pending->message, NULL, 0);
    ax_connection_drop_later(connection, ax_ticket_done(connection, &pending->ticket));
    ax_message_free(pending->message);
}

/* ---- requests of the peer ---- */

/* A job of the connection may run after its end, and its thread keep something for it: once more, as in run_finish(). */
static void disown_if_finished(struct ax_connection *connection)
{
    if (!is_past(connection) && ax_connection_phase(connection) == AX_PHASE_FINISHED)
        ax_executor_disown(&connection->engine->executor, connection->number);
}

static void run_request(struct ax_job *job)
{
    struct ax_request *request = (struct ax_request *)job;
    struct ax_connection *connection = request->connection;
    ax_connection_ref(connection);
    do
        connection->ops->serve(request);
    while ((request = ax_lease_next_request(connection)) != NULL);
    disown_if_finished(connection);
    ax_connection_unref(connection);
}

static void refuse_request(struct ax_job *job)
{
    struct ax_request *request = (struct ax_request *)job;
    struct ax_connection *connection = request->connection;
    ax_connection_release_unclaimed(connection, request->message, NULL, 0);
    ax_connection_drop_later(connection, ax_request_unpickled(request));
    ax_request_fail(request, "Too many calls: all threads that run calls are in use, and no more can wait for one");
    ax_request_free(request);
}

struct ax_request *ax_request_new(struct ax_connection *connection, struct ax_message *message)
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
    if (counted == 0 || is_past(connection))
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

int ax_request_result(struct ax_request *request, enum ax_result_kind kind, struct ax_cargo *cargo)
{
    struct ax_connection *connection = request->connection;
    uint64_t call = request->message->call;
    int error;
    ax_connection_lock(connection);
    do {
        error = ax_session_result(&connection->session, call, kind, cargo, ax_loop_now());
        if (error == AX_EFULL)
            watch_locked(connection); /* a signal changes nothing here: the result waits for room again */
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
    if (error == AX_ENOMEM) /* rather than leave the peer waiting for an answer that never comes */
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

/* ---- objects ---- */

static struct ax_object *concat(struct ax_object *list, struct ax_object *tail)
{
    if (list == NULL)
        return tail;
    struct ax_object *last = list;
    while (last->next != NULL)
        last = last->next;
    last->next = tail;
    return list;
}

void ax_ticket_take(struct ax_connection *connection, struct ax_ticket *ticket)
{
    struct ax_ticket *head = &connection->tickets;
    ticket->doomed = NULL;
    pthread_mutex_lock(&connection->order_lock);
    ticket->prev = head->prev;
    ticket->next = head;
    head->prev->next = ticket;
    head->prev = ticket;
    pthread_mutex_unlock(&connection->order_lock);
}

struct ax_object *ax_ticket_done(struct ax_connection *connection, struct ax_ticket *ticket)
{
    if (is_past(connection))
        return NULL;
    pthread_mutex_lock(&connection->order_lock);
    struct ax_object *doomed = ticket->doomed;
    ticket->prev->next = ticket->next;
    ticket->next->prev = ticket->prev;
    if (ticket->prev != &connection->tickets) { /* the one before holds back what this one did; the oldest lets go */
        ticket->prev->doomed = concat(doomed, ticket->prev->doomed);
        doomed = NULL;
    }
    pthread_mutex_unlock(&connection->order_lock);
    ax_objects_take(&connection->objects, doomed);
    return doomed;
}

/* Has a service drop these objects. With order_lock. */
static void drop_later(struct ax_connection *connection, struct ax_object *doomed)
{
    if (doomed == NULL)
        return;
    connection->doomed = concat(doomed, connection->doomed);
    if (connection->drop_submitted)
        return;
    connection->drop_submitted = true;
    ax_connection_ref(connection);
    ax_executor_submit_service(&connection->engine->executor, &connection->drop_job);
}

void ax_connection_drop_later(struct ax_connection *connection, struct ax_object *doomed)
{
    pthread_mutex_lock(&connection->order_lock);
    drop_later(connection, doomed);
    pthread_mutex_unlock(&connection->order_lock);
}

void ax_connection_drop_in_order(struct ax_connection *connection, struct ax_object *doomed)
{
    pthread_mutex_lock(&connection->order_lock);
    struct ax_ticket *newest = connection->tickets.prev;
    if (newest != &connection->tickets) {
        newest->doomed = concat(doomed, newest->doomed);
    } else {
        ax_objects_take(&connection->objects, doomed);
        drop_later(connection, doomed);
    }
    pthread_mutex_unlock(&connection->order_lock);
}

static void run_drop(struct ax_job *job)
{
    struct ax_connection *connection = (struct ax_connection *)((char *)job - offsetof(struct ax_connection, drop_job));
    pthread_mutex_lock(&connection->order_lock);
    struct ax_object *doomed = connection->doomed;
    connection->doomed = NULL;
    connection->drop_submitted = false;
    pthread_mutex_unlock(&connection->order_lock);
    connection->ops->drop(connection, doomed);
    disown_if_finished(connection);
    ax_connection_unref(connection);
}

/* The connection over which this thread is about to send something. */
static _Thread_local const struct ax_connection *speaking;

void ax_connection_speaks_soon(const struct ax_connection *connection)
{
    speaking = connection;
}

void ax_connection_release(struct ax_connection *connection, struct ax_release *release)
{
    if (is_past(connection)) {
        free(release);
        return;
    }
    release->next = atomic_load(&connection->releases);
    while (!atomic_compare_exchange_weak(&connection->releases, &release->next, release))
        ;
    if (speaking != connection)
        ax_connection_post(connection);
}

int ax_compare_ids(const void *first, const void *second)
{
    uint64_t a = *(const uint64_t *)first;
    uint64_t b = *(const uint64_t *)second;
    return (a > b) - (a < b);
}

void ax_connection_release_unclaimed(struct ax_connection *connection, const struct ax_message *message,
                                     const uint64_t *claimed, size_t count)
{
    struct ax_ids ids = message->ids;
    uint64_t id;
    while (ax_ids_next(&ids, &id)) {
        if (count > 0 && bsearch(&id, claimed, count, sizeof id, ax_compare_ids) != NULL)
            continue;
        struct ax_release *release = malloc(sizeof *release);
        if (release == NULL)
            return; /* the peer keeps its object */
        release->id = id;
        ax_connection_release(connection, release);
    }
}
