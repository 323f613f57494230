/* SPDX-License-Identifier: MIT */
#include "embed/connection_releases.h"

#include <stdlib.h>

/* ---- objects of ours that the peer has released ---- */

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
    if (ax_connection_is_past(connection))
        return NULL;
    pthread_mutex_lock(&connection->order_lock);
    struct ax_object *doomed = ticket->doomed;
    ticket->prev->next = ticket->next;
    ticket->next->prev = ticket->prev;
    if (ticket->prev != &connection->tickets) { /* the ticket before takes over what this one delayed; the oldest drops
                                                   it */
        ticket->prev->doomed = concat(doomed, ticket->prev->doomed);
        doomed = NULL;
    }
    pthread_mutex_unlock(&connection->order_lock);
    ax_objects_take(&connection->objects, doomed);
    return doomed;
}

/* Drops these objects in a service. With order_lock. */
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

void ax_connection_run_drop(struct ax_job *job)
{
    struct ax_connection *connection = (struct ax_connection *)((char *)job - offsetof(struct ax_connection, drop_job));

    pthread_mutex_lock(&connection->order_lock);
    struct ax_object *doomed = connection->doomed;
    connection->doomed = NULL;
    connection->drop_submitted = false;
    pthread_mutex_unlock(&connection->order_lock);
    connection->ops->drop(connection, doomed);
    ax_connection_disown_if_finished(connection);
    ax_connection_unref(connection);
}

/* ---- objects of the peer ---- */

/* The connection over which this thread is about to send something. */
static _Thread_local const struct ax_connection *sending;

void ax_connection_batch_releases(const struct ax_connection *connection)
{
    sending = connection;
}

void ax_connection_release(struct ax_connection *connection, struct ax_release *release)
{
    if (ax_connection_is_past(connection)) {
        free(release);
        return;
    }
    release->next = atomic_load(&connection->releases);
    while (!atomic_compare_exchange_weak(&connection->releases, &release->next, release))
        ;
    if (sending != connection)
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

void ax_connection_gather_releases_locked(struct ax_connection *connection)
{
    struct ax_release *release = atomic_exchange(&connection->releases, NULL);

    while (release != NULL) {
        struct ax_release *next = release->next;
        ax_session_release(&connection->session, release->id);
        free(release);
        release = next;
    }
}

void ax_connection_free_releases(struct ax_connection *connection)
{
    struct ax_release *release = atomic_exchange(&connection->releases, NULL);

    while (release != NULL) {
        struct ax_release *next = release->next;
        free(release);
        release = next;
    }
}
