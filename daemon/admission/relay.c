/* SPDX-License-Identifier: MIT */
#include "daemon/admission/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * One direction of a relay. First its source ends, then the end is passed on.
 *
 *   FLOWING   bytes may arrive
 *   IGNORED   bytes may arrive, and are discarded
 *   ENDING    no more bytes arrive, but some may still be held here
 *   ENDED     the end has been passed on
 */
enum state { FLOWING, IGNORED, ENDING, ENDED };

struct flow {
    enum state state;
    unsigned char *rest; /* owned: read but not yet written to the other side; or NULL */
    size_t start, size;  /* of the unwritten part: start < size while there is a rest */
};

struct ax_relay {
    struct ax_relays *relays;
    uint64_t id;
    struct ax_tls *tls;  /* owned */
    int tls_fd;          /* owned: the peer's */
    int plain_fd;        /* owned: our end of the socket pair */
    struct flow in;      /* from the peer */
    struct flow out;     /* to the peer */
    bool in_wants_write; /* TLS has to write before it can read from the peer */
    bool peer_is_gone;   /* the peer has been seen to hang up */
    bool plain_is_gone;  /* the same for the other end of the pair: the linger timer runs */
    bool plain_is_shut;  /* we have shut down reading there, which looks as if the other end had */
    uv_poll_t tls_poll;
    uv_poll_t plain_poll;
    uv_timer_t timer;
    int open_handles;
    bool is_ending;
    struct ax_relay *next;
    struct ax_relay **link;
};

/* ---- flows ---- */

static bool has_rest(const struct flow *flow)
{
    return flow->rest != NULL;
}

static void drop_rest(struct flow *flow)
{
    free(flow->rest);
    flow->rest = NULL;
}

/* Keeps the bytes that were not written. Returns whether there was memory. */
static bool keep_rest(struct flow *flow, const unsigned char *bytes, size_t size)
{
    flow->rest = malloc(size);
    if (flow->rest == NULL)
        return false;
    memcpy(flow->rest, bytes, size);
    flow->start = 0;
    flow->size = size;
    return true;
}

static void take_from_rest(struct flow *flow, size_t size)
{
    flow->start += size;
    if (has_rest(flow) && flow->start == flow->size)
        drop_rest(flow);
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct ax_relay *relay = handle->data;

    if (--relay->open_handles == 0)
        free(relay);
}

static void close_handles(struct ax_relay *relay)
{
    if (relay->open_handles > 2)
        uv_close((uv_handle_t *)&relay->plain_poll, on_closed);
    if (relay->open_handles > 1)
        uv_close((uv_handle_t *)&relay->tls_poll, on_closed);
    uv_close((uv_handle_t *)&relay->timer, on_closed);
}

static void end(struct ax_relay *relay)
{
    struct ax_relays *relays = relay->relays;

    if (relay->is_ending)
        return;
    relay->is_ending = true;
    *relay->link = relay->next;
    if (relay->next != NULL)
        relay->next->link = relay->link;
    relays->count--;
    drop_rest(&relay->in);
    drop_rest(&relay->out);
    close_handles(relay);
    relay->tls->methods->free(relay->tls);
    close(relay->tls_fd);
    close(relay->plain_fd);
    relays->ended(relays);
}

static void on_timer(uv_timer_t *timer)
{
    end(timer->data);
}

static void start_timer(struct ax_relay *relay)
{
    uv_timer_start(&relay->timer, on_timer, relay->relays->hurries ? AX_RELAY_HURRY_MS : AX_RELAY_LINGER_MS, 0);
}

/* Nothing more can be sent to the peer. What it sent before it hung up, perhaps the reason, can still be read. */
static void end_out(struct ax_relay *relay)
{
    drop_rest(&relay->out);
    relay->out.state = ENDED;
    relay->plain_is_shut = true;
    shutdown(relay->plain_fd, SHUT_RD);
}

/* Nothing more can be read from it, either. */
static void lose_peer(struct ax_relay *relay)
{
    end_out(relay);
    if (relay->in.state < ENDING)
        relay->in.state = ENDING;
}

/* ---- from the peer ---- */

/* Closing a socket with unread data resets the connection, and the peer might lose the last message. */
static void ignore_peer(struct ax_relay *relay)
{
    drop_rest(&relay->in);
    if (relay->in.state == FLOWING)
        relay->in.state = IGNORED;
}

/* Writes bytes to the socket pair and returns how many were taken; 0 if none could be, now or ever. */
static size_t deliver(struct ax_relay *relay, const unsigned char *bytes, size_t size)
{
    ssize_t sent = send(relay->plain_fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        ignore_peer(relay);
    return sent > 0 ? (size_t)sent : 0;
}

static void take_read_result(struct ax_relay *relay, enum ax_tls_result result)
{
    relay->in_wants_write = result == AX_TLS_WANTS_WRITE;
    if (result == AX_TLS_BROKEN)
        lose_peer(relay);
    else if (result == AX_TLS_ENDED)
        relay->in.state = ENDING;
}

/* Fills the chunk with what the peer has sent. Returns the number of bytes. */
static size_t read_peer(struct ax_relay *relay)
{
    enum ax_tls_result result = AX_TLS_OK;
    size_t size = 0;

    while (result == AX_TLS_OK && size + AX_TLS_RECORD_MAX <= AX_RELAY_CHUNK) {
        size_t got = 0;

        result = relay->tls->methods->read(relay->tls, relay->relays->chunk + size, AX_RELAY_CHUNK - size, &got);
        size += got;
    }
    take_read_result(relay, result);
    return size;
}

static void pump_in(struct ax_relay *relay)
{
    struct flow *flow = &relay->in;
    const unsigned char *chunk = relay->relays->chunk;
    size_t size, taken;

    if (has_rest(flow))
        take_from_rest(flow, deliver(relay, flow->rest + flow->start, flow->size - flow->start));
    if (has_rest(flow) || flow->state >= ENDING)
        return;
    size = read_peer(relay);
    if (size == 0 || flow->state == IGNORED)
        return;
    taken = deliver(relay, chunk, size);
    if (taken < size && flow->state != IGNORED && !keep_rest(flow, chunk + taken, size - taken))
        lose_peer(relay); /* rather than continuing with a gap in the stream */
}

/* ---- to the peer ---- */

/* Like deliver(). */
static size_t write_peer(struct ax_relay *relay, const unsigned char *bytes, size_t size)
{
    enum ax_tls_result result = AX_TLS_OK;
    size_t written = 0;

    while (result == AX_TLS_OK && written < size) {
        size_t done = 0;

        result = relay->tls->methods->write(relay->tls, bytes + written, size - written, &done);
        written += done;
    }
    if (result != AX_TLS_OK && result != AX_TLS_WANTS_WRITE)
        end_out(relay);
    if (written > 0 && relay->plain_is_gone)
        start_timer(relay); /* restarted, since there is progress */
    return written;
}

static void see_plain_gone(struct ax_relay *relay)
{
    if (!relay->plain_is_gone)
        start_timer(relay);
    relay->plain_is_gone = true;
}

/* Returns the number of bytes in the chunk. */
static size_t read_plain(struct ax_relay *relay)
{
    ssize_t got = recv(relay->plain_fd, relay->relays->chunk, AX_RELAY_CHUNK, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) { /* also if the other end was closed with unread data */
        see_plain_gone(relay);
        relay->out.state = ENDING;
    }
    return got > 0 ? (size_t)got : 0;
}

static void pump_out(struct ax_relay *relay)
{
    struct flow *flow = &relay->out;
    const unsigned char *chunk = relay->relays->chunk;
    size_t size, taken;

    if (has_rest(flow))
        take_from_rest(flow, write_peer(relay, flow->rest + flow->start, flow->size - flow->start));
    if (has_rest(flow) || flow->state != FLOWING)
        return;
    size = read_plain(relay);
    taken = size > 0 ? write_peer(relay, chunk, size) : 0;
    if (taken < size && flow->state != ENDED && !keep_rest(flow, chunk + taken, size - taken))
        lose_peer(relay);
}

/* Passes on the end of a stream after its last byte. */
static void pass_ends_on(struct ax_relay *relay)
{
    if (relay->in.state == ENDING && !has_rest(&relay->in)) {
        shutdown(relay->plain_fd, SHUT_WR);
        relay->in.state = ENDED;
    }
    if (relay->out.state == ENDING && !has_rest(&relay->out)) {
        relay->tls->methods->end(relay->tls);
        shutdown(relay->tls_fd, SHUT_WR);
        relay->out.state = ENDED;
    }
}

/* ---- events ---- */

static void on_tls_event(uv_poll_t *poll, int status, int events);
static void on_plain_event(uv_poll_t *poll, int status, int events);

static void watch_one(uv_poll_t *poll, int events, uv_poll_cb on_event)
{
    if (events != 0)
        uv_poll_start(poll, events, on_event);
    else
        uv_poll_stop(poll);
}

/*
 * Poll events for the socket pair's other end while it is not being read from. After our own shutdown, EPOLLHUP is
 * still reported with any event; urgent data, which cannot arrive, serves as one.
 */
static int events_of_end(const struct ax_relay *relay)
{
    return relay->plain_is_shut ? UV_PRIORITIZED : UV_DISCONNECT;
}

/* A side that is not being read from is watched for its end, once. */
static void watch(struct ax_relay *relay)
{
    bool reads_peer = relay->in.state < ENDING && !has_rest(&relay->in);
    bool reads_plain = relay->out.state == FLOWING && !has_rest(&relay->out);
    int tls_events = 0;
    int plain_events = 0;

    if (reads_peer)
        tls_events |= relay->in_wants_write ? UV_WRITABLE : UV_READABLE;
    else if (relay->in.state == FLOWING && !relay->peer_is_gone)
        tls_events |= UV_DISCONNECT;
    if (has_rest(&relay->out))
        tls_events |= UV_WRITABLE;
    if (reads_plain)
        plain_events |= UV_READABLE;
    else if (!relay->plain_is_gone)
        plain_events |= events_of_end(relay);
    if (has_rest(&relay->in))
        plain_events |= UV_WRITABLE;
    watch_one(&relay->tls_poll, tls_events, on_tls_event);
    watch_one(&relay->plain_poll, plain_events, on_plain_event);
}

static void go_on(struct ax_relay *relay)
{
    pump_in(relay);
    pump_out(relay);
    pass_ends_on(relay);
    if (relay->in.state == ENDED && relay->out.state == ENDED)
        end(relay);
    else
        watch(relay);
}

static void on_tls_event(uv_poll_t *poll, int status, int events)
{
    struct ax_relay *relay = poll->data;
    bool has_hung_up = status < 0 || (events & UV_DISCONNECT) != 0;

    if (has_hung_up && !relay->peer_is_gone) {
        relay->peer_is_gone = true;
        relay->relays->gone(relay->relays, relay->id);
    }
    if (!relay->is_ending)
        go_on(relay);
}

static void on_plain_event(uv_poll_t *poll, int status, int events)
{
    struct ax_relay *relay = poll->data;

    if (status < 0 || (events & (UV_DISCONNECT | UV_PRIORITIZED)) != 0)
        see_plain_gone(relay);
    go_on(relay);
}

/* ---- start ---- */

int ax_relays_init(struct ax_relays *relays, uv_loop_t *loop, ax_relay_gone_fn *gone, ax_relay_ended_fn *ended,
                   void *owner)
{
    *relays = (struct ax_relays){.loop = loop, .gone = gone, .ended = ended, .owner = owner};
    relays->chunk = malloc(AX_RELAY_CHUNK);
    return relays->chunk != NULL ? 0 : -ENOMEM;
}

/* Starts polling a descriptor. 0, or a negative errno. */
static int add_poll(struct ax_relay *relay, uv_poll_t *poll, int fd)
{
    int code = uv_poll_init(relay->relays->loop, poll, fd);

    poll->data = relay;
    relay->open_handles += code == 0;
    return code;
}

/* Creates the socket pair and the handles. Returns the other end of the pair, or a negative errno. */
static int set_up(struct ax_relay *relay)
{
    int pair[2];
    int code;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    code = add_poll(relay, &relay->tls_poll, relay->tls_fd);
    if (code == 0)
        code = add_poll(relay, &relay->plain_poll, pair[0]);
    if (code == 0) {
        relay->plain_fd = pair[0];
        return pair[1];
    }
    close(pair[0]);
    close(pair[1]);
    return code;
}

static void enlist(struct ax_relay *relay)
{
    struct ax_relays *relays = relay->relays;

    relay->next = relays->first;
    relay->link = &relays->first;
    if (relay->next != NULL)
        relay->next->link = &relay->next;
    relays->first = relay;
    relays->count++;
}

int ax_relay_start(struct ax_relays *relays, int fd, struct ax_tls *tls, uint64_t id)
{
    struct ax_relay *relay = calloc(1, sizeof *relay);
    int other = -ENOMEM;

    if (relay != NULL) {
        *relay = (struct ax_relay){.relays = relays, .id = id, .tls = tls, .tls_fd = fd, .open_handles = 1};
        uv_timer_init(relays->loop, &relay->timer);
        relay->timer.data = relay;
        other = set_up(relay);
    }
    if (other < 0) {
        if (relay != NULL)
            close_handles(relay);
        tls->methods->free(tls);
        close(fd);
        return other;
    }
    enlist(relay);
    go_on(relay); /* bytes may have arrived with the end of the handshake */
    return other;
}

void ax_relays_hurry(struct ax_relays *relays)
{
    relays->hurries = true;
    for (struct ax_relay *relay = relays->first; relay != NULL; relay = relay->next)
        start_timer(relay);
}

void ax_relays_free_memory(struct ax_relays *relays)
{
    free(relays->chunk);
    relays->chunk = NULL;
}
