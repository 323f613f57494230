/* SPDX-License-Identifier: MIT */
#include "daemon/admission/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <uv.h>

#include "daemon/base/log.h"

#define FIRST_BUCKETS 64

/* The log's lines about refused connections: a burst is logged in full, a lasting flood is not. */
#define REFUSALS_AT_ONCE 2000
#define REFUSALS_EVERY_MS 100

/* The same for connections that break while they are served, which any client can cause as often as it likes. */
#define BREAKS_AT_ONCE 2000
#define BREAKS_EVERY_MS 100

/* ---- the lists of states ---- */

static void enlist(struct ax_clients *all, struct ax_client *client)
{
    struct ax_client *last = all->last[client->state];

    client->previous = last;
    client->next = NULL;
    if (last != NULL)
        last->next = client;
    else
        all->first[client->state] = client;
    all->last[client->state] = client;
    all->count[client->state]++;
}

static void enlist_first(struct ax_clients *all, struct ax_client *client)
{
    struct ax_client *first = all->first[client->state];

    client->previous = NULL;
    client->next = first;
    if (first != NULL)
        first->previous = client;
    else
        all->last[client->state] = client;
    all->first[client->state] = client;
    all->count[client->state]++;
}

static void delist(struct ax_clients *all, struct ax_client *client)
{
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        all->first[client->state] = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    else
        all->last[client->state] = client->previous;
    all->count[client->state]--;
}

/* ---- the index by id ---- */

static struct ax_client **bucket_of(const struct ax_clients *all, uint64_t id)
{
    return &all->buckets[id & (all->bucket_count - 1)];
}

static void index_add(struct ax_clients *all, struct ax_client *client)
{
    struct ax_client **bucket = bucket_of(all, client->id);

    client->next_in_bucket = *bucket;
    *bucket = client;
}

static void index_remove(struct ax_clients *all, const struct ax_client *client)
{
    struct ax_client **link = bucket_of(all, client->id);

    while (*link != client)
        link = &(*link)->next_in_bucket;
    *link = client->next_in_bucket;
}

/* Without memory for more buckets, their chains grow instead. */
static void index_grow(struct ax_clients *all)
{
    size_t count = all->bucket_count * 2;
    struct ax_client **buckets = calloc(count, sizeof(struct ax_client *));

    if (buckets == NULL)
        return;
    free(all->buckets);
    all->buckets = buckets;
    all->bucket_count = count;
    for (int state = 0; state < AX_CLIENT_ENDED; state++)
        for (struct ax_client *client = all->first[state]; client != NULL; client = client->next)
            index_add(all, client);
}

struct ax_client *ax_clients_find(const struct ax_clients *all, uint64_t id)
{
    struct ax_client *client = *bucket_of(all, id);

    while (client != NULL && client->id != id)
        client = client->next_in_bucket;
    return client;
}

/* ---- life ---- */

int ax_clients_init(struct ax_clients *all)
{
    *all = (struct ax_clients){
        .bucket_count = FIRST_BUCKETS,
        .refusals = {.at_once = REFUSALS_AT_ONCE, .every_ms = REFUSALS_EVERY_MS},
        .breaks = {.at_once = BREAKS_AT_ONCE, .every_ms = BREAKS_EVERY_MS},
    };
    all->buckets = calloc(FIRST_BUCKETS, sizeof(struct ax_client *));
    return all->buckets != NULL ? 0 : -1;
}

void ax_clients_fini(struct ax_clients *all)
{
    for (int state = 0; state < AX_CLIENT_ENDED; state++)
        while (all->first[state] != NULL)
            ax_client_move(all, all->first[state], AX_CLIENT_ENDED, NULL);
    free(all->buckets);
    all->buckets = NULL;
    ax_origins_fini(&all->sources);
}

size_t ax_clients_open(const struct ax_clients *all)
{
    size_t count = 0;

    for (int state = 0; state < AX_CLIENT_ENDED; state++)
        count += all->count[state];
    return count;
}

struct ax_client *ax_client_new(struct ax_clients *all, const char *peer, uint64_t now)
{
    struct ax_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return NULL;
    if (ax_clients_open(all) >= all->bucket_count)
        index_grow(all);
    client->id = ++all->last_id;
    client->fd = -1;
    client->since = now;
    client->state = AX_CLIENT_HANDSHAKE;
    snprintf(client->peer, sizeof client->peer, "%s", peer);
    enlist(all, client);
    index_add(all, client);
    return client;
}

int ax_client_come_from(struct ax_clients *all, struct ax_client *client, const struct ax_origin_key *source,
                        const struct ax_origin_key *process)
{
    client->source = ax_origins_get(&all->sources, source);
    client->process = ax_origins_get(&all->sources, process);
    return client->source != NULL && client->process != NULL ? 0 : -1;
}

/* Gives its references to sources back, and its place among their connections. */
static void leave_sources(struct ax_clients *all, struct ax_client *client)
{
    if (client->source != NULL && client->state != AX_CLIENT_HANDSHAKE)
        client->source->connections--;
    ax_origins_put(&all->sources, client->source);
    ax_origins_put(&all->sources, client->process);
}

/* ---- choosing the next to serve ---- */

static bool is_before(const struct ax_client *left, const struct ax_client *right)
{
    if (left->source == NULL || right->source == NULL)
        return false;
    if (left->source != right->source)
        return left->source->turn < right->source->turn;
    return left->process->turn < right->process->turn;
}

struct ax_client *ax_clients_choose(const struct ax_clients *all)
{
    struct ax_client *chosen = all->first[AX_CLIENT_WAITING];

    if (chosen == NULL || all->turns % 2 == 0)
        return chosen;
    for (struct ax_client *client = chosen->next; client != NULL; client = client->next)
        if (is_before(client, chosen))
            chosen = client;
    return chosen;
}

static void take_turn(struct ax_clients *all, struct ax_client *client)
{
    all->turns++;
    if (client->source == NULL)
        return;
    client->source->turn = all->turns;
    client->process->turn = all->turns;
}

/* ---- states ---- */

/* `what` happened to the connection: "broke", "was refused". */
static void log_failure(struct ax_rate_limit *rate_limit, const struct ax_client *client, const char *what,
                        const char *reason)
{
    char others[64] = "";

    if (!ax_rate_limit_take(rate_limit, uv_hrtime() / 1000000))
        return;
    if (rate_limit->omitted > 0)
        snprintf(others, sizeof others, "; %llu before it have no line", (unsigned long long)rate_limit->omitted);
    rate_limit->omitted = 0;
    ax_log(AX_LOG_WARNING, "connection %llu from %s %s: %s%s", (unsigned long long)client->id, client->peer, what,
           reason, others);
}

static void log_move(struct ax_clients *all, const struct ax_client *client, enum ax_client_state state,
                     const char *reason)
{
    unsigned long long id = client->id;

    if (state != AX_CLIENT_ENDED)
        ax_log(AX_LOG_DEBUG, "connection %llu from %s %s", id, client->peer,
               state == AX_CLIENT_SERVED ? "is served" : "waits for a worker");
    else if (reason == NULL)
        ax_log(AX_LOG_DEBUG, "connection %llu from %s ended", id, client->peer);
    else if (client->state == AX_CLIENT_SERVED)
        log_failure(&all->breaks, client, "broke", reason);
    else
        log_failure(&all->refusals, client, "was refused", reason);
}

void ax_client_move(struct ax_clients *all, struct ax_client *client, enum ax_client_state state, const char *reason)
{
    assert(state > client->state);
    log_move(all, client, state, reason);
    delist(all, client);
    if (state == AX_CLIENT_ENDED) {
        if (client->fd >= 0)
            close(client->fd);
        if (client->state != AX_CLIENT_SERVED && reason != NULL)
            all->refused++;
        all->count[AX_CLIENT_ENDED]++;
        leave_sources(all, client);
        index_remove(all, client);
        free(client);
        return;
    }
    if (client->state == AX_CLIENT_HANDSHAKE && client->source != NULL)
        client->source->connections++;
    if (state == AX_CLIENT_SERVED)
        take_turn(all, client);
    client->state = state;
    client->is_watched = false;
    enlist(all, client);
}

void ax_client_return(struct ax_clients *all, struct ax_client *client)
{
    assert(client->state == AX_CLIENT_SERVED);
    log_move(all, client, AX_CLIENT_WAITING, NULL);
    delist(all, client);
    client->state = AX_CLIENT_WAITING;
    client->worker = NULL;
    enlist_first(all, client);
}
