/* SPDX-License-Identifier: MIT */
#include "daemon/admission/handshake.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admission/exchange.h"
#include "daemon/admission/first_record.h"
#include "daemon/admission/goodbye.h"
#include "daemon/admission/status_request.h"
#include "daemon/base/error_format.h"

#define MAGIC_SIZE 4
#define TLS_HELLO 0x1603u /* the first two bytes of a TLS record with a ClientHello */

#define LOOKED_AT 32 /* handshakes that are considered for eviction */
#define TRIES 8      /* candidates that may survive by making progress, before one is evicted in any case */
#define STAGE_PART 8 /* a stage with at most one in this many loses none */

/* The newest version that we speak. Versions of the wire protocol are 0.1.x and 0.2.x. */
static const struct ax_version our_version = {0, 2, 0};

static_assert(AX_HANDSHAKE_STAGES < STAGE_PART, "some stage has more than what each keeps");

/* The lists that a handshake is in. */
enum list { ALL, LANE, SOURCE, LISTS };

struct ax_handshake {
    uv_poll_t *poll; /* owned by the loop */
    struct ax_handshakes *set;
    struct ax_origin *source; /* borrowed */
    enum ax_handshake_stage stage;
    int fd;                              /* owned */
    bool needs_tls;                      /* its TLS handshake is not done */
    struct ax_first_record first_record; /* what has arrived of it; empty once there is a TLS object */
    struct ax_tls *tls;                  /* owned; NULL: not created yet, or handed over */
    int wanted;                          /* poll events that it waits for */
    void *arg;
    uint64_t deadline; /* on the loop's clock */
    bool needs_proof;  /* the peer still has to prove that it knows the secret */
    struct ax_exchange exchange;
    unsigned char message[AX_EXCHANGE_SIZE]; /* the message of the exchange that is being read */
    size_t message_size;
    unsigned char received[AX_SUPERBLOCK_SIZE];
    size_t size;
    struct {
        struct ax_handshake *next;
        struct ax_handshake *previous;
    } links[LISTS];
};

/* ---- what is accepted ---- */

static uint32_t as_number(struct ax_version version)
{
    return (uint32_t)version.major << 16 | (uint32_t)version.minor << 8 | version.patch;
}

static bool is_wrong_version(struct ax_version version)
{
    return version.major != our_version.major || (version.minor != 1 && version.minor != 2);
}

static int check_version(const struct ax_superblock *peer, char *reason, size_t size)
{
    const struct ax_version *theirs = &peer->version;

    if (peer->magic == AX_MAGIC_BOOTSTRAP) {
        if (as_number(*theirs) > as_number(our_version))
            return ax_error_format(reason, size, "At least across %u.%u.%u is needed to bootstrap connection",
                                   theirs->major, theirs->minor, theirs->patch);
    } else if (is_wrong_version(*theirs)) {
        return ax_error_format(reason, size, "Local across %u.%u.%u is not compatible with remote %u.%u.%u",
                               our_version.major, our_version.minor, our_version.patch, theirs->major, theirs->minor,
                               theirs->patch);
    }
    return 0;
}

int ax_handshake_check(const unsigned char *received, size_t size, char *reason, size_t reason_size)
{
    unsigned char bytes[AX_SUPERBLOCK_SIZE] = {0};
    struct ax_superblock peer;
    enum ax_status_format ignored;

    if (size < MAGIC_SIZE)
        return 0;
    memcpy(bytes, received, size);
    if (ax_status_request_is_begun(received, size))
        return size < AX_SUPERBLOCK_SIZE ? 0 : ax_status_request_decode(&ignored, received, reason, reason_size);
    ax_superblock_decode(&peer, bytes);
    if (peer.magic == AX_EXCHANGE_MAGIC)
        return ax_error_format(reason, reason_size, "The peer has a shared secret, and this server demands none");
    if (peer.magic >> 16 == TLS_HELLO)
        return ax_error_format(reason, reason_size,
                               "Invalid magic: 0x%x; the peer speaks TLS, which --listen tls:HOST:PORT serves",
                               peer.magic);
    if (peer.magic != AX_MAGIC && peer.magic != AX_MAGIC_BOOTSTRAP)
        return ax_error_format(reason, reason_size, "Invalid magic: 0x%x", peer.magic);
    return size < AX_SUPERBLOCK_SIZE ? 0 : check_version(&peer, reason, reason_size);
}

/* Tells a peer that cannot be served why. */
static void answer_refused(int fd, const unsigned char *received, size_t size)
{
    const struct ax_superblock ours = {.magic = AX_MAGIC, .version = our_version};
    unsigned char bytes[AX_SUPERBLOCK_SIZE];
    struct ax_superblock peer;

    ax_superblock_encode(bytes, &ours);
    if (ax_exchange_is_begun(received, size)) { /* the client sees that no secret is required here */
        ax_goodbye_send(fd, bytes, sizeof bytes);
    } else if (size == AX_SUPERBLOCK_SIZE) {
        ax_superblock_decode(&peer, received);
        /* the session reports the version mismatch itself */
        if (peer.magic == AX_MAGIC && is_wrong_version(peer.version))
            ax_goodbye_send(fd, bytes, sizeof bytes);
    }
}

/* ---- lists, and the timer ---- */

static void append(struct ax_handshake **first, struct ax_handshake **last, struct ax_handshake *handshake,
                   enum list list)
{
    handshake->links[list].next = NULL;
    handshake->links[list].previous = *last;
    if (*last != NULL)
        (*last)->links[list].next = handshake;
    else
        *first = handshake;
    *last = handshake;
}

static void take_out(struct ax_handshake **first, struct ax_handshake **last, struct ax_handshake *handshake,
                     enum list list)
{
    struct ax_handshake *next = handshake->links[list].next;
    struct ax_handshake *previous = handshake->links[list].previous;

    if (previous != NULL)
        previous->links[list].next = next;
    else
        *first = next;
    if (next != NULL)
        next->links[list].previous = previous;
    else
        *last = previous;
}

static struct ax_handshake_lane *lane_of(const struct ax_handshake *handshake)
{
    return &handshake->set->lanes[handshake->source->key.lane];
}

/* Adds it to the lists of its stage. */
static void join_stage(struct ax_handshake *handshake)
{
    struct ax_handshake_lane *lane = lane_of(handshake);
    struct ax_origin *source = handshake->source;
    enum ax_handshake_stage stage = handshake->stage;

    append(&lane->first[stage], &lane->last[stage], handshake, LANE);
    append(&source->first[stage], &source->last[stage], handshake, SOURCE);
    lane->counts[stage]++;
    source->counts[stage]++;
}

static void leave_stage(struct ax_handshake *handshake)
{
    struct ax_handshake_lane *lane = lane_of(handshake);
    struct ax_origin *source = handshake->source;
    enum ax_handshake_stage stage = handshake->stage;

    take_out(&lane->first[stage], &lane->last[stage], handshake, LANE);
    take_out(&source->first[stage], &source->last[stage], handshake, SOURCE);
    lane->counts[stage]--;
    source->counts[stage]--;
}

/* Moves it to a stage; never back to an earlier one. */
static void reach(struct ax_handshake *handshake, enum ax_handshake_stage stage)
{
    if (handshake->stage >= stage)
        return;
    leave_stage(handshake);
    handshake->stage = stage;
    join_stage(handshake);
}

static void on_timer(uv_timer_t *timer);

static void schedule(struct ax_handshakes *set)
{
    uint64_t now = uv_now(set->loop);

    if (set->first == NULL || set->timeout_ms == 0)
        uv_timer_stop(&set->timer);
    else
        uv_timer_start(&set->timer, on_timer, set->first->deadline > now ? set->first->deadline - now : 0, 0);
}

static void enlist(struct ax_handshake *handshake)
{
    struct ax_handshakes *set = handshake->set;

    append(&set->first, &set->last, handshake, ALL);
    join_stage(handshake);
    lane_of(handshake)->count++;
    handshake->source->handshakes++;
    set->count++;
    if (set->count == 1)
        schedule(set);
}

static void delist(struct ax_handshake *handshake)
{
    struct ax_handshakes *set = handshake->set;
    bool was_first = set->first == handshake;

    take_out(&set->first, &set->last, handshake, ALL);
    leave_stage(handshake);
    lane_of(handshake)->count--;
    handshake->source->handshakes--;
    set->count--;
    if (was_first)
        schedule(set);
}

/* ---- one handshake ---- */

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Starts polling its descriptor, whose number may have been used before. 0, or a negative errno. */
static int open_poll(struct ax_handshake *handshake)
{
    uv_poll_t *poll = malloc(sizeof *poll);
    int code = poll != NULL ? uv_poll_init(handshake->set->loop, poll, handshake->fd) : UV_ENOMEM;

    if (code < 0) {
        free(poll);
        return code;
    }
    poll->data = handshake;
    handshake->poll = poll;
    return 0;
}

/* Leaves the descriptor open. */
static void close_poll(struct ax_handshake *handshake)
{
    uv_poll_stop(handshake->poll);
    uv_close((uv_handle_t *)handshake->poll, on_closed);
    handshake->poll = NULL;
}

/* Removes it from the lists and the loop; leaves the descriptor open, and the memory to the caller. */
static void leave(struct ax_handshake *handshake)
{
    delist(handshake);
    if (handshake->poll != NULL)
        close_poll(handshake);
}

static void end_failed(struct ax_handshake *handshake, const char *reason)
{
    struct ax_handshakes *set = handshake->set;
    void *arg = handshake->arg;

    leave(handshake);
    if (handshake->tls != NULL) {
        handshake->tls->methods->free(handshake->tls);
        ax_goodbye_send(handshake->fd, NULL, 0); /* discards unread data, so that TLS's last record and ours arrive */
    }
    if (handshake->fd >= 0)
        close(handshake->fd);
    ax_first_record_fini(&handshake->first_record);
    free(handshake);
    set->failed(set, arg, reason);
}

static void end_done(struct ax_handshake *handshake)
{
    leave(handshake);
    handshake->set->done(handshake->set, handshake->arg, handshake->fd, handshake->received, handshake->size);
    free(handshake);
}

enum turn {
    TURN_READ,  /* more bytes have been read */
    TURN_LATER, /* there is nothing to read */
    TURN_OVER,  /* the handshake is over */
};

/* Reads until `size` bytes are there, and no more. */
static enum turn receive(struct ax_handshake *handshake, unsigned char *bytes, size_t wanted, size_t *size)
{
    ssize_t received = recv(handshake->fd, bytes + *size, wanted - *size, 0);
    bool has_begun = *size > 0 || (handshake->needs_proof && handshake->exchange.has_challenged);

    if (received > 0) {
        *size += (size_t)received;
        reach(handshake, AX_STAGE_BEGUN);
        return TURN_READ;
    }
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return TURN_LATER;
    if (received < 0)
        end_failed(handshake, strerror(errno));
    else if (has_begun)
        end_failed(handshake, handshake->needs_proof ? "Incomplete proof of the secret" : "Incomplete superblock");
    else
        end_failed(handshake, NULL);
    return TURN_OVER;
}

static void refuse(struct ax_handshake *handshake, const unsigned char *received, size_t size, const char *reason)
{
    answer_refused(handshake->fd, received, size);
    end_failed(handshake, reason);
}

/*
 * A peer that does not begin with the exchange. Returns whether the handshake continues: until the protocol of this
 * peer is known.
 */
static bool take_unproved(struct ax_handshake *handshake)
{
    static const char needed[] = "The server demands a shared secret: connect with its secret_file";
    size_t size = handshake->message_size < AX_SUPERBLOCK_SIZE ? handshake->message_size : AX_SUPERBLOCK_SIZE;
    unsigned char refusal[AX_EXCHANGE_SIZE];
    char reason[AX_ERROR_TEXT_SIZE];
    struct ax_superblock peer;

    if (ax_handshake_check(handshake->message, size, reason, sizeof reason) < 0) {
        refuse(handshake, handshake->message, size, reason);
        return false;
    }
    if (size < AX_SUPERBLOCK_SIZE)
        return true;
    ax_superblock_decode(&peer, handshake->message);
    if (peer.magic == AX_MAGIC && peer.level > 0 && (peer.features & AX_FEATURE_REASON) != 0) {
        ax_goodbye_refuse(handshake->fd, handshake->message, size, needed);
    } else { /* a plain peer reports the unknown magic; `acrossd status` recognises it */
        ax_exchange_put(refusal, AX_EXCHANGE_REFUSAL, NULL);
        ax_goodbye_send(handshake->fd, refusal, sizeof refusal);
    }
    end_failed(handshake, needed);
    return false;
}

/* A message of the exchange is complete. Returns whether the handshake continues. */
static bool take_message(struct ax_handshake *handshake)
{
    unsigned char reply[AX_EXCHANGE_SIZE];
    char reason[AX_ERROR_TEXT_SIZE];
    enum ax_exchange_step step = ax_exchange_take(&handshake->exchange, handshake->set->secret, handshake->message,
                                                  reply, reason, sizeof reason);

    handshake->message_size = 0;
    if (step == AX_EXCHANGE_FAILED) {
        ax_goodbye_send(handshake->fd, reply, sizeof reply);
        end_failed(handshake, reason);
        return false;
    }
    /* The send buffer of a new socket has room for one message. */
    if (send(handshake->fd, reply, sizeof reply, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof reply) {
        end_failed(handshake, "The peer does not read");
        return false;
    }
    handshake->needs_proof = step == AX_EXCHANGE_GOES_ON;
    reach(handshake, step == AX_EXCHANGE_GOES_ON ? AX_STAGE_ANSWERED : AX_STAGE_KNOWN);
    return true;
}

/* Reads what is available of the exchange. Returns whether the handshake continues. */
static bool read_exchange(struct ax_handshake *handshake)
{
    while (handshake->needs_proof) {
        enum turn turn = receive(handshake, handshake->message, AX_EXCHANGE_SIZE, &handshake->message_size);
        bool goes_on = true;

        if (turn != TURN_READ)
            return turn == TURN_LATER;
        if (handshake->message_size >= MAGIC_SIZE &&
            !ax_exchange_is_begun(handshake->message, handshake->message_size) && !handshake->exchange.has_challenged)
            goes_on = take_unproved(handshake);
        else if (handshake->message_size == AX_EXCHANGE_SIZE)
            goes_on = take_message(handshake);
        if (!goes_on)
            return false;
    }
    return true;
}

/* Reads what is available of the superblock, and no more. Returns whether the handshake continues. */
static bool read_superblock(struct ax_handshake *handshake)
{
    enum turn turn = receive(handshake, handshake->received, AX_SUPERBLOCK_SIZE, &handshake->size);
    char reason[AX_ERROR_TEXT_SIZE];

    if (turn != TURN_READ)
        return turn == TURN_LATER;
    if (ax_handshake_check(handshake->received, handshake->size, reason, sizeof reason) < 0) {
        refuse(handshake, handshake->received, handshake->size, reason);
        return false;
    }
    if (handshake->size < AX_SUPERBLOCK_SIZE)
        return true;
    end_done(handshake);
    return false;
}

/* Returns whether the handshake continues. */
static bool read_some(struct ax_handshake *handshake)
{
    if (!read_exchange(handshake))
        return false;
    return handshake->needs_proof || read_superblock(handshake);
}

/* TLS is established: from now on the bytes come from another descriptor. Returns whether the handshake continues. */
static bool move_on(struct ax_handshake *handshake)
{
    struct ax_handshakes *set = handshake->set;
    struct ax_tls *tls = handshake->tls;
    int code;

    reach(handshake, AX_STAGE_KNOWN);
    close_poll(handshake);
    handshake->needs_tls = false;
    handshake->tls = NULL;
    handshake->wanted = UV_READABLE;
    handshake->fd = set->secured(set, handshake->arg, handshake->fd, tls);
    code = handshake->fd < 0 ? handshake->fd : open_poll(handshake);
    if (code < 0)
        end_failed(handshake, uv_strerror(code));
    return code == 0;
}

/* Creates the TLS object once the first record is complete. Returns whether the handshake continues. */
static bool begin_tls(struct ax_handshake *handshake)
{
    struct ax_handshakes *set = handshake->set;
    struct ax_first_record *first = &handshake->first_record;
    enum ax_first_record_result result = ax_first_record_read(first, handshake->fd);

    if (result == AX_FIRST_RECORD_NOTHING || result == AX_FIRST_RECORD_FAILED) {
        end_failed(handshake, result == AX_FIRST_RECORD_FAILED ? strerror(errno) : NULL);
        return false;
    }
    if (first->size > 0 || result == AX_FIRST_RECORD_READY)
        reach(handshake, AX_STAGE_BEGUN);
    if (result == AX_FIRST_RECORD_WANTS_READ)
        return true;
    handshake->tls = set->make_tls(set, handshake->arg, handshake->fd, first->bytes, first->size);
    ax_first_record_fini(first);
    if (handshake->tls == NULL)
        end_failed(handshake, strerror(ENOMEM));
    return handshake->tls != NULL;
}

/* Waits until the socket is ready for this event. */
static void await_tls(struct ax_handshake *handshake, int event)
{
    handshake->wanted = event;
    if (handshake->tls->methods->has_answered(handshake->tls))
        reach(handshake, AX_STAGE_ANSWERED);
}

/* Advances the TLS handshake. Returns whether the handshake continues. */
static bool secure(struct ax_handshake *handshake)
{
    char reason[AX_ERROR_TEXT_SIZE];

    if (handshake->tls == NULL && !begin_tls(handshake))
        return false;
    if (handshake->tls == NULL)
        return true;
    switch (handshake->tls->methods->accept(handshake->tls, reason, sizeof reason)) {
    case AX_TLS_OK:
        return move_on(handshake);
    case AX_TLS_WANTS_READ:
        await_tls(handshake, UV_READABLE);
        return true;
    case AX_TLS_WANTS_WRITE:
        await_tls(handshake, UV_WRITABLE);
        return true;
    case AX_TLS_ENDED:
        end_failed(handshake, NULL);
        return false;
    case AX_TLS_BROKEN:
        end_failed(handshake, reason);
        return false;
    }
    return false;
}

/* Does what can be done without waiting. Returns whether the handshake continues. */
static bool step(struct ax_handshake *handshake)
{
    if (handshake->needs_tls && !secure(handshake))
        return false;
    return handshake->needs_tls || read_some(handshake);
}

/* This process may have been stopped: a peer that has sent data meanwhile has not timed out. */
static void on_timer(uv_timer_t *timer)
{
    struct ax_handshakes *set = timer->data;
    uint64_t now = uv_now(set->loop);
    char reason[AX_ERROR_TEXT_SIZE];

    ax_error_format(reason, sizeof reason, "The handshake was not finished within %u ms", set->timeout_ms);
    while (set->first != NULL && set->first->deadline <= now)
        if (step(set->first))
            end_failed(set->first, reason);
    schedule(set);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void go_on(struct ax_handshake *handshake)
{
    int code;

    if (!step(handshake))
        return;
    code = uv_poll_start(handshake->poll, handshake->wanted, on_ready);
    if (code < 0)
        end_failed(handshake, uv_strerror(code));
}

/* An error usually means that the peer has reset the connection. It may have sent a reason before. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct ax_handshake *handshake = poll->data;

    (void)events;
    if (status == 0)
        go_on(handshake);
    else if (step(handshake))
        end_failed(handshake, "The connection broke");
}

/* ---- eviction ---- */

/*
 * The lane that exceeds its reservation most, counting one more for the lane of `newest`, which may be chosen itself.
 */
static struct ax_handshake_lane *find_fullest(const struct ax_handshakes *set, const struct ax_handshake_lane *newest)
{
    struct ax_handshake_lane *fullest = NULL;
    size_t most = 0;

    for (size_t i = 0; i < set->lane_count; i++) {
        struct ax_handshake_lane *lane = &set->lanes[i];
        size_t held = lane->count + (lane == newest);
        size_t beyond = held > set->lane_share ? held - set->lane_share : 0;

        if (lane->count == 0 || (fullest != NULL && (beyond < most || (beyond == most && lane != newest))))
            continue;
        fullest = lane;
        most = beyond;
    }
    return fullest;
}

/*
 * The lowest stage with more handshakes than it is guaranteed. There always is one, since the guarantees add up to less
 * than all.
 */
static int choose_stage(const size_t counts[AX_HANDSHAKE_STAGES], size_t all)
{
    int stage = 0;

    while (counts[stage] <= all / STAGE_PART)
        stage++;
    return stage;
}

/* Of the oldest few at the lowest stage, the one whose source has the most. */
static struct ax_handshake *choose_of_lane(const struct ax_handshake_lane *lane)
{
    struct ax_handshake *next = lane->first[choose_stage(lane->counts, lane->count)];
    struct ax_handshake *chosen = next;

    for (int i = 0; i < LOOKED_AT && next != NULL; i++, next = next->links[LANE].next)
        if (next->source->handshakes > chosen->source->handshakes)
            chosen = next;
    return chosen;
}

static struct ax_handshake *choose_of_source(const struct ax_origin *source)
{
    return source->first[choose_stage(source->counts, source->handshakes)];
}

/* The handshake to evict so that one more of this source fits; NULL: none. */
static struct ax_handshake *choose(const struct ax_handshakes *set, const struct ax_origin *source)
{
    if (source->handshakes >= set->source_limit)
        return choose_of_source(source);
    if (set->count >= set->limit)
        return choose_of_lane(find_fullest(set, &set->lanes[source->key.lane]));
    return NULL;
}

/*
 * A candidate that has sent data meanwhile may have finished or advanced: with many peers that connect at once, most
 * have.
 */
static void evict(struct ax_handshakes *set, const struct ax_origin *source)
{
    struct ax_handshake *chosen;

    for (int i = 1; (chosen = choose(set, source)) != NULL; i++) {
        enum ax_handshake_stage stage = chosen->stage;

        if (step(chosen) && (chosen->stage == stage || i >= TRIES))
            end_failed(chosen, "Too many peers are in their handshake");
    }
}

/* ---- adding one ---- */

static struct ax_handshake *new_handshake(struct ax_handshakes *set, int fd, bool needs_tls, void *arg)
{
    struct ax_handshake *handshake = calloc(1, sizeof *handshake);

    if (handshake == NULL)
        return NULL;
    *handshake = (struct ax_handshake){
        .set = set,
        .fd = fd,
        .needs_tls = needs_tls,
        .wanted = UV_READABLE,
        .arg = arg,
        .deadline = uv_now(set->loop) + set->timeout_ms,
    };
    if (open_poll(handshake) == 0)
        return handshake;
    free(handshake);
    return NULL;
}

void ax_handshakes_add(struct ax_handshakes *set, struct ax_origin *source, int fd, bool needs_tls, bool needs_proof,
                       void *arg)
{
    struct ax_handshake *handshake = new_handshake(set, fd, needs_tls, arg);

    if (handshake == NULL) {
        close(fd);
        set->failed(set, arg, strerror(ENOMEM));
        return;
    }
    handshake->needs_proof = needs_proof;
    handshake->source = source;
    evict(set, source);
    enlist(handshake);
    go_on(handshake); /* usually its bytes are there already */
}

/* ---- all of them ---- */

int ax_handshakes_init(struct ax_handshakes *set, uv_loop_t *loop, uint32_t timeout_ms,
                       struct ax_handshake_limits limits, ax_handshake_done_fn *done, ax_handshake_failed_fn *failed)
{
    int code;

    *set = (struct ax_handshakes){
        .loop = loop,
        .timeout_ms = timeout_ms,
        .limit = limits.all,
        .source_limit = limits.of_source,
        .lane_count = limits.lanes,
        .lane_share = limits.all / 2 / limits.lanes,
        .done = done,
        .failed = failed,
    };
    set->lanes = calloc(limits.lanes, sizeof *set->lanes);
    if (set->lanes == NULL)
        return UV_ENOMEM;
    code = uv_timer_init(loop, &set->timer);
    set->timer.data = set;
    uv_unref((uv_handle_t *)&set->timer);
    return code;
}

/* The list stays sorted by deadline. */
void ax_handshakes_set_timeout(struct ax_handshakes *set, uint32_t timeout_ms)
{
    uint64_t latest = uv_now(set->loop) + timeout_ms;

    for (struct ax_handshake *handshake = set->first; handshake != NULL; handshake = handshake->links[ALL].next)
        if (set->timeout_ms == 0 || handshake->deadline > latest)
            handshake->deadline = latest;
    set->timeout_ms = timeout_ms;
    schedule(set);
}

void ax_handshakes_fail_all(struct ax_handshakes *set, const char *reason)
{
    while (set->first != NULL)
        end_failed(set->first, reason);
}

void ax_handshakes_fini(struct ax_handshakes *set)
{
    free(set->lanes);
    set->lanes = NULL;
    uv_close((uv_handle_t *)&set->timer, NULL);
}
