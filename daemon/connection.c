/* SPDX-License-Identifier: MIT */
#include "daemon/connection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/log.h"

#define FIRST_BUCKETS 64

/* ---- the lists of states ---- */

static void enlist(struct ax_connections *all, struct ax_connection *connection)
{
    struct ax_connection *last = all->last[connection->state];

    connection->previous = last;
    connection->next = NULL;
    if (last != NULL)
        last->next = connection;
    else
        all->first[connection->state] = connection;
    all->last[connection->state] = connection;
    all->count[connection->state]++;
}

static void delist(struct ax_connections *all, struct ax_connection *connection)
{
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        all->first[connection->state] = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    else
        all->last[connection->state] = connection->previous;
    all->count[connection->state]--;
}

/* ---- the index by id ---- */

static struct ax_connection **bucket_of(const struct ax_connections *all, uint64_t id)
{
    return &all->buckets[id & (all->bucket_count - 1)];
}

static void index_add(struct ax_connections *all, struct ax_connection *connection)
{
    struct ax_connection **bucket = bucket_of(all, connection->id);

    connection->next_in_bucket = *bucket;
    *bucket = connection;
}

static void index_remove(struct ax_connections *all, const struct ax_connection *connection)
{
    struct ax_connection **link = bucket_of(all, connection->id);

    while (*link != connection)
        link = &(*link)->next_in_bucket;
    *link = connection->next_in_bucket;
}

/* Without memory for more buckets their chains just get longer. */
static void index_grow(struct ax_connections *all)
{
    size_t count = all->bucket_count * 2;
    struct ax_connection **buckets = calloc(count, sizeof(struct ax_connection *));

    if (buckets == NULL)
        return;
    free(all->buckets);
    all->buckets = buckets;
    all->bucket_count = count;
    for (int state = 0; state < AX_CONNECTION_ENDED; state++)
        for (struct ax_connection *connection = all->first[state]; connection != NULL; connection = connection->next)
            index_add(all, connection);
}

struct ax_connection *ax_connections_find(const struct ax_connections *all, uint64_t id)
{
    struct ax_connection *connection = *bucket_of(all, id);

    while (connection != NULL && connection->id != id)
        connection = connection->next_in_bucket;
    return connection;
}

/* ---- life ---- */

int ax_connections_init(struct ax_connections *all)
{
    *all = (struct ax_connections){.bucket_count = FIRST_BUCKETS};
    all->buckets = calloc(FIRST_BUCKETS, sizeof(struct ax_connection *));
    return all->buckets != NULL ? 0 : -1;
}

void ax_connections_fini(struct ax_connections *all)
{
    for (int state = 0; state < AX_CONNECTION_ENDED; state++)
        while (all->first[state] != NULL)
            ax_connection_move(all, all->first[state], AX_CONNECTION_ENDED, NULL);
    free(all->buckets);
    all->buckets = NULL;
}

size_t ax_connections_open(const struct ax_connections *all)
{
    size_t count = 0;

    for (int state = 0; state < AX_CONNECTION_ENDED; state++)
        count += all->count[state];
    return count;
}

struct ax_connection *ax_connection_new(struct ax_connections *all, const char *peer)
{
    struct ax_connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return NULL;
    if (ax_connections_open(all) >= all->bucket_count)
        index_grow(all);
    connection->id = ++all->last_id;
    connection->fd = -1;
    connection->state = AX_CONNECTION_HANDSHAKE;
    snprintf(connection->peer, sizeof connection->peer, "%s", peer);
    enlist(all, connection);
    index_add(all, connection);
    return connection;
}

/* ---- states ---- */

static void log_move(const struct ax_connection *connection, enum ax_connection_state state, const char *reason)
{
    unsigned long long id = connection->id;

    if (state != AX_CONNECTION_ENDED)
        ax_log(AX_LOG_DEBUG, "connection %llu from %s %s", id, connection->peer,
               state == AX_CONNECTION_SERVED ? "is served" : "waits for a worker");
    else if (reason == NULL)
        ax_log(AX_LOG_DEBUG, "connection %llu from %s ended", id, connection->peer);
    else
        ax_log(AX_LOG_WARNING, "connection %llu from %s %s: %s", id, connection->peer,
               connection->state == AX_CONNECTION_SERVED ? "broke" : "was refused", reason);
}

void ax_connection_move(struct ax_connections *all, struct ax_connection *connection, enum ax_connection_state state,
                        const char *reason)
{
    assert(state > connection->state);
    log_move(connection, state, reason);
    delist(all, connection);
    if (state != AX_CONNECTION_WAITING && connection->fd >= 0) {
        close(connection->fd);
        connection->fd = -1;
    }
    connection->state = state;
    if (state == AX_CONNECTION_ENDED) {
        all->count[AX_CONNECTION_ENDED]++;
        index_remove(all, connection);
        free(connection);
        return;
    }
    enlist(all, connection);
}
