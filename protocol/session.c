/* SPDX-License-Identifier: MIT */
#include "protocol/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/session_private.h"
#include "protocol/text.h"

/*
 * Larger pickles are more often a mistake or an attack than intended; and while one is unpickled, its data exists
 * twice.
 */
#define DEFAULT_MAX_MESSAGE (1ull << 30)
/* Heads contain ids and error texts: enough for DEFAULT_MAX_IDS of the longest kind. */
#define DEFAULT_MAX_HEAD (1u << 20)
/* Most messages have two; pickles with out-of-band buffers have one more for each. A frame costs us 40 bytes. */
#define DEFAULT_MAX_FRAMES 1024u
/* References of one pickle. */
#define DEFAULT_MAX_IDS 65536u
/* Each may need a thread; far beyond what a machine runs well, but within what it can hold. */
#define DEFAULT_MAX_CALLS 1024u
/* Several large requests; bounds the memory that a peer may fill before its calls have begun. */
#define DEFAULT_WINDOW (256ull << 20)
/* Several large results, or very many small ones: more would only wait for the same peer. */
#define DEFAULT_MAX_QUEUED (16ull << 20)
/* At most twenty messages a second. Timeouts below 100 ms are not useful. */
#define DEFAULT_IDLE_FLOOR_MS 50u
/* The default timeout. */
#define DEFAULT_CLOSE_MS 60000u

/* The version of an acceptor until it has received the peer's superblock. */
#define NEWEST_MINOR 2
#define OLDEST_MINOR 1

char ax_session_forgotten;

void ax_limits_init(struct ax_limits *limits)
{
    *limits = (struct ax_limits){
        .max_message = DEFAULT_MAX_MESSAGE,
        .max_head = DEFAULT_MAX_HEAD,
        .max_frames = DEFAULT_MAX_FRAMES,
        .max_ids = DEFAULT_MAX_IDS,
        .max_calls = DEFAULT_MAX_CALLS,
        .window = DEFAULT_WINDOW,
        .max_queued = DEFAULT_MAX_QUEUED,
        .idle_floor_ms = DEFAULT_IDLE_FLOOR_MS,
        .close_ms = DEFAULT_CLOSE_MS,
    };
}

static uint64_t later(uint64_t now, uint64_t ms)
{
    return ms < AX_NEVER - now ? now + ms : AX_NEVER;
}

int ax_session_init(struct ax_session *session, const struct ax_session_config *config, uint64_t now)
{
    if (config->timeout_ms > AX_TIMEOUT_MAX_MS)
        return AX_ERANGE;
    if (config->role == AX_OPENER && (config->minor < OLDEST_MINOR || config->minor > NEWEST_MINOR))
        return AX_ERANGE;

    *session = (struct ax_session){
        .config = *config,
        .state = AX_STATE_SUPERBLOCK,
        .handshake_deadline = AX_NEVER,
        .received_at = now,
        .sent_at = now,
        .closing_deadline = AX_NEVER,
    };
    if (config->handshake_timeout_ms != 0)
        session->handshake_deadline = later(now, config->handshake_timeout_ms);
    if (config->role == AX_OPENER)
        return ax_session_send_superblock(session, now);
    session->config.minor = NEWEST_MINOR;
    return 0;
}

void ax_session_fini(struct ax_session *session)
{
    ax_lane_drop(session, &session->lane);
    ax_lane_drop(session, &session->bulk);
    ax_message_free_all(ax_session_take_discarded(session));
    ax_session_drop_releases(session);
    ax_session_drop_output(session);
    ax_buffer_fini(&session->preamble);
    ax_idmap_fini(&session->calls);
}

void ax_session_discard(struct ax_session *session, struct ax_message *message)
{
    if (message == NULL || !session->config.keeps_discarded || ax_message_memory(message) < AX_DISCARDED_MIN) {
        ax_message_free(message);
        return;
    }
    message->next = session->discarded;
    session->discarded = message;
}

struct ax_message *ax_session_take_discarded(struct ax_session *session)
{
    struct ax_message *discarded = session->discarded;

    session->discarded = NULL;
    return discarded;
}

/* ---- changes of state ---- */

/* Plain peers have no limits. Peers of ours that do not announce limits are older, and have these defaults. */
static void note_limits(struct ax_session *session, const struct ax_message *greeting)
{
    if ((session->features & AX_FEATURE_LIMITS) != 0) {
        session->peer_max_message = greeting->max_message;
        session->peer_max_head = greeting->max_head;
        session->peer_max_ids = greeting->max_ids;
    } else if (session->features != 0) {
        session->peer_max_head = DEFAULT_MAX_HEAD;
        session->peer_max_ids = DEFAULT_MAX_IDS;
    }
}

void ax_session_become_ready(struct ax_session *session, const struct ax_message *greeting)
{
    uint64_t timeout_ms = greeting->timeout_ms;

    session->peer_timeout_ms = timeout_ms < AX_TIMEOUT_MAX_MS ? (uint32_t)timeout_ms : AX_TIMEOUT_MAX_MS;
    if ((session->features & AX_FEATURE_FLOW) != 0) {
        session->peer_window = greeting->window;
        session->peer_max_calls = greeting->max_calls;
    }
    note_limits(session, greeting);
    session->handshake_deadline = AX_NEVER;
    session->state = AX_STATE_READY;
}

/* Starts the time limit for closing the stream. */
static void start_closing(struct ax_session *session, enum ax_session_state state, uint64_t now)
{
    const struct ax_session_config *config = &session->config;

    if (session->closing_deadline == AX_NEVER)
        session->closing_deadline = later(now, config->timeout_ms != 0 ? config->timeout_ms : config->limits.close_ms);
    ax_session_drop_releases(session);
    session->state = state;
}

void ax_session_close(struct ax_session *session, const char *reason, uint64_t now)
{
    if (session->state > AX_STATE_READY)
        return;
    /* Before our GREETING, a GOODBYE would violate the protocol: the end of the stream has to do. */
    if (session->state != AX_STATE_SUPERBLOCK && ax_session_queue_goodbye(session, reason, now) < 0) {
        ax_session_fail_memory(session);
        return;
    }
    start_closing(session, session->state == AX_STATE_READY ? AX_STATE_CLOSING : AX_STATE_CLOSED, now);
}

void ax_session_become_closed(struct ax_session *session, const struct ax_message *goodbye, uint64_t now)
{
    session->peer_said_goodbye = true;
    if (goodbye->text_size > 0)
        ax_text_copy(session->reason, sizeof session->reason, goodbye->text, goodbye->text_size);
    /* Without memory we close without an answer; a peer that has sent its GOODBYE accepts that. */
    if (session->state == AX_STATE_READY)
        (void)ax_session_queue_goodbye(session, NULL, now);
    start_closing(session, AX_STATE_CLOSED, now);
}

void ax_session_fail(struct ax_session *session, int error, const char *reason)
{
    if (session->state == AX_STATE_FAILED)
        return;
    if (session->reason[0] == '\0')
        ax_text_copy(session->reason, sizeof session->reason, reason, strlen(reason));
    session->error = error;

    bool may_send_goodbye = session->state == AX_STATE_GREETING || session->state == AX_STATE_READY;
    session->state = AX_STATE_FAILED;
    if (may_send_goodbye && (session->features & AX_FEATURE_REASON) != 0)
        (void)ax_session_queue_goodbye(session, session->reason, AX_TIME_UNKNOWN);
    ax_session_drop_releases(session);
    ax_lane_drop(session, &session->lane);
    ax_lane_drop(session, &session->bulk);
}

void ax_session_failf(struct ax_session *session, int error, const char *format, ...)
{
    char reason[AX_REASON_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    ax_session_fail(session, error, reason);
}

void ax_session_fail_memory(struct ax_session *session)
{
    ax_session_fail(session, AX_ENOMEM, ax_error_text(AX_ENOMEM));
}

void ax_session_report(const struct ax_session *session, enum ax_session_state before, struct ax_event *event)
{
    if (session->state == AX_STATE_FAILED && before != AX_STATE_FAILED)
        *event = (struct ax_event){.type = AX_EVENT_FAILED};
}

/* ---- what to wait for ---- */

bool ax_session_wants_read(const struct ax_session *session)
{
    return !ax_session_ended(session);
}

bool ax_session_wants_write(const struct ax_session *session)
{
    return session->state != AX_STATE_FAILED && ax_session_unsent(session) > 0;
}

/* ---- what is left ---- */

const char *ax_session_reason(const struct ax_session *session)
{
    return session->reason;
}

void *ax_session_next_waiter(struct ax_session *session)
{
    if (session->state < AX_STATE_CLOSING)
        return NULL;
    void *waiter;
    do {
        waiter = ax_idmap_take_any(&session->calls);
    } while (waiter == &ax_session_forgotten);
    return waiter;
}

void *ax_session_waiter(const struct ax_session *session, uint64_t id)
{
    void *waiter = ax_idmap_get(&session->calls, id);

    return waiter != &ax_session_forgotten ? waiter : NULL;
}

void ax_session_forget(struct ax_session *session, uint64_t id)
{
    ax_idmap_replace(&session->calls, id, &ax_session_forgotten);
}
