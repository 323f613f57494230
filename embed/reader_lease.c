/* SPDX-License-Identifier: MIT */
#include "embed/reader.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "embed/connection.h"
#include "embed/connection_state.h"
#include "embed/engine.h"
#include "embed/loop.h"

/* What one read of a thread takes in beyond a large body: on its stack, which user code may have made small. */
#define SCRATCH (16 * 1024)

/* ---- the guard, in the loop's thread ---- */

static void on_guard(uv_timer_t *timer);

static_assert(AX_LEASE_FREE_MS == AX_EXECUTOR_BEHIND_MS, "one guard looks after both");

void ax_lease_guard(struct ax_loop *loop)
{
    if (!uv_is_active((uv_handle_t *)&loop->guard))
        uv_timer_start(&loop->guard, on_guard, AX_LEASE_FREE_MS, AX_LEASE_FREE_MS);
}

void ax_lease_offer_locked(struct ax_connection *connection)
{
    struct ax_lease *lease = &connection->lease;
    struct ax_loop *loop = &connection->engine->loop;
    lease->state = AX_LEASE_FREE;
    lease->since = ax_loop_now();
    lease->parked = lease->wanted = false;
    if (!lease->guarded) {
        lease->guarded = true;
        lease->next = loop->leased;
        loop->leased = connection;
    }
    ax_lease_guard(loop);
}

void ax_lease_forget(struct ax_connection *connection)
{
    struct ax_connection **link = &connection->engine->loop.leased;
    if (!connection->lease.guarded)
        return;
    while (*link != connection)
        link = &(*link)->lease.next;
    *link = connection->lease.next;
    connection->lease.guarded = false;
}

bool ax_lease_settle_locked(struct ax_connection *connection)
{
    struct ax_lease *lease = &connection->lease;
    bool needed = lease->wanted || connection->session.state != AX_STATE_READY;
    if (lease->state == AX_LEASE_FREE && needed) {
        lease->state = AX_LEASE_LOOP;
        if (connection->waiting == 0) /* idle: thousands of these have one descriptor each, and not two */
            ax_lease_end_locked(connection);
    }
    if (lease->state == AX_LEASE_TAKEN && needed) {
        lease->wanted = true;
        eventfd_write(lease->wake_fd, 1);
    }
    return lease->state == AX_LEASE_LOOP;
}

/* Whether the guard is to go on looking. */
static bool look_locked(struct ax_lease *lease, uint64_t now)
{
    if (lease->state == AX_LEASE_FREE && now - lease->since >= AX_LEASE_FREE_MS)
        lease->wanted = true;
    else if (lease->state == AX_LEASE_TAKEN && now - lease->since >= AX_LEASE_PARK_MS)
        lease->parked = true;
    return lease->state != AX_LEASE_LOOP && !lease->wanted && !lease->parked;
}

static void on_guard(uv_timer_t *timer)
{
    struct ax_loop *loop = timer->data;
    struct ax_engine *engine = (struct ax_engine *)((char *)loop - offsetof(struct ax_engine, loop));
    struct ax_connection **link = &loop->leased;
    uint64_t now = ax_loop_now();
    while (*link != NULL) {
        struct ax_connection *connection = *link;
        ax_connection_lock(connection);
        bool stays = look_locked(&connection->lease, now);
        bool wanted = connection->lease.wanted;
        ax_connection_unlock(connection);
        if (stays) {
            link = &connection->lease.next;
            continue;
        }
        *link = connection->lease.next;
        connection->lease.guarded = false;
        if (wanted)
            ax_connection_attend_now(connection);
    }
    bool calls_wait = ax_executor_spread(&engine->executor);
    if (loop->leased == NULL && !calls_wait)
        uv_timer_stop(timer);
}

/* ---- holding it ---- */

/* A holder may be about to poll: its descriptor stays, and is readable, until it has left. */
void ax_lease_end_locked(struct ax_connection *connection)
{
    struct ax_lease *lease = &connection->lease;
    if (lease->state == AX_LEASE_TAKEN || lease->wake_fd < 0)
        return;
    close(lease->wake_fd);
    lease->wake_fd = -1;
}

/* Whether there is something to wake its holder with: made for the first one. With the lock. */
static bool has_waker(struct ax_lease *lease)
{
    if (lease->wake_fd < 0)
        lease->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return lease->wake_fd >= 0;
}

/* What it takes to poll; false when this thread may not read: then, if it `waits`, it is counted as waiting. */
static bool take(struct ax_connection *connection, struct pollfd items[2], bool waits)
{
    struct ax_lease *lease = &connection->lease;
    bool taken = false;
    ax_connection_lock(connection);
    if (lease->state == AX_LEASE_FREE && !lease->wanted && connection->session.state == AX_STATE_READY &&
        !ax_connection_is_held(connection) && has_waker(lease)) {
        lease->state = AX_LEASE_TAKEN;
        lease->since = ax_loop_now();
        items[0] = (struct pollfd){.fd = connection->stream.in_fd, .events = POLLIN};
        items[1] = (struct pollfd){.fd = lease->wake_fd, .events = POLLIN};
        taken = true;
    }
    connection->waiting += waits && !taken;
    ax_connection_unlock(connection);
    return taken;
}

/* Waits while somebody else reads; take() or give_back() has counted this thread. */
static int wait_for_others(struct ax_connection *connection, struct ax_waiter *waiter)
{
    int error = ax_loop_wait(&connection->engine->loop, waiter);
    ax_connection_lock(connection);
    connection->waiting--;
    ax_connection_unlock(connection);
    return error;
}

/* To the next thread that waits; or to the loop when others do already, and perhaps this one `waits` on. */
static void give_back(struct ax_connection *connection, bool waits)
{
    struct ax_lease *lease = &connection->lease;
    ax_connection_lock(connection);
    lease->state = AX_LEASE_FREE;
    lease->since = ax_loop_now();
    if (connection->stream.in_fd < 0)
        ax_lease_end_locked(connection);
    connection->waiting += waits;
    if (lease->parked || connection->waiting > 0)
        lease->wanted = true;
    bool tell = lease->wanted;
    ax_connection_unlock(connection);
    if (tell)
        ax_connection_post(connection);
}

/* Whether the loop wants it back. */
static bool is_wanted(struct ax_connection *connection)
{
    ax_connection_lock(connection);
    bool wanted = connection->lease.wanted;
    ax_connection_unlock(connection);
    return wanted;
}

/* Waits for bytes and reads what is there. 1: something happened; 0: nothing in this time; or -EINTR. */
static int read_some(struct ax_connection *connection, struct pollfd items[2], int timeout_ms,
                     struct ax_arrivals *arrivals)
{
    unsigned char scratch[SCRATCH];
    eventfd_t ignored;
    int count = poll(items, 2, timeout_ms);
    if (count <= 0)
        return count < 0 ? -EINTR : 0;
    if (items[1].revents != 0)
        eventfd_read(items[1].fd, &ignored);
    if (items[0].revents != 0)
        ax_connection_read(connection, scratch, sizeof scratch, arrivals);
    return 1;
}

int ax_lease_wait(struct ax_connection *connection, struct ax_waiter *waiter)
{
    struct pollfd items[2];
    if (!take(connection, items, true))
        return wait_for_others(connection, waiter);
    int slice = ax_waiter_slice();
    int error = 0;
    bool posted = ax_waiter_try(waiter);
    bool wanted = false;
    while (!posted && !wanted && error == 0) {
        struct ax_arrivals arrivals = {0};
        error = read_some(connection, items, slice, &arrivals) > 0 ? 0 : -EINTR;
        ax_connection_submit(connection, &arrivals.queue);
        posted = ax_waiter_try(waiter);
        wanted = !posted && is_wanted(connection); /* who wants it has made the next poll return at once */
    }
    bool waits = !posted && error == 0; /* on, while the loop reads */
    give_back(connection, waits);
    if (posted)
        return 0;
    return waits ? wait_for_others(connection, waiter) : error;
}

struct ax_request *ax_lease_next_request(struct ax_connection *connection)
{
    struct ax_arrivals arrivals = {0};
    struct pollfd items[2];
    if (!ax_executor_rest_begin(&connection->engine->executor))
        return NULL;
    if (take(connection, items, false)) {
        read_some(connection, items, AX_LEASE_LINGER_MS, &arrivals);
        give_back(connection, false);
    }
    ax_executor_rest_end();
    struct ax_request *request = ax_request_pop(&arrivals.queue);
    ax_connection_submit(connection, &arrivals.queue);
    return request;
}
