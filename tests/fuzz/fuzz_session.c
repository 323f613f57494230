/* SPDX-License-Identifier: MIT */
/*
 * A session whose peer is hostile and whose owner does anything that it may, in any order.
 *
 * Input: two bytes of settings, then a script: each step is a byte that says what to do, with arguments behind it. All
 * that session.h promises and that can be told from outside is checked after every step.
 */
#include "fuzz.h"
#include "protocol/session.h"

enum setting {
    ACCEPTOR = 1,
    FEATURES = 2,
    BOOTSTRAP = 4,
    SMALL_LIMITS = 8,
    TIMEOUTS = 16,
    READY = 32,     /* the handshake is done by the target, so that the script begins behind it */
    OLD = 64,       /* version 0.1 */
    REFUSING = 128, /* nothing is run for the peer */
};

struct fuzz {
    struct ax_session session;
    struct input input;
    uint64_t now;
    enum ax_session_state state; /* that was seen last: states only go forward */
    bool ended;                  /* CLOSED or FAILED has been told by an event */
    uint64_t fed;                /* bytes that the peer has sent */
    size_t open_calls;           /* ours, with a waiter */
    bool open[256];              /* which of the first of them */
    uint64_t next_call;
    uint64_t peer_call; /* of the peer's calls, the newest */
    struct ax_frame_reader sent;
    size_t sent_superblock;
};

/* Waiters are only compared with NULL. */
static char waiter;

/* ---- what must always be true ---- */

static void check_message(const struct fuzz *fuzz, const struct ax_message *message, uint64_t type)
{
    const struct ax_limits *limits = &fuzz->session.config.limits;

    CHECK(message && message->type == type);
    CHECK(message->head.size <= limits->max_head);
    CHECK(message->buffer_count < limits->max_frames);
    CHECK(message->ids.count <= limits->max_ids);
    CHECK(ax_message_memory(message) <= sizeof(*message) + fuzz->fed * (1 + sizeof(struct ax_buffer) / 8));
}

static void close_call(struct fuzz *fuzz, uint64_t id)
{
    fuzz->open_calls--;
    if (id < sizeof(fuzz->open)) {
        CHECK(fuzz->open[id]);
        fuzz->open[id] = false;
    }
}

static void handle(struct fuzz *fuzz, struct ax_event *event)
{
    const struct ax_session *session = &fuzz->session;

    switch (event->type) {
    case AX_EVENT_NONE:
        CHECK(!event->message);
        break;
    case AX_EVENT_READY:
        CHECK(session->state == AX_STATE_READY && !event->message);
        break;
    case AX_EVENT_CALL:
        check_message(fuzz, event->message, AX_APPLY);
        CHECK(!session->config.refuse_requests);
        CHECK(event->message->buffer_count > 0);
        fuzz->peer_call = event->message->call;
        break;
    case AX_EVENT_RESULT:
        check_message(fuzz, event->message, AX_RESULT);
        CHECK(event->waiter == &waiter);
        CHECK(event->message->kind == AX_RESULT_OPERATION_ERROR || event->message->buffer_count > 0);
        CHECK(event->message->call < fuzz->next_call);
        close_call(fuzz, event->message->call);
        break;
    case AX_EVENT_RELEASE:
        check_message(fuzz, event->message, AX_DEL_OBJS);
        break;
    case AX_EVENT_CLOSED:
        CHECK(session->state == AX_STATE_CLOSED && !fuzz->ended);
        fuzz->ended = true;
        break;
    case AX_EVENT_FAILED:
        CHECK(session->state == AX_STATE_FAILED && fuzz->state != AX_STATE_FAILED && !event->message);
        CHECK(session->reason[0] && session->error < 0);
        fuzz->ended = true;
        break;
    }
    ax_message_free(event->message);
}

static void check_session(struct fuzz *fuzz)
{
    const struct ax_session *session = &fuzz->session;

    CHECK(session->state >= fuzz->state);
    CHECK((session->state == AX_STATE_FAILED) == (session->error != 0));
    CHECK(memchr(session->reason, 0, sizeof(session->reason)));
    CHECK(session->calls.count >= fuzz->open_calls);
    CHECK(session->calls_in_progress <= session->config.limits.max_calls);
    CHECK(session->state < AX_STATE_CLOSING || session->release_count == 0);
    if (session->incoming)
        CHECK(ax_message_memory(session->incoming) <=
              sizeof(struct ax_message) + 2 * AX_BODY_FIRST_STEP + 8 * (fuzz->fed + 8));
    fuzz->state = session->state;
}

/* ---- what the peer does ---- */

static void feed(struct fuzz *fuzz, struct input bytes)
{
    while (bytes.size > 0) {
        struct ax_event event;
        fuzz->fed += bytes.size;
        size_t used = ax_session_feed(&fuzz->session, bytes.data, bytes.size, fuzz->now, &event);
        CHECK(used <= bytes.size);
        CHECK(used == bytes.size || event.type != AX_EVENT_NONE);
        fuzz->fed -= bytes.size - used;
        handle(fuzz, &event);
        check_session(fuzz);
        take_bytes(&bytes, used);
    }
}

/* One frame, its header made from the script so that lengths are right more often than by chance. */
static void feed_frame(struct fuzz *fuzz, bool more)
{
    unsigned char header[AX_FRAME_HEADER_SIZE];
    struct input body = take_bytes(&fuzz->input, take_byte(&fuzz->input));

    ax_frame_put_header(header, body.size, more);
    feed(fuzz, (struct input){header, sizeof(header)});
    feed(fuzz, body);
}

/* A header that promises up to 4 GiB, and as much of the body as the session names memory for. */
static void feed_large(struct fuzz *fuzz, bool more)
{
    unsigned char header[AX_FRAME_HEADER_SIZE];
    uint64_t length = (uint64_t)take_byte(&fuzz->input) << (take_byte(&fuzz->input) % 25);
    struct ax_event event;
    void *memory;

    ax_frame_put_header(header, length, more);
    feed(fuzz, (struct input){header, sizeof(header)});
    size_t space = ax_session_space(&fuzz->session, &memory);
    CHECK((space > 0) == (memory != NULL));
    if (space == 0)
        return;
    CHECK(space <= fuzz->session.frame.remaining);
    memset(memory, (int)take_byte(&fuzz->input), space);
    fuzz->fed += space;
    ax_session_filled(&fuzz->session, space, fuzz->now, &event);
    handle(fuzz, &event);
}

/* ---- what the owner does ---- */

static struct ax_buffer make_payload(size_t size)
{
    struct ax_buffer payload = {.data = malloc(size + 1), .size = size, .capacity = size};

    CHECK(payload.data);
    memset(payload.data, 'p', size);
    return payload;
}

static void call(struct fuzz *fuzz)
{
    struct ax_buffer payload = make_payload(take_byte(&fuzz->input) * 128u);
    const uint64_t refs[] = {take_byte(&fuzz->input), UINT64_MAX};
    uint64_t id;
    struct ax_operation operation = {.type = AX_APPLY};
    struct ax_cargo cargo = {refs, 2, &payload, 1};
    int error = ax_session_call(&fuzz->session, &operation, &cargo, &waiter, fuzz->now, &id);

    CHECK((error == AX_ESTATE) == (fuzz->session.state != AX_STATE_READY));
    if (error) {
        CHECK(payload.data && (error == AX_ESTATE || error == AX_EFULL));
        ax_buffer_fini(&payload);
        return;
    }
    CHECK(id == fuzz->next_call++);
    CHECK(!payload.data);
    fuzz->open_calls++;
    if (id < sizeof(fuzz->open))
        fuzz->open[id] = true;
}

static void answer(struct fuzz *fuzz, unsigned how)
{
    struct ax_buffer payload = make_payload(take_byte(&fuzz->input) * 128u);
    struct ax_cargo cargo = {NULL, 0, &payload, 1};

    if (how == 0)
        ax_session_result_failed(&fuzz->session, fuzz->peer_call, "It does not work", fuzz->now);
    else
        ax_session_result(&fuzz->session, fuzz->peer_call, (enum ax_result_kind)how, &cargo, fuzz->now);
    ax_buffer_fini(&payload); /* the empty one, when the session has taken it */
}

static void forget(struct fuzz *fuzz)
{
    unsigned id = take_byte(&fuzz->input);

    if (!fuzz->open[id])
        return;
    ax_session_forget(&fuzz->session, id);
    close_call(fuzz, id);
}

/* What is sent is a superblock and whole messages, as far as a plain look can tell; unless it bootstraps. */
static void note_sent(struct fuzz *fuzz, struct input bytes)
{
    struct input superblock = take_bytes(&bytes, AX_SUPERBLOCK_SIZE - fuzz->sent_superblock);

    fuzz->sent_superblock += superblock.size;
    while (bytes.size > 0 && !fuzz->session.bootstrapped) {
        if (!fuzz->sent.in_body) {
            take_bytes(&bytes, ax_frame_read_header(&fuzz->sent, bytes.data, bytes.size));
            CHECK(!fuzz->sent.in_body || (fuzz->sent.length > 0 || !fuzz->sent.more));
        }
        if (fuzz->sent.in_body) {
            uint64_t left = fuzz->sent.remaining;
            struct input body = take_bytes(&bytes, left < bytes.size ? (size_t)left : bytes.size);
            ax_frame_read_body(&fuzz->sent, body.size);
        }
    }
}

static void send_some(struct fuzz *fuzz, size_t max)
{
    struct ax_slice slices[3];
    size_t count = ax_session_pending(&fuzz->session, slices, 1 + max % 3);
    size_t size = 0;

    CHECK((count > 0) == (fuzz->session.output.size > 0));
    for (size_t i = 0; i < count && size < max; i++) {
        size_t here = slices[i].size < max - size ? slices[i].size : max - size;
        CHECK(slices[i].size > 0);
        note_sent(fuzz, (struct input){slices[i].data, here});
        size += here;
    }
    CHECK(size <= fuzz->session.output.size);
    ax_session_sent(&fuzz->session, size, fuzz->now);
}

static void expire(struct fuzz *fuzz, uint64_t ms)
{
    struct ax_event event;

    fuzz->now += ms;
    bool due = fuzz->now >= ax_session_deadline(&fuzz->session);
    size_t queued = fuzz->session.output.size;
    ax_session_expire(&fuzz->session, fuzz->now, &event);
    CHECK(due || (event.type == AX_EVENT_NONE && fuzz->session.output.size == queued));
    handle(fuzz, &event);
    CHECK(ax_session_deadline(&fuzz->session) > fuzz->now); /* else its owner would never sleep */
}

static void end(struct fuzz *fuzz, unsigned how)
{
    struct ax_event event;

    switch (how) {
    case 0:
        ax_session_feed_eof(&fuzz->session, &event);
        handle(fuzz, &event);
        break;
    case 1:
        ax_session_fail(&fuzz->session, AX_EEOF, "Connection reset");
        break;
    default:
        ax_session_close(&fuzz->session, how % 2 ? "Enough" : NULL, fuzz->now);
    }
}

/* ---- the script ---- */

static void step(struct fuzz *fuzz)
{
    unsigned what = take_byte(&fuzz->input);
    unsigned argument = what >> 4;

    switch (what & 15) {
    case 0:
    case 1:
        feed_frame(fuzz, what & 1);
        break;
    case 2:
    case 3:
        feed_large(fuzz, what & 1);
        break;
    case 4:
        feed(fuzz, take_bytes(&fuzz->input, argument + 1));
        break;
    case 5:
        feed(fuzz, take_bytes(&fuzz->input, argument * 32));
        break;
    case 6:
        call(fuzz);
        break;
    case 7:
        answer(fuzz, argument % 5);
        break;
    case 8:
        ax_session_release(&fuzz->session, argument);
        break;
    case 9:
        for (unsigned i = take_byte(&fuzz->input) * 16; i > 0; i--)
            ax_session_release(&fuzz->session, UINT64_MAX - i);
        break;
    case 10:
        forget(fuzz);
        break;
    case 11:
        send_some(fuzz, argument);
        break;
    case 12:
        send_some(fuzz, SIZE_MAX);
        break;
    case 13:
        expire(fuzz, 1u << argument);
        break;
    case 14:
        expire(fuzz, argument);
        break;
    default:
        end(fuzz, argument);
    }
    check_session(fuzz);
}

static void start(struct fuzz *fuzz, unsigned settings)
{
    static const char source[] = "pass\n";
    struct ax_session_config config = {.role = settings & ACCEPTOR ? AX_ACCEPTOR : AX_OPENER};

    config.minor = settings & OLD ? 1 : 2;
    config.features = settings & FEATURES ? AX_FEATURE_REASON : 0;
    config.bootstrap = settings & BOOTSTRAP ? source : NULL;
    config.refuse_requests = settings & REFUSING;
    ax_limits_init(&config.limits);
    config.limits.max_message = 4u << 20; /* every byte is really written: more would only take time */
    if (settings & SMALL_LIMITS) {
        config.limits = (struct ax_limits){
            .max_message = 4096,
            .max_head = 64,
            .max_frames = 4,
            .max_ids = 8,
            .max_calls = 3,
            .max_queued = 1024,
            .idle_floor_ms = 1,
            .close_ms = 100,
        };
    }
    if (settings & TIMEOUTS) {
        config.timeout_ms = 1000;
        config.handshake_timeout_ms = 5000;
    }
    CHECK(ax_session_init(&fuzz->session, &config, fuzz->now) == 0);
}

static void shake_hands(struct fuzz *fuzz, unsigned settings, unsigned timeout)
{
    unsigned char bytes[AX_SUPERBLOCK_SIZE + AX_FRAME_HEADER_SIZE + 2] = {0};
    struct ax_superblock superblock = {AX_MAGIC, {0, settings & OLD ? 1 : 2, 0}, 1, settings & FEATURES ? 1 : 0};

    ax_superblock_encode(bytes, &superblock);
    ax_frame_put_header(bytes + AX_SUPERBLOCK_SIZE, 2, false);
    bytes[sizeof(bytes) - 1] = (unsigned char)(timeout % 0xfd);
    feed(fuzz, (struct input){bytes, sizeof(bytes)});
    CHECK(fuzz->session.state == AX_STATE_READY);
}

/* Every call has had its result, or its waiter is still there. */
static void finish(struct fuzz *fuzz)
{
    end(fuzz, 1);
    for (; fuzz->open_calls > 0; fuzz->open_calls--)
        CHECK(ax_session_next_waiter(&fuzz->session) == &waiter);
    CHECK(!ax_session_next_waiter(&fuzz->session));
    while (fuzz->session.output.size > 0)
        send_some(fuzz, SIZE_MAX);
    CHECK(fuzz->session.bootstrapped || (ax_frame_reader_at_boundary(&fuzz->sent) && !fuzz->sent.more));
    ax_session_fini(&fuzz->session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = {.input = {data, size}, .now = 1000};
    unsigned settings = take_byte(&fuzz.input);
    unsigned timeout = take_byte(&fuzz.input);

    start(&fuzz, settings);
    if (settings & READY)
        shake_hands(&fuzz, settings, timeout);
    while (fuzz.input.size > 0)
        step(&fuzz);
    finish(&fuzz);
    return 0;
}
