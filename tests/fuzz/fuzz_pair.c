/* SPDX-License-Identifier: MIT */
/*
 * Two sessions connected by a link that delays and splits data arbitrarily, but delivers it correctly.
 *
 * Input: two bytes of settings, then a script: each step is a byte that says who does what, followed by arguments.
 * Whatever their owners do, neither reports an error of the other; each call runs at most once over there, and ends
 * exactly once here; no memory is left in the end.
 */
#include "fuzz.h"
#include "sent.h"
#include "tests/protocol/alloc.h"

enum setting {
    OPENER_HAS_FEATURES = 1,
    ACCEPTOR_HAS_FEATURES = 2,
    SMALL_LIMITS = 4,
    OPENER_HAS_TIMEOUT = 8,
    ACCEPTOR_HAS_TIMEOUT = 16,
    OLD = 32,      /* version 0.1 */
    REFUSING = 64, /* the acceptor does not run calls */
};

#define CALLS_MAX 512 /* per end; further ones are refused to the script */
#define FLIGHT_MAX (256u * 1024u)

enum fate { UNUSED, WAITS, RUNS, ANSWERED, ENDED };

struct end {
    struct ax_session session;
    struct sent sent;
    enum fate fates[CALLS_MAX]; /* of the calls of this end */
    uint64_t calls;
    struct run {
        uint64_t call;
        uint64_t counted; /* bytes that have not been read yet */
    } running[CALLS_MAX]; /* the other's calls that have to be answered */
    size_t running_count;
    size_t flight_size;
    bool stream_ended;                /* from the other, once everything is delivered */
    unsigned char flight[FLIGHT_MAX]; /* what this end has sent and the other has not received */
};

struct fuzz {
    struct input input;
    uint64_t now;
    struct end ends[2];
};

static struct end *other(struct fuzz *fuzz, const struct end *end)
{
    return &fuzz->ends[end == &fuzz->ends[0]];
}

/* Waiters point into `fates`: so a result finds its entry. */
static void end_call(struct end *end, void *waiter, enum fate fate)
{
    enum fate *slot = waiter;

    CHECK(slot >= end->fates && slot < end->fates + end->calls);
    CHECK(*slot != UNUSED && *slot != ENDED);
    CHECK(fate != ANSWERED || *slot == ANSWERED);
    *slot = ENDED;
}

/* Half of the calls are read at once, the others when they are answered. */
static void start_run(struct fuzz *fuzz, struct end *end, const struct ax_message *message)
{
    struct end *caller = other(fuzz, end);
    uint64_t call = message->call;
    uint64_t counted = message->counted;

    CHECK(call < caller->calls);
    if (caller->fates[call] != ENDED) { /* its caller may have cancelled it */
        CHECK(caller->fates[call] == WAITS);
        caller->fates[call] = RUNS;
    }
    CHECK(end->running_count < CALLS_MAX);
    if (call % 2 == 0) {
        CHECK(ax_session_consumed(&end->session, counted, fuzz->now) == 0);
        counted = 0;
    }
    end->running[end->running_count++] = (struct run){call, counted};
}

static void finish_waiters(struct end *end)
{
    for (void *waiter; (waiter = ax_session_next_waiter(&end->session)) != NULL;)
        end_call(end, waiter, ENDED);
}

/* Results are identified by their sizes. */
static size_t result_size(uint64_t call)
{
    return call % 7 * 4000;
}

static void handle(struct fuzz *fuzz, struct end *end, struct ax_event *event)
{
    const struct ax_session *session = &end->session;

    CHECK(session->error != AX_EPROTOCOL);
    switch (event->type) {
    case AX_EVENT_NONE:
    case AX_EVENT_READY:
    case AX_EVENT_RELEASE:
        break;
    case AX_EVENT_CALL:
        start_run(fuzz, end, event->message);
        break;
    case AX_EVENT_RESULT:
        /* A call that was refused never ran. */
        if (event->message->kind != AX_RESULT_OPERATION_ERROR)
            CHECK(event->message->buffers[0].size == result_size(event->message->call));
        end_call(end, event->waiter, event->message->kind == AX_RESULT_OPERATION_ERROR ? ENDED : ANSWERED);
        break;
    case AX_EVENT_CLOSED:
    case AX_EVENT_FAILED:
        finish_waiters(end);
        break;
    }
    ax_message_free(event->message);
}

/* ---- the link ---- */

static void send_some(struct end *end, size_t max, uint64_t now)
{
    struct ax_slice slices[3];
    size_t count = ax_session_pending(&end->session, slices, 3);
    size_t size = 0;

    for (size_t i = 0; i < count && size < max; i++) {
        size_t here = slices[i].size < max - size ? slices[i].size : max - size;
        if (here > FLIGHT_MAX - end->flight_size)
            here = FLIGHT_MAX - end->flight_size;
        sent_take(&end->sent, slices[i].data, here);
        memcpy(end->flight + end->flight_size, slices[i].data, here);
        end->flight_size += here;
        size += here;
    }
    ax_session_sent(&end->session, size, now);
}

static void deliver(struct fuzz *fuzz, struct end *from, size_t max)
{
    struct end *to = other(fuzz, from);
    size_t size = from->flight_size < max ? from->flight_size : max;
    size_t done = 0;

    while (done < size) {
        struct ax_event event;
        done += ax_session_feed(&to->session, from->flight + done, size - done, fuzz->now, &event);
        handle(fuzz, to, &event);
    }
    memmove(from->flight, from->flight + size, from->flight_size - size);
    from->flight_size -= size;
    if (from->flight_size == 0 && from->stream_ended) {
        struct ax_event event;
        ax_session_feed_eof(&to->session, &event);
        handle(fuzz, to, &event);
    }
}

/* Until neither has anything to send. */
static void exchange(struct fuzz *fuzz)
{
    bool moved;

    do {
        moved = false;
        for (int i = 0; i < 2; i++) {
            send_some(&fuzz->ends[i], SIZE_MAX, fuzz->now);
            moved = moved || fuzz->ends[i].flight_size > 0;
            deliver(fuzz, &fuzz->ends[i], SIZE_MAX);
        }
    } while (moved);
}

/* ---- what owners do ---- */

static struct ax_buffer make_buffer(size_t size)
{
    struct ax_buffer buffer = {.data = malloc(size + 1), .size = size, .capacity = size};

    CHECK(buffer.data != NULL);
    memset(buffer.data, 'p', size);
    return buffer;
}

/* A call may only be blocked by activity that will end: otherwise it would wait for ever. */
static void check_full(struct fuzz *fuzz, struct end *end)
{
    struct end *peer = other(fuzz, end);

    CHECK(ax_session_unsent(&end->session) > 0 || end->session.calls.count > 0 || end->flight_size > 0 ||
          ax_session_unsent(&peer->session) > 0 || peer->session.unread > 0 || peer->flight_size > 0 ||
          end->stream_ended || peer->stream_ended || peer->session.state != AX_STATE_READY);
}

static void call(struct fuzz *fuzz, struct end *end)
{
    static const enum ax_message_type types[] = {AX_APPLY, AX_APPLY, AX_CREATE, AX_REPLICATE};
    unsigned how = take_byte(&fuzz->input);
    struct ax_buffer buffers[2] = {make_buffer(how * 256u), make_buffer(take_byte(&fuzz->input) * 1024u)};
    uint64_t id = end->calls;
    struct ax_payload payload = {.refs = &id, .ref_count = 1, .buffers = buffers, .buffer_count = 1 + how / 4 % 2};
    struct ax_operation operation = {.type = types[how % 4], .within = how % 3};

    buffers[0].continued = how % 16 == 7;
    if (id < CALLS_MAX) {
        end->fates[id] = WAITS;
        int error = ax_session_call(&end->session, &operation, &payload, &end->fates[id], fuzz->now, &id);
        end->calls += error == 0;
        if (error == AX_EFULL)
            check_full(fuzz, end);
    }
    ax_buffer_fini(&buffers[0]);
    ax_buffer_fini(&buffers[1]);
}

static int send_result(struct fuzz *fuzz, struct end *end, uint64_t call, unsigned how)
{
    struct ax_buffer buffer = make_buffer(result_size(call));
    struct ax_payload payload = {.refs = &call, .ref_count = 1, .buffers = &buffer, .buffer_count = 1};
    enum ax_result_kind kind = how % 8 == 7 ? AX_RESULT_REFERENCE : AX_RESULT_SUCCESS;
    int error;

    if (how % 16 == 15)
        error = ax_session_result_failed(&end->session, call, "It is late", fuzz->now);
    else
        error = ax_session_result(&end->session, call, kind, &payload, fuzz->now);
    ax_buffer_fini(&buffer);
    return error;
}

static void answer(struct fuzz *fuzz, struct end *end)
{
    unsigned how = take_byte(&fuzz->input);
    struct end *caller = other(fuzz, end);

    if (end->running_count == 0)
        return;
    size_t index = how % end->running_count;
    uint64_t call = end->running[index].call;
    CHECK(ax_session_consumed(&end->session, end->running[index].counted, fuzz->now) == 0);
    end->running[index].counted = 0;
    int error = send_result(fuzz, end, call, how);
    if (error != 0 && error != AX_ESTATE)
        return; /* to be retried */
    end->running[index] = end->running[--end->running_count];
    if (error == 0 && caller->fates[call] == RUNS)
        caller->fates[call] = ANSWERED;
}

static void forget(struct fuzz *fuzz, struct end *end)
{
    uint64_t id = take_byte(&fuzz->input);

    if (id >= end->calls || end->fates[id] == ENDED || end->session.state >= AX_STATE_CLOSED)
        return;
    ax_session_forget(&end->session, id);
    end->fates[id] = ENDED;
}

static void expire(struct fuzz *fuzz, uint64_t ms)
{
    fuzz->now += ms;
    for (int i = 0; i < 2; i++) {
        struct end *end = &fuzz->ends[i];
        struct ax_event event;
        ax_session_expire(&end->session, fuzz->now, &event);
        CHECK(ax_session_deadline(&end->session) > fuzz->now);
        handle(fuzz, end, &event);
    }
}

static bool are_ready(const struct fuzz *fuzz)
{
    return fuzz->ends[0].session.state == AX_STATE_READY && fuzz->ends[1].session.state == AX_STATE_READY;
}

/* Time passes on a working link: neither times out. */
static void live(struct fuzz *fuzz)
{
    for (int i = 0; i < 8; i++) {
        exchange(fuzz);
        bool were_ready = are_ready(fuzz);
        uint64_t first = ax_session_deadline(&fuzz->ends[0].session);
        uint64_t second = ax_session_deadline(&fuzz->ends[1].session);
        uint64_t next = first < second ? first : second;
        if (next == AX_NEVER)
            return;
        expire(fuzz, next > fuzz->now ? next - fuzz->now : 0);
        CHECK(are_ready(fuzz) == were_ready);
    }
}

static void stop(struct fuzz *fuzz, struct end *end, unsigned how)
{
    if (how % 4 == 0)
        end->stream_ended = true;
    else if (how % 4 == 1)
        ax_session_fail(&end->session, AX_EEOF, "Connection reset");
    else
        ax_session_close(&end->session, how % 4 == 2 ? NULL : "That is all", fuzz->now);
    if (end->session.state >= AX_STATE_CLOSING)
        finish_waiters(end);
}

/* ---- the script ---- */

static void step(struct fuzz *fuzz)
{
    unsigned what = take_byte(&fuzz->input);
    struct end *end = &fuzz->ends[what >> 7];
    unsigned argument = what >> 4 & 7;

    switch (what & 15) {
    case 0:
    case 1:
        call(fuzz, end);
        break;
    case 2:
    case 3:
        answer(fuzz, end);
        break;
    case 4:
        forget(fuzz, end);
        break;
    case 5:
        for (unsigned i = 0; i < argument * argument * 8; i++)
            (void)ax_session_release(&end->session, i);
        break;
    case 6:
        send_some(end, 1u << argument, fuzz->now);
        break;
    case 7:
        send_some(end, SIZE_MAX, fuzz->now);
        break;
    case 8:
        deliver(fuzz, end, 1 + argument);
        break;
    case 9:
        deliver(fuzz, end, 256u << argument);
        break;
    case 10:
        exchange(fuzz);
        break;
    case 11:
        live(fuzz);
        break;
    case 12:
        expire(fuzz, argument * 16);
        break;
    case 13:
        expire(fuzz, 1u << (2 * argument));
        break;
    default:
        stop(fuzz, end, argument);
    }
}

static void start(struct fuzz *fuzz, enum ax_role role, unsigned settings, uint32_t timeout_ms)
{
    struct ax_session_config config = {.role = role, .minor = (settings & OLD) != 0 ? 1 : 2};
    struct end *end = &fuzz->ends[role];

    memset(end, 0, offsetof(struct end, flight));
    if ((settings & (role == AX_OPENER ? OPENER_HAS_FEATURES : ACCEPTOR_HAS_FEATURES)) != 0)
        config.features = AX_FEATURES_ALL;
    if ((settings & (role == AX_OPENER ? OPENER_HAS_TIMEOUT : ACCEPTOR_HAS_TIMEOUT)) != 0)
        config.timeout_ms = timeout_ms;
    config.refuse_requests = (settings & REFUSING) != 0 && role == AX_ACCEPTOR;
    ax_limits_init(&config.limits);
    config.limits.idle_floor_ms = 1;
    if ((settings & SMALL_LIMITS) != 0) {
        config.limits.max_calls = 3;
        config.limits.max_queued = 1024;
        config.limits.window = 2 * AX_COUNTED_MIN;
    }
    CHECK(ax_session_init(&end->session, &config, fuzz->now) == 0);
    end->sent.session = &end->session;
}

/* Both are told of the end; then no call is waiting any more. */
static void finish(struct fuzz *fuzz)
{
    fuzz->ends[0].stream_ended = fuzz->ends[1].stream_ended = true;
    exchange(fuzz);
    for (int i = 0; i < 2; i++) {
        struct end *end = &fuzz->ends[i];
        CHECK(end->session.state >= AX_STATE_CLOSED);
        /* a session that failed in a request of its owner has reported it as the request's error only */
        finish_waiters(end);
        for (uint64_t call = 0; call < end->calls; call++)
            CHECK(end->fates[call] == ENDED);
        sent_finish(&end->sent);
        ax_session_fini(&end->session);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    size_t blocks = alloc_blocks();

    fuzz.input = (struct input){data, size};
    fuzz.now = 1000;
    unsigned settings = take_byte(&fuzz.input);
    uint32_t timeout_ms = 4 + take_byte(&fuzz.input);
    start(&fuzz, AX_OPENER, settings, timeout_ms);
    start(&fuzz, AX_ACCEPTOR, settings, timeout_ms);
    while (fuzz.input.size > 0)
        step(&fuzz);
    finish(&fuzz);
    CHECK(alloc_blocks() == blocks);
    return 0;
}
