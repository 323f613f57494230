/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include "testing.h"

/* Slices taken at a time: few, so that tests see more than one round. */
#define SLICES 3

/* A hang in a test is an error, not a wait: no exchange takes more rounds than this. */
#define ROUNDS_MAX 10000

struct ax_session_config peer_config(enum ax_role role)
{
    struct ax_session_config config = {.role = role, .minor = 2};

    ax_limits_init(&config.limits);
    return config;
}

void peer_init(struct peer *peer, const struct ax_session_config *config)
{
    *peer = (struct peer){.now = 1000, .seed = 1};
    assert_int_equal(ax_session_init(&peer->session, config, peer->now), 0);
}

void peer_fini(struct peer *peer)
{
    ax_session_fini(&peer->session);
    wire_free(&peer->sent);
    wire_free(&peer->log);
}

/* ---- the log ---- */

static void log_text(struct peer *peer, const void *text, size_t size)
{
    wire_raw(&peer->log, text, size);
}

static void log_string(struct peer *peer, const char *text)
{
    log_text(peer, text, strlen(text));
}

static void log_number(struct peer *peer, const char *before, long long number)
{
    char text[64];

    log_text(peer, text, (size_t)snprintf(text, sizeof text, "%s%lld", before, number));
}

static void log_ids(struct peer *peer, struct ax_ids ids)
{
    const char *separator = " ";
    uint64_t id;

    while (ax_ids_next(&ids, &id)) {
        log_number(peer, separator, (long long)id);
        separator = ",";
    }
}

static void log_buffers(struct peer *peer, const struct ax_message *message)
{
    log_number(peer, " buffers ", message->buffer_count);
    if (message->buffer_count > 0) {
        log_string(peer, " ");
        log_text(peer, message->buffers[0].data, message->buffers[0].size);
    }
}

/* What is said of an APPLY by default is left out. */
static void log_call(struct peer *peer, const struct ax_message *message)
{
    log_number(peer, "call ", (long long)message->call);
    if (message->type != AX_APPLY)
        log_number(peer, " type ", (long long)message->type);
    if (message->type == AX_COPY || message->type == AX_METHOD)
        log_number(peer, " object ", (long long)message->object);
    if (message->text_size > 0) {
        log_string(peer, " ");
        log_text(peer, message->text, message->text_size);
    }
    if (message->within > 0)
        log_number(peer, " within ", (long long)message->within);
    log_string(peer, " refs");
    log_ids(peer, message->ids);
    log_buffers(peer, message);
}

static void log_result(struct peer *peer, const struct ax_message *message, void *waiter)
{
    log_number(peer, "result ", (long long)message->call);
    log_number(peer, " kind ", (long long)message->kind);
    log_number(peer, " waiter ", (long long)(uintptr_t)waiter);
    log_string(peer, " refs");
    log_ids(peer, message->ids);
    log_buffers(peer, message);
    if (message->text_size > 0) {
        log_string(peer, " ");
        log_text(peer, message->text, message->text_size);
    }
}

static void log_end(struct peer *peer, const char *what)
{
    log_string(peer, what);
    if (peer->session.error != 0)
        log_number(peer, " ", peer->session.error);
    if (ax_session_reason(&peer->session)[0] != '\0') {
        log_string(peer, " ");
        log_string(peer, ax_session_reason(&peer->session));
    }
}

static void answer_call(struct peer *peer, struct ax_message *message)
{
    struct ax_buffer buffer = ax_buffer_take(&message->buffers[0]);

    struct ax_payload payload = {.buffers = &buffer, .buffer_count = 1};

    if (ax_session_result(&peer->session, message->call, AX_RESULT_SUCCESS, &payload, peer->now) < 0)
        ax_buffer_fini(&buffer);
}

static void handle(struct peer *peer, struct ax_event *event)
{
    switch (event->type) {
    case AX_EVENT_NONE:
        return;
    case AX_EVENT_READY:
        log_string(peer, "ready");
        break;
    case AX_EVENT_CALL:
        log_call(peer, event->message);
        if (peer->answer)
            answer_call(peer, event->message);
        break;
    case AX_EVENT_RESULT:
        log_result(peer, event->message, event->waiter);
        break;
    case AX_EVENT_RELEASE:
        log_string(peer, "release");
        log_ids(peer, event->message->ids);
        break;
    case AX_EVENT_CLOSED:
        log_end(peer, "closed");
        break;
    case AX_EVENT_FAILED:
        log_end(peer, "failed");
        break;
    }
    log_string(peer, "\n");
    ax_message_free(event->message);
}

/* ---- input ---- */

/* Feeds one piece, with as many calls as it takes: each uses it up or brings an event. */
static void feed_piece(struct peer *peer, const unsigned char *data, size_t size)
{
    struct ax_event event;

    do {
        size_t used = ax_session_feed(&peer->session, data, size, peer->now, &event);
        assert_true(used <= size);
        assert_true(used == size || event.type != AX_EVENT_NONE);
        handle(peer, &event);
        data += used;
        size -= used;
    } while (size > 0);
}

/* Puts bytes where the session wants them; returns how many of them it named memory for. */
static size_t feed_space(struct peer *peer, const unsigned char *data, size_t size)
{
    struct ax_event event;
    void *memory;
    size_t space = ax_session_space(&peer->session, &memory);
    size_t used = space < size ? space : size;

    if (space == 0)
        return 0;
    assert_non_null(memory);
    memcpy(memory, data, used);
    ax_session_filled(&peer->session, used, peer->now, &event);
    handle(peer, &event);
    return used;
}

static size_t piece_size(struct peer *peer, size_t left)
{
    size_t size = left;

    if (peer->feeding == FEED_BYTES) {
        size = 1;
    } else if (peer->feeding == FEED_RANDOM) {
        peer->seed = peer->seed * 1103515245u + 12345u;
        size = 1 + (peer->seed >> 16) % 40;
    } else if (peer->feeding == FEED_DIRECT) {
        size = 1500; /* what one read() might bring */
    }
    return size < left ? size : left;
}

void peer_feed(struct peer *peer, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    while (size > 0) {
        size_t used = peer->feeding == FEED_DIRECT ? feed_space(peer, bytes, size) : 0;
        if (used == 0) {
            used = piece_size(peer, size);
            feed_piece(peer, bytes, used);
        }
        bytes += used;
        size -= used;
    }
}

void peer_feed_wire(struct peer *peer, struct wire *wire)
{
    peer_feed(peer, wire->data, wire->size);
    wire_free(wire);
}

void peer_feed_eof(struct peer *peer)
{
    struct ax_event event;

    ax_session_feed_eof(&peer->session, &event);
    handle(peer, &event);
}

void peer_expire(struct peer *peer, uint64_t now)
{
    struct ax_event event;

    peer->now = now;
    ax_session_expire(&peer->session, now, &event);
    handle(peer, &event);
}

/* ---- output ---- */

size_t peer_collect(struct peer *peer)
{
    struct ax_slice slices[SLICES];
    size_t before = peer->sent.size;
    size_t count;

    while ((count = ax_session_pending(&peer->session, slices, SLICES)) > 0) {
        size_t size = 0;
        for (size_t i = 0; i < count; i++) {
            assert_true(slices[i].size > 0);
            wire_raw(&peer->sent, slices[i].data, slices[i].size);
            size += slices[i].size;
        }
        ax_session_sent(&peer->session, size, peer->now);
    }
    assert_int_equal(peer->session.output.size, 0);
    return peer->sent.size - before;
}

void peer_forget_sent(struct peer *peer)
{
    peer_collect(peer);
    wire_free(&peer->sent);
    peer->delivered = 0;
}

static bool deliver(struct peer *from, struct peer *to)
{
    peer_collect(from);
    size_t size = from->sent.size - from->delivered;
    if (size == 0)
        return false;
    peer_feed(to, from->sent.data + from->delivered, size);
    from->delivered += size;
    return true;
}

void peer_exchange(struct peer *a, struct peer *b)
{
    int rounds = 0;
    bool moved;

    do {
        moved = deliver(a, b);
        moved = deliver(b, a) || moved;
        assert_true(++rounds < ROUNDS_MAX);
    } while (moved);
}

/* ---- requests ---- */

void peer_make_ready(struct peer *peer, const struct ax_session_config *config, uint32_t peer_timeout_ms,
                     uint32_t peer_features)
{
    struct wire wire = {0};

    peer_init(peer, config);
    if (peer_features != 0)
        wire_superblock_features(&wire, config->minor, peer_features);
    else
        wire_superblock(&wire, 0, config->minor, 0);
    wire_greeting(&wire, peer_timeout_ms);
    peer_feed_wire(peer, &wire);
    assert_log(peer, "ready\n");
    peer_forget_sent(peer);
}

void peer_connect(struct peer *opener, struct peer *acceptor, uint32_t features, const struct ax_limits *limits)
{
    struct ax_session_config config = peer_config(AX_OPENER);

    config.features = features;
    peer_init(opener, &config);
    config = peer_config(AX_ACCEPTOR);
    config.features = features;
    if (limits != NULL)
        config.limits = *limits;
    peer_init(acceptor, &config);
    peer_exchange(opener, acceptor);
    assert_log(opener, "ready\n");
    assert_log(acceptor, "ready\n");
    peer_forget_sent(opener);
    peer_forget_sent(acceptor);
}

struct ax_buffer make_buffer(size_t size, int byte)
{
    struct ax_buffer buffer = {.data = malloc(size != 0 ? size : 1), .size = size, .capacity = size};

    if (buffer.data != NULL)
        memset(buffer.data, byte, size);
    return buffer;
}

int apply(struct ax_session *session, const uint64_t *refs, size_t ref_count, struct ax_buffer *buffer, void *waiter,
          uint64_t now, uint64_t *id)
{
    struct ax_operation operation = {.type = AX_APPLY};
    struct ax_payload payload = {.refs = refs, .ref_count = ref_count, .buffers = buffer, .buffer_count = 1};

    return ax_session_call(session, &operation, &payload, waiter, now, id);
}

int answer(struct ax_session *session, uint64_t call, enum ax_result_kind kind, const uint64_t *refs, size_t ref_count,
           struct ax_buffer *buffer, uint64_t now)
{
    struct ax_payload payload = {.refs = refs, .ref_count = ref_count, .buffers = buffer, .buffer_count = 1};

    return ax_session_result(session, call, kind, &payload, now);
}

int peer_call(struct peer *peer, const char *text, uintptr_t waiter, uint64_t *id)
{
    struct ax_buffer buffer = {0};
    int error = ax_buffer_append(&buffer, text, strlen(text));

    if (error == 0)
        error = apply(&peer->session, NULL, 0, &buffer, (void *)waiter, peer->now, id);
    ax_buffer_fini(&buffer);
    return error;
}

int peer_result(struct peer *peer, uint64_t call, enum ax_result_kind kind, const char *text)
{
    struct ax_buffer buffer = {0};
    int error = ax_buffer_append(&buffer, text, strlen(text));

    if (error == 0)
        error = answer(&peer->session, call, kind, NULL, 0, &buffer, peer->now);
    ax_buffer_fini(&buffer);
    return error;
}

/* ---- checks ---- */

void assert_log(struct peer *peer, const char *expected)
{
    wire_u8(&peer->log, 0);
    assert_string_equal((const char *)peer->log.data, expected);
    wire_free(&peer->log);
}

void assert_sent(struct peer *peer, struct wire *expected)
{
    peer_collect(peer);
    assert_int_equal(peer->sent.size, expected->size);
    if (expected->size > 0)
        assert_memory_equal(peer->sent.data, expected->data, expected->size);
    wire_free(expected);
    peer_forget_sent(peer);
}

void assert_failed(struct peer *peer, int error, const char *text)
{
    char expected[AX_REASON_SIZE + 32];

    snprintf(expected, sizeof expected, "failed %d %s\n", error, text);
    assert_log(peer, expected);
    assert_int_equal(peer->session.state, AX_STATE_FAILED);
    assert_int_equal(peer->session.error, error);
    assert_string_equal(ax_session_reason(&peer->session), text);
}
