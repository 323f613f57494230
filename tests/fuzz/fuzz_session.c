/* SPDX-License-Identifier: MIT */
/*
 * A session with a hostile peer, an owner that makes any allowed request in any order, and failing allocations.
 *
 * Input: three bytes of settings, then a script: each step is a byte that says what to do, followed by arguments.
 * Everything that session.h promises and that can be observed from outside is checked after every step: the memory that
 * it requests and keeps, the outcome of calls, deadlines, and everything that it sends. Each script is run again with
 * the peer's bytes cut into pieces, which must make no difference.
 */
#include "fuzz.h"
#include "sent.h"
#include "tests/protocol/alloc.h"
#include "tests/protocol/wire.h"

enum setting {
    ACCEPTOR = 1,
    FEATURES = 2,
    BOOTSTRAP = 4,
    SMALL_LIMITS = 8,
    TIMEOUTS = 16,
    READY = 32,     /* the target performs the handshake, so that the script starts after it */
    OLD = 64,       /* version 0.1 */
    REFUSING = 128, /* the session does not run calls */
};

#define START 1000 /* milliseconds */
#define CALLS_TOLD_APART 256
#define FLOOD 250 /* requests at once */
#define OWN_BUFFER_MAX (32u * 8192u)
#define OWN_BUFFERS_MAX 3
#define OWN_PAYLOAD_MAX (OWN_BUFFERS_MAX * OWN_BUFFER_MAX)

struct fuzz {
    struct ax_session session;
    struct input input;
    size_t piece; /* the peer's bytes come in pieces of this size; 0: whole */
    uint64_t now;
    enum ax_session_state state; /* the last one seen: states only go forward */
    bool ended;                  /* CLOSED or FAILED has been reported by an event */
    uint64_t fed;                /* bytes that the peer has sent */
    size_t open_calls;           /* ours, with a waiter */
    bool open[CALLS_TOLD_APART]; /* which of the first of them */
    uint64_t next_call;
    uint64_t peer_call; /* the newest call of the peer */
    uint64_t released;  /* number of ids that the owner released */
    struct sent sent;
    uint64_t told;    /* a checksum of all events */
    unsigned fail_at; /* the next request's n-th allocation fails, and if fail_from is set all further ones; 0: none */
    bool fail_from;
    bool has_given_buffer; /* the owner has provided memory for a body: when a 16th of it had arrived */
    uint64_t unread;       /* bytes of the peer's calls that count against the window */
    unsigned chunk;        /* well-formed messages of the peer arrive in chunks of this size; 0: unchunked */
    bool has_failed;       /* an allocation failed: from then on runs cannot be compared */
};

/* One for each of the first calls; further ones share the last. */
static char waiters[CALLS_TOLD_APART + 1];

static void *waiter_of(uint64_t id)
{
    return &waiters[id < CALLS_TOLD_APART ? id : CALLS_TOLD_APART];
}

/* ---- allocation failures ---- */

/* Wraps each request to the session, so that nothing else gets the failure. */
static void begin_request(const struct fuzz *fuzz)
{
    if (fuzz->fail_from)
        alloc_fail_from(fuzz->fail_at);
    else
        alloc_fail_at(fuzz->fail_at);
}

/* Returns whether an allocation has failed. */
static bool end_request(struct fuzz *fuzz)
{
    bool failed = alloc_has_failed();

    alloc_fail_at(0);
    if (failed)
        fuzz->fail_at = 0;
    fuzz->has_failed = fuzz->has_failed || failed;
    return failed;
}

/*
 * Upper bound of the memory that a session may keep: one incoming message, at most twice what has arrived; queued
 * output, where one more message may follow the last that fits, and the peer may cause refusals; calls and releases.
 * Some of it twice, as arrays grow by doubling and a block is kept until all of it has been sent.
 */
static uint64_t most_incoming(const struct fuzz *fuzz, const struct ax_lane *lane)
{
    uint64_t limit = fuzz->session.config.limits.max_message;
    uint64_t announced = lane->size < limit ? lane->size : limit;
    uint64_t arriving = AX_BODY_FIRST_STEP + (fuzz->has_given_buffer ? 17 : 2) * fuzz->fed;

    return (announced < arriving ? announced : arriving) + 128u * lane->frames + 1024;
}

static uint64_t most_memory(const struct fuzz *fuzz)
{
    const struct ax_session *session = &fuzz->session;
    const struct ax_limits *limits = &session->config.limits;
    uint64_t incoming = most_incoming(fuzz, &session->lane) + most_incoming(fuzz, &session->bulk);
    uint64_t queued =
        2 * limits->max_queued + 2 * (OWN_PAYLOAD_MAX + OWN_BUFFERS_MAX * 16384) + limits->max_head + 8192;

    return incoming + 3 * queued + 64 * (session->calls.count + 64) + 40 * (fuzz->released + limits->max_ids + 64);
}

/* ---- invariants ---- */

/* The middle of large data is skipped, to save time. */
static void tell(struct fuzz *fuzz, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    fuzz->told = (fuzz->told ^ size) * 0x100000001b3u;
    for (size_t i = 0; i < size; i += i == 512 && size > 1024 ? size - 1024 : 1)
        fuzz->told = (fuzz->told ^ bytes[i]) * 0x100000001b3u;
}

static void tell_event(struct fuzz *fuzz, const struct ax_event *event)
{
    const struct ax_message *message = event->message;

    if (event->type == AX_EVENT_NONE)
        return;
    tell(fuzz, &event->type, sizeof event->type);
    if (message == NULL)
        return;
    tell(fuzz, message->head.data, message->head.size);
    for (uint32_t i = 0; i < message->buffer_count; i++)
        tell(fuzz, message->buffers[i].data, message->buffers[i].size);
}

static void check_message(const struct fuzz *fuzz, const struct ax_message *message)
{
    const struct ax_limits *limits = &fuzz->session.config.limits;

    CHECK(message != NULL);
    CHECK(message->head.size <= limits->max_head);
    CHECK(message->buffer_count < limits->max_frames);
    CHECK(message->ids.count <= limits->max_ids);
    CHECK(ax_message_memory(message) <= sizeof *message + fuzz->fed * (1 + sizeof(struct ax_buffer) / 8));
}

static void close_call(struct fuzz *fuzz, uint64_t id)
{
    fuzz->open_calls--;
    if (id < CALLS_TOLD_APART) {
        CHECK(fuzz->open[id]);
        fuzz->open[id] = false;
    }
}

static bool has_feature(const struct fuzz *fuzz, uint32_t feature)
{
    return (fuzz->session.features & feature) != 0;
}

static void check_request(struct fuzz *fuzz, const struct ax_message *message)
{
    check_message(fuzz, message);
    CHECK(!fuzz->session.config.refuse_requests);
    CHECK(message->type == AX_APPLY || (ax_is_request(message->type) && has_feature(fuzz, AX_FEATURE_OPERATIONS)));
    CHECK(message->buffer_count > 0 || message->type == AX_COPY || message->type == AX_METHOD);
    CHECK(message->within == 0 || has_feature(fuzz, AX_FEATURE_NESTED));
    fuzz->peer_call = message->call;
    fuzz->unread += message->counted;
}

static void check_result(struct fuzz *fuzz, const struct ax_event *event)
{
    const struct ax_message *message = event->message;
    bool is_new = message->kind == AX_RESULT_SELF || message->kind == AX_RESULT_REFERENCE;

    check_message(fuzz, message);
    CHECK(message->type == AX_RESULT);
    CHECK(message->call < fuzz->next_call && event->waiter == waiter_of(message->call));
    CHECK(!is_new || has_feature(fuzz, AX_FEATURE_OPERATIONS));
    CHECK(message->kind == AX_RESULT_OPERATION_ERROR || message->kind == AX_RESULT_SELF || message->buffer_count > 0);
    close_call(fuzz, message->call);
}

static void handle(struct fuzz *fuzz, struct ax_event *event)
{
    const struct ax_session *session = &fuzz->session;

    tell_event(fuzz, event);
    switch (event->type) {
    case AX_EVENT_NONE:
        CHECK(event->message == NULL);
        break;
    case AX_EVENT_READY:
        CHECK(session->state == AX_STATE_READY && event->message == NULL);
        break;
    case AX_EVENT_CALL:
        check_request(fuzz, event->message);
        break;
    case AX_EVENT_RESULT:
        check_result(fuzz, event);
        break;
    case AX_EVENT_RELEASE:
        check_message(fuzz, event->message);
        CHECK(event->message->type == AX_DEL_OBJS);
        break;
    case AX_EVENT_CLOSED:
        CHECK(session->state == AX_STATE_CLOSED && !fuzz->ended);
        fuzz->ended = true;
        break;
    case AX_EVENT_FAILED:
        CHECK(session->state == AX_STATE_FAILED && fuzz->state != AX_STATE_FAILED && event->message == NULL);
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
    CHECK(session->error != AX_ENOMEM || fuzz->has_failed);
    CHECK(memchr(session->reason, 0, sizeof session->reason));
    CHECK(session->calls.count >= fuzz->open_calls);
    CHECK(session->calls_in_progress <= session->config.limits.max_calls);
    CHECK(session->state < AX_STATE_CLOSING || session->release_count == 0);
    CHECK(session->unread == fuzz->unread);
    CHECK(session->unread <= session->config.limits.window + 2 * session->config.limits.max_message);
    CHECK(alloc_bytes() <= most_memory(fuzz));
    fuzz->state = session->state;
}

/* ---- what the peer does ---- */

/* The bytes that the session wants to be read into its own memory. Returns how many. */
static size_t fill(struct fuzz *fuzz, struct input bytes, size_t capacity, void *memory, struct ax_event *event)
{
    struct input here = take_bytes(&bytes, capacity);

    memcpy(memory, here.data, here.size);
    begin_request(fuzz);
    ax_session_filled(&fuzz->session, here.size, fuzz->now, event);
    return here.size;
}

/* Upper bound of what may be queued by the peer's next bytes: refusals are bounded, and releases are sent along. */
static uint64_t most_queued(const struct ax_session *session)
{
    const struct ax_limits *limits = &session->config.limits;
    uint64_t queued = session->output.size;

    if (queued < 2 * limits->max_queued)
        queued = 2 * limits->max_queued;
    return queued + limits->max_head + 8192 + 10 * session->release_count;
}

/* At most one event. Returns the number of bytes consumed. */
static size_t feed_piece(struct fuzz *fuzz, struct input bytes, struct ax_event *event)
{
    uint64_t most = most_queued(&fuzz->session);
    void *memory = NULL;
    size_t capacity = 0;
    size_t used;

    begin_request(fuzz);
    if (fuzz->piece > 0)
        capacity = ax_session_space(&fuzz->session, &memory);
    if (capacity > 0) {
        used = fill(fuzz, bytes, capacity, memory, event);
    } else {
        used = ax_session_feed(&fuzz->session, bytes.data, bytes.size, fuzz->now, event);
        CHECK(used <= bytes.size);
        CHECK(used == bytes.size || event->type != AX_EVENT_NONE);
    }
    end_request(fuzz);
    CHECK(fuzz->session.output.size <= most);
    return used;
}

static void feed(struct fuzz *fuzz, struct input bytes)
{
    while (bytes.size > 0) {
        struct input piece = bytes;
        struct ax_event event;
        if (fuzz->piece > 0)
            piece = take_bytes(&(struct input){bytes.data, bytes.size}, fuzz->piece);
        fuzz->fed += piece.size;
        size_t used = feed_piece(fuzz, piece, &event);
        fuzz->fed -= piece.size - used;
        handle(fuzz, &event);
        check_session(fuzz);
        take_bytes(&bytes, used);
    }
}

/* One frame, whose header is made from the script so that lengths are correct more often than by chance. */
static void feed_frame(struct fuzz *fuzz, bool more)
{
    unsigned char header[AX_FRAME_HEADER_SIZE];
    struct input body = take_bytes(&fuzz->input, take_byte(&fuzz->input));

    ax_frame_put_header(header, body.size, more);
    feed(fuzz, (struct input){header, sizeof header});
    feed(fuzz, body);
}

/* A header that announces up to 4 GiB, and as much of the body as the session provides memory for. */
static void feed_large(struct fuzz *fuzz, bool more)
{
    unsigned char header[AX_FRAME_HEADER_SIZE];
    uint64_t length = (uint64_t)take_byte(&fuzz->input) << (take_byte(&fuzz->input) % 25);
    int byte = (int)take_byte(&fuzz->input);
    struct ax_event event = {0};
    void *memory;

    ax_frame_put_header(header, length, more);
    feed(fuzz, (struct input){header, sizeof header});
    begin_request(fuzz);
    size_t space = ax_session_space(&fuzz->session, &memory);
    CHECK((space > 0) == (memory != NULL));
    if (space > 0) {
        CHECK(space <= fuzz->session.lane.frame.remaining);
        memset(memory, byte, space);
        fuzz->fed += space;
        ax_session_filled(&fuzz->session, space, fuzz->now, &event);
    }
    end_request(fuzz);
    handle(fuzz, &event);
}

/* Well-formed messages, maybe in chunks, which the peer may send whether that was negotiated or not. */
static void feed_wire(struct fuzz *fuzz, struct wire *wire)
{
    struct input rest = {wire->data, wire->size};
    struct wire chunks = {0};

    while (fuzz->chunk > 0 && rest.size > 0) {
        struct input part = take_bytes(&rest, fuzz->chunk);
        wire_frame(&chunks, "\x0a", 1, true);
        wire_frame(&chunks, part.data, part.size, false);
    }
    feed(fuzz, fuzz->chunk > 0 ? (struct input){chunks.data, chunks.size} : rest);
    wire_free(&chunks);
    wire_free(wire);
}

/* Whether a message that arrives now is parsed as one, and not as the inside of another. */
static bool is_listening(const struct fuzz *fuzz)
{
    const struct ax_session *session = &fuzz->session;

    return session->state == AX_STATE_READY && session->lane.frames == 0 &&
           ax_frame_reader_at_boundary(&session->lane.frame) &&
           (fuzz->chunk == 0 || (has_feature(fuzz, AX_FEATURE_FLOW) && session->bulk.frames == 0 &&
                                 ax_frame_reader_at_boundary(&session->bulk.frame)));
}

/* A well-formed result. One for an unknown call, or one that already has its result, is the peer's error. */
static void feed_result(struct fuzz *fuzz)
{
    const uint64_t refs[] = {1, take_byte(&fuzz->input)};
    uint64_t id = take_byte(&fuzz->input);
    bool is_known = ax_idmap_get(&fuzz->session.calls, id) != NULL;
    bool is_heard = is_listening(fuzz);
    struct wire wire = {0};
    char expected[64];

    if (refs[1] % 4 == 0)
        wire_operation_error(&wire, id, "No");
    else if (refs[1] % 8 == 1 && has_feature(fuzz, AX_FEATURE_OPERATIONS))
        wire_result(&wire, id, refs[1] % 16 == 1 ? AX_RESULT_SELF : AX_RESULT_REFERENCE, refs, 2, "result");
    else
        wire_result(&wire, id, 2 + refs[1] % 2, refs, 2, "result");
    feed_wire(fuzz, &wire);
    if (!is_heard || fuzz->has_failed)
        return;
    snprintf(expected, sizeof expected, "Call not found: %u", (unsigned)id);
    if (is_known)
        CHECK(fuzz->session.state == AX_STATE_READY && !ax_idmap_get(&fuzz->session.calls, id));
    else
        CHECK(fuzz->session.error == AX_EPROTOCOL && strcmp(fuzz->session.reason, expected) == 0);
}

/* Any of the requests, whether its type was negotiated or not. */
static void put_request(struct wire *wire, const uint64_t *ids)
{
    struct wire head = {0};
    uint64_t type = ids[0] / 4 % 5 == 0 ? AX_APPLY : AX_CREATE - 1 + ids[0] / 4 % 5;

    wire_uint(&head, type);
    wire_uint(&head, ids[0]);
    if (type == AX_COPY || type == AX_METHOD)
        wire_uint(&head, ids[1]);
    if (type == AX_METHOD) {
        wire_uint(&head, 4);
        wire_raw(&head, "name", 4);
    }
    wire_uint(&head, ids[0] % 4);
    for (size_t i = 0; i < ids[0] % 4; i++)
        wire_uint(&head, ids[i]);
    wire_uint(&head, ids[0] % 3);
    wire_frame(wire, head.data, head.size, type != AX_COPY);
    if (type != AX_COPY)
        wire_frame(wire, "request", 7, false);
    wire_free(&head);
}

enum well_formed { GREETING, REQUEST, GOODBYE, DEL_OBJS, IDLE };

/* A well-formed message, if not at an allowed time. */
static void feed_message(struct fuzz *fuzz, enum well_formed type)
{
    const uint64_t ids[] = {take_byte(&fuzz->input), 0x1234, UINT64_MAX};
    unsigned times = ids[0] > 250 ? FLOOD : 1;
    struct wire wire = {0};

    switch (type) {
    case GREETING:
        wire_greeting(&wire, ids[0] * ids[0]);
        break;
    case REQUEST:
        while (times-- > 0)
            put_request(&wire, ids);
        break;
    case GOODBYE:
        wire_goodbye(&wire, ids[0] % 2 != 0 ? "Because" : NULL);
        break;
    case DEL_OBJS:
        wire_del_objs(&wire, ids, ids[0] % 4);
        break;
    case IDLE:
        wire_idle(&wire);
        break;
    }
    feed_wire(fuzz, &wire);
}

/* ---- what the owner does ---- */

static struct ax_buffer make_buffer(size_t size)
{
    struct ax_buffer buffer = {.data = malloc(size + 1), .size = size, .capacity = size};

    CHECK(buffer.data != NULL);
    memset(buffer.data, 'p', size);
    return buffer;
}

/* Buffers of a message: the owner's until the session has taken them. */
struct load {
    uint64_t refs[2];
    uint64_t kinds[OWN_BUFFERS_MAX];
    struct ax_buffer buffers[OWN_BUFFERS_MAX];
    struct ax_payload payload;
};

/* Some are large: then the message is sent in chunks. */
static size_t buffer_size(unsigned how)
{
    return how < 224 ? how * 128u : (how - 223) * 8192u;
}

static void make_load(struct fuzz *fuzz, struct load *load, size_t buffers)
{
    size_t frames = 0;

    *load = (struct load){.refs = {take_byte(&fuzz->input), UINT64_MAX}};
    for (size_t i = 0; i < buffers; i++) {
        unsigned how = take_byte(&fuzz->input);
        load->buffers[i] = make_buffer(buffer_size(how));
        load->buffers[i].continued = how % 2 == 1 && i + 1 < buffers;
        load->kinds[i] = how;
        frames += !load->buffers[i].continued;
    }
    load->payload =
        (struct ax_payload){.refs = load->refs, .ref_count = 2, .buffers = load->buffers, .buffer_count = buffers};
    load->payload.kinds = load->kinds;
    load->payload.kind_count = has_feature(fuzz, AX_FEATURE_BUFFERS) && frames > 0 ? frames - 1 : 0;
}

static bool is_taken(const struct load *load)
{
    for (size_t i = 0; i < load->payload.buffer_count; i++)
        if (load->buffers[i].data != NULL)
            return false;
    return true;
}

static bool is_whole(const struct load *load)
{
    for (size_t i = 0; i < load->payload.buffer_count; i++)
        if (load->buffers[i].data == NULL)
            return false;
    return true;
}

static void free_load(struct load *load)
{
    for (size_t i = 0; i < load->payload.buffer_count; i++)
        ax_buffer_fini(&load->buffers[i]);
}

static struct ax_operation make_operation(unsigned how)
{
    static const enum ax_message_type types[] = {AX_APPLY, AX_CREATE, AX_REPLICATE, AX_COPY, AX_METHOD};
    struct ax_operation operation = {.type = types[how % 5], .object = how, .within = how % 3};

    if (operation.type == AX_METHOD) {
        operation.name = "append";
        operation.name_size = strlen(operation.name);
    }
    return operation;
}

/* Whether a full queue, or the peer's window, may block us. */
static bool may_be_full(const struct fuzz *fuzz)
{
    const struct ax_session *session = &fuzz->session;

    return ax_session_unsent(session) >= session->config.limits.max_queued ||
           (session->peer_window > 0 && session->uncredited > 0) ||
           (session->peer_max_calls > 0 && session->calls.count >= session->peer_max_calls);
}

static void call(struct fuzz *fuzz)
{
    unsigned how = take_byte(&fuzz->input);
    struct ax_operation operation = make_operation(how);
    void *waiter = waiter_of(fuzz->next_call);
    struct load load;
    uint64_t id;

    make_load(fuzz, &load, operation.type == AX_COPY ? 0 : 1 + how / 64 % OWN_BUFFERS_MAX);
    if (operation.type == AX_COPY)
        load.payload.ref_count = 0;
    begin_request(fuzz);
    int error = ax_session_call(&fuzz->session, &operation, &load.payload, waiter, fuzz->now, &id);
    bool failed = end_request(fuzz);
    bool is_known = operation.type == AX_APPLY || has_feature(fuzz, AX_FEATURE_OPERATIONS);
    CHECK((error == AX_ESTATE) == (fuzz->session.state != AX_STATE_READY || !is_known));
    if (error != 0) {
        bool is_known_error = error == AX_ESTATE || error == AX_EFULL || error == AX_ETOOLARGE;
        CHECK(is_whole(&load) && (is_known_error || (error == AX_ENOMEM && failed)));
        CHECK(error != AX_EFULL || may_be_full(fuzz));
        free_load(&load);
        return;
    }
    CHECK(id == fuzz->next_call++);
    CHECK(is_taken(&load));
    fuzz->open_calls++;
    if (id < CALLS_TOLD_APART)
        fuzz->open[id] = true;
}

static void answer(struct fuzz *fuzz, unsigned how)
{
    static const enum ax_result_kind kinds[] = {AX_RESULT_OPERATION_ERROR, AX_RESULT_SUCCESS, AX_RESULT_ERROR,
                                                AX_RESULT_SELF, AX_RESULT_REFERENCE};
    enum ax_result_kind kind = kinds[how % 5];
    uint32_t in_progress = fuzz->session.calls_in_progress;
    struct load load;
    int error;

    make_load(fuzz, &load, kind == AX_RESULT_SELF ? 0 : 1 + how / 5 % OWN_BUFFERS_MAX);
    if (kind == AX_RESULT_SELF)
        load.payload.ref_count = 0;
    begin_request(fuzz);
    if (how == 0)
        error = ax_session_result_failed(&fuzz->session, fuzz->peer_call, "It does not work", fuzz->now);
    else
        error = ax_session_result(&fuzz->session, fuzz->peer_call, kind, &load.payload, fuzz->now);
    bool failed = end_request(fuzz);
    CHECK(error != AX_ENOMEM || failed);
    CHECK(error != AX_ERANGE || how != 0);
    CHECK(in_progress - fuzz->session.calls_in_progress == (error == 0));
    CHECK(error != 0 && how != 0 ? is_whole(&load) : how == 0 || is_taken(&load));
    free_load(&load);
}

static void release(struct fuzz *fuzz, uint64_t id)
{
    fuzz->released++;
    begin_request(fuzz);
    int error = ax_session_release(&fuzz->session, id);
    CHECK(end_request(fuzz) ? error == AX_ENOMEM : error == 0);
}

static void consume(struct fuzz *fuzz)
{
    begin_request(fuzz);
    int error = ax_session_consumed(&fuzz->session, fuzz->unread, fuzz->now);
    CHECK(end_request(fuzz) ? error == AX_ENOMEM : error == 0);
    fuzz->unread = 0;
}

/* Provides memory for the body that is being received, if the session wants it. */
static void give_buffer(struct fuzz *fuzz)
{
    struct ax_buffer_request buffer_request;

    if (!ax_session_wants_buffer(&fuzz->session, &buffer_request))
        return;
    CHECK(buffer_request.size >= AX_RECEIVE_BUFFER_MIN &&
          buffer_request.size <= fuzz->session.config.limits.max_message);
    CHECK(buffer_request.size <= 16 * (fuzz->fed + 1));
    struct ax_buffer buffer = {.data = malloc(buffer_request.size), .capacity = buffer_request.size};
    unsigned char *memory = buffer.data;
    CHECK(memory != NULL && ax_session_give_buffer(&fuzz->session, buffer_request.body, &buffer) == 0);
    CHECK(buffer.data != memory && buffer.size <= fuzz->fed);
    memcpy(memory, buffer.data, buffer.size);
    ax_buffer_fini(&buffer);
    fuzz->has_given_buffer = true;
}

static void forget(struct fuzz *fuzz)
{
    unsigned id = take_byte(&fuzz->input);

    if (!fuzz->open[id])
        return;
    ax_session_forget(&fuzz->session, id);
    close_call(fuzz, id);
}

static void send_some(struct fuzz *fuzz, size_t max)
{
    struct ax_slice slices[3];
    size_t size = 0;

    begin_request(fuzz);
    size_t count = ax_session_pending(&fuzz->session, slices, 1 + max % 3);
    end_request(fuzz);
    CHECK((count > 0) == (fuzz->session.output.size > 0));
    for (size_t i = 0; i < count && size < max; i++) {
        size_t here = slices[i].size < max - size ? slices[i].size : max - size;
        CHECK(slices[i].size > 0);
        sent_take(&fuzz->sent, slices[i].data, here);
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
    begin_request(fuzz);
    ax_session_expire(&fuzz->session, fuzz->now, &event);
    end_request(fuzz);
    CHECK(due || (event.type == AX_EVENT_NONE && fuzz->session.output.size == queued));
    handle(fuzz, &event);
    CHECK(ax_session_deadline(&fuzz->session) > fuzz->now); /* otherwise its owner would never sleep */
}

enum ending { END_OF_STREAM, FAILURE, CLOSE, CLOSE_WITH_REASON };

static void end(struct fuzz *fuzz, enum ending how)
{
    struct ax_event event = {0};

    begin_request(fuzz);
    switch (how) {
    case END_OF_STREAM:
        ax_session_feed_eof(&fuzz->session, &event);
        break;
    case FAILURE:
        ax_session_fail(&fuzz->session, AX_EEOF, "Connection reset");
        break;
    case CLOSE:
    case CLOSE_WITH_REASON:
        ax_session_close(&fuzz->session, how == CLOSE ? NULL : "Enough", fuzz->now);
        break;
    }
    end_request(fuzz);
    handle(fuzz, &event);
}

/* ---- the script ---- */

/* The steps without arguments. */
static void plain_step(struct fuzz *fuzz, unsigned what)
{
    static const enum well_formed messages[] = {GREETING, REQUEST, GOODBYE, DEL_OBJS, IDLE};

    if (what <= CLOSE_WITH_REASON) {
        end(fuzz, (enum ending)what);
    } else if (what < 9) {
        feed_message(fuzz, messages[what - 4]);
    } else if (what < 13) {
        feed_result(fuzz);
    } else if (what == 14) {
        fuzz->chunk = take_byte(&fuzz->input);
    } else {
        fuzz->fail_at = 1 + take_byte(&fuzz->input) % 16;
        fuzz->fail_from = what == 15;
    }
}

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
        answer(fuzz, argument);
        break;
    case 8:
        release(fuzz, argument);
        break;
    case 9:
        for (unsigned i = take_byte(&fuzz->input) * 16; i > 0; i--)
            release(fuzz, UINT64_MAX - i);
        break;
    case 10:
        if (argument < 8)
            forget(fuzz);
        else if (argument < 12)
            consume(fuzz);
        else
            give_buffer(fuzz);
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
        plain_step(fuzz, argument);
    }
    check_session(fuzz);
}

static struct ax_session_config make_config(unsigned settings)
{
    static const char source[] = "pass\n";
    struct ax_session_config config = {.role = (settings & ACCEPTOR) != 0 ? AX_ACCEPTOR : AX_OPENER};

    config.minor = (settings & OLD) != 0 ? 1 : 2;
    config.features = (settings & FEATURES) != 0 ? AX_FEATURES_ALL : 0;
    config.bootstrap = (settings & BOOTSTRAP) != 0 ? source : NULL;
    config.refuse_requests = settings & REFUSING;
    ax_limits_init(&config.limits);
    config.limits.window = 4 * AX_COUNTED_MIN;
    config.limits.max_message = 4u << 20; /* all memory is really written: more would only take time */
    if ((settings & SMALL_LIMITS) != 0) {
        config.limits = (struct ax_limits){
            .max_message = 4096,
            .max_head = 64,
            .max_frames = 4,
            .max_ids = 8,
            .max_calls = 3,
            .max_queued = 1024,
            .idle_floor_ms = 1,
            .close_ms = 100,
            .window = 4096,
        };
    }
    if ((settings & TIMEOUTS) != 0) {
        config.timeout_ms = 1000;
        config.handshake_timeout_ms = 5000;
    }
    return config;
}

static void shake_hands(struct fuzz *fuzz, unsigned settings, unsigned timeout, unsigned features)
{
    struct wire wire = {0}, head = {0};

    wire_superblock_features(&wire, (settings & OLD) != 0 ? 1 : 2, features);
    wire_uint(&head, AX_GREETING);
    wire_uint(&head, timeout);
    wire_uint(&head, timeout % 3 * AX_COUNTED_MIN);
    wire_uint(&head, timeout % 5);
    wire_frame(&wire, head.data, head.size, false);
    feed(fuzz, (struct input){wire.data, wire.size});
    wire_free(&wire);
    wire_free(&head);
    CHECK(fuzz->session.state == AX_STATE_READY);
}

/* Every call has had its result, or its waiter is still registered; nothing else is. */
static void finish(struct fuzz *fuzz)
{
    fuzz->fail_at = 0;
    end(fuzz, FAILURE);
    for (; fuzz->open_calls > 0; fuzz->open_calls--)
        CHECK(ax_session_next_waiter(&fuzz->session));
    CHECK(!ax_session_next_waiter(&fuzz->session));
    while (fuzz->session.output.size > 0)
        send_some(fuzz, SIZE_MAX);
    sent_finish(&fuzz->sent);
    CHECK(fuzz->sent.messages[AX_IDLE] * fuzz->session.config.limits.idle_floor_ms <= fuzz->now - START);
    tell(fuzz, fuzz->session.reason, strlen(fuzz->session.reason));
    ax_session_fini(&fuzz->session);
}

/* Returns the checksum of all events, or 0 if an allocation failed. */
static uint64_t run(const uint8_t *data, size_t size, size_t piece)
{
    static struct fuzz fuzz;
    size_t blocks = alloc_blocks();

    fuzz = (struct fuzz){.input = {data, size}, .piece = piece, .now = START, .told = 1, .sent.session = &fuzz.session};
    unsigned settings = take_byte(&fuzz.input);
    unsigned timeout = take_byte(&fuzz.input);
    unsigned features = take_byte(&fuzz.input);
    struct ax_session_config config = make_config(settings);
    CHECK(ax_session_init(&fuzz.session, &config, fuzz.now) == 0);
    if ((settings & READY) != 0)
        shake_hands(&fuzz, settings, timeout, features);
    while (fuzz.input.size > 0)
        step(&fuzz);
    finish(&fuzz);
    CHECK(alloc_blocks() == blocks);
    return fuzz.has_failed ? 0 : fuzz.told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole = run(data, size, 0);

    if (whole != 0)
        CHECK(run(data, size, 1 + size % 7) == whole);
    return 0;
}
