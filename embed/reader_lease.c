/* SPDX-License-Identifier: MIT */
/* Who reads: the loop, or a thread that waits for a message. */
#include "embed/reader.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "embed/reader_private.h"

/* Bytes that a thread reads at once, besides a large body: on its stack, which user code may have made small. */
#define SCRATCH (16 * 1024)

/* ---- the loop's thread ---- */

void ax_reader_offer_locked(struct ax_connection *connection)
{
    struct ax_reader *reader = &connection->reader;

    reader->state = AX_LEASE_FREE;
    reader->since = ax_loop_now();
    reader->parked = reader->wanted = false;
}

void ax_reader_wake_holder_locked(struct ax_connection *connection)
{
    if (connection->reader.state == AX_LEASE_TAKEN)
        eventfd_write(connection->reader.wake_fd, 1);
}

bool ax_reader_reclaim_locked(struct ax_connection *connection)
{
    struct ax_reader *reader = &connection->reader;
    bool needed = reader->wanted || connection->session.state != AX_STATE_READY;

    if (reader->state == AX_LEASE_FREE && needed) {
        reader->state = AX_LEASE_LOOP;
        if (reader->waiting == 0) /* an idle connection needs one descriptor, not two; there may be thousands */
            ax_reader_close_waker_locked(connection);
    }
    if (reader->state == AX_LEASE_TAKEN && needed) {
        reader->wanted = true;
        ax_reader_wake_holder_locked(connection);
    }
    return reader->state == AX_LEASE_LOOP;
}

bool ax_reader_look_locked(struct ax_connection *connection, uint64_t now)
{
    struct ax_reader *reader = &connection->reader;

    if (reader->state == AX_LEASE_FREE && now - reader->since >= AX_LEASE_FREE_MS)
        reader->wanted = true;
    else if (reader->state == AX_LEASE_TAKEN && now - reader->since >= AX_LEASE_PARK_MS)
        reader->parked = true;
    return reader->state != AX_LEASE_LOOP && !reader->wanted && !reader->parked;
}

/* ---- holding it ---- */

/* If a holder may be about to poll, its descriptor stays open and readable until the holder has left. */
void ax_reader_close_waker_locked(struct ax_connection *connection)
{
    struct ax_reader *reader = &connection->reader;

    if (reader->state == AX_LEASE_TAKEN || reader->wake_fd < 0)
        return;
    close(reader->wake_fd);
    reader->wake_fd = -1;
}

/* Whether there is an eventfd to wake the holder; made for the first holder. With the lock. */
static bool has_waker(struct ax_reader *reader)
{
    if (reader->wake_fd < 0)
        reader->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return reader->wake_fd >= 0;
}

/*
 * Takes the lease, and stores what to poll; false when this thread may not read: if it `waits`, it is then counted as
 * waiting.
 */
static bool take(struct ax_connection *connection, struct pollfd items[2], bool waits)
{
    struct ax_reader *reader = &connection->reader;
    bool taken = false;

    ax_connection_lock(connection);
    if (reader->state == AX_LEASE_FREE && !reader->wanted && connection->session.state == AX_STATE_READY &&
        !ax_reader_is_paused_locked(connection) && has_waker(reader)) {
        reader->state = AX_LEASE_TAKEN;
        reader->since = ax_loop_now();
        items[0] = (struct pollfd){.fd = connection->stream.in_fd, .events = POLLIN};
        items[1] = (struct pollfd){.fd = reader->wake_fd, .events = POLLIN};
        taken = true;
    }
    reader->waiting += waits && !taken;
    ax_connection_unlock(connection);
    return taken;
}

/* Waits while another thread reads; take() or give_back() has counted this thread. */
static int wait_for_others(struct ax_connection *connection, struct ax_waiter *waiter)
{
    int error = ax_loop_wait(&connection->engine->loop, waiter);

    ax_connection_lock(connection);
    connection->reader.waiting--;
    ax_connection_unlock(connection);
    return error;
}

/*
 * Gives the lease back: to the next thread that waits, or to the loop if other threads already wait. `waits`: so will
 * this one.
 */
static void give_back(struct ax_connection *connection, bool waits)
{
    struct ax_reader *reader = &connection->reader;

    ax_connection_lock(connection);
    reader->state = AX_LEASE_FREE;
    reader->since = ax_loop_now();
    if (connection->stream.in_fd < 0)
        ax_reader_close_waker_locked(connection);
    reader->waiting += waits;
    if (reader->parked || reader->waiting > 0)
        reader->wanted = true;
    bool tell = reader->wanted;
    ax_connection_unlock(connection);
    if (tell)
        ax_connection_post(connection);
}

/* Whether the loop wants the lease back. */
static bool is_wanted(struct ax_connection *connection)
{
    ax_connection_lock(connection);
    bool wanted = connection->reader.wanted;
    ax_connection_unlock(connection);
    return wanted;
}

static void read_once(struct ax_connection *connection, struct ax_arrivals *arrivals)
{
    unsigned char scratch[SCRATCH];

    ax_connection_lock_yielding(connection);
    ax_reader_read_locked(connection, scratch, sizeof scratch, arrivals);
    ax_connection_unlock(connection);
    ax_reader_settle_buffer(connection, arrivals);
}

/* Polls without sleeping, for as long as that may pay. Returns the last result of poll(): 0 if nothing has arrived. */
static int spin_on(struct ax_connection *connection, struct ax_spin *spin, struct pollfd items[2])
{
    struct ax_spinners *spinners = &connection->engine->spinners;
    uint64_t begin = uv_hrtime();
    uint64_t now = begin;
    uint64_t budget = ax_spin_begin(spin, spinners, connection->reader.spin_us, begin);

    if (budget == 0)
        return 0;
    items[1].revents = 0; /* not polled each time */
    int count = 0;
    bool yields = atomic_load(&spinners->yields);
    for (unsigned polls = 1; count == 0 && now - begin < budget; polls++) {
        bool looks_around = polls % AX_SPIN_LOOK_EVERY == 0;
        if (looks_around && yields)
            sched_yield();
        count = poll(items, looks_around ? 2 : 1, 0);
        now = uv_hrtime();
    }
    ax_spin_end(spin, spinners, now - begin, count > 0 && now - begin < budget);
    return count;
}

/* Waits for bytes and reads them. 1: something happened; 0: nothing until the timeout; or -EINTR. */
static int read_some(struct ax_connection *connection, struct ax_spin *spin, struct pollfd items[2], int timeout_ms,
                     struct ax_arrivals *arrivals)
{
    eventfd_t ignored;
    int count = 0;

    if (connection->reader.spin_us > 0 && !ax_spin_skips(spin))
        count = spin_on(connection, spin, items);
    if (count == 0)
        count = poll(items, 2, timeout_ms);
    if (count <= 0)
        return count < 0 ? -EINTR : 0;
    if (items[1].revents != 0)
        eventfd_read(items[1].fd, &ignored);
    if (items[0].revents != 0)
        read_once(connection, arrivals);
    return 1;
}

int ax_reader_wait(struct ax_connection *connection, struct ax_waiter *waiter)
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
        error = read_some(connection, &connection->reader.spin_result, items, slice, &arrivals) > 0 ? 0 : -EINTR;
        ax_reader_deliver(connection, &arrivals);
        posted = ax_waiter_try(waiter);
        wanted = !posted && is_wanted(connection); /* whoever wants it has made the next poll return at once */
    }
    bool waits = !posted && error == 0; /* this thread continues to wait, while the loop reads */
    give_back(connection, waits);
    if (posted)
        return 0;
    return waits ? wait_for_others(connection, waiter) : error;
}

struct ax_job *ax_reader_next_job(struct ax_connection *connection)
{
    struct ax_arrivals arrivals = {0};
    struct pollfd items[2];

    if (!ax_executor_rest_begin(&connection->engine->executor))
        return NULL;
    if (take(connection, items, false)) {
        read_some(connection, &connection->reader.spin_request, items, AX_LEASE_LINGER_MS, &arrivals);
        give_back(connection, false);
    }
    ax_executor_rest_end();
    struct ax_job *job = ax_job_pop(&arrivals.jobs);
    ax_reader_deliver(connection, &arrivals);
    return job;
}
