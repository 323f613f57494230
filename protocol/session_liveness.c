/* SPDX-License-Identifier: MIT */
/* Timeouts: deadlines are computed from the last activity, and never stored. */
#include <inttypes.h>

#include "protocol/session_private.h"

static uint64_t later(uint64_t time, uint64_t ms)
{
    return ms < AX_NEVER - time ? time + ms : AX_NEVER;
}

static bool is_sending(const struct ax_session *session)
{
    return ax_session_unsent(session) > 0;
}

static bool is_open(const struct ax_session *session)
{
    return session->state <= AX_STATE_READY;
}

static uint64_t receive_deadline(const struct ax_session *session)
{
    uint32_t timeout = session->config.timeout_ms;

    return timeout != 0 && is_open(session) ? later(session->received_at, timeout) : AX_NEVER;
}

/* Due at once if it is unknown since when output waits: ax_session_expire() then starts to count. */
static uint64_t send_deadline(const struct ax_session *session)
{
    uint32_t timeout = session->config.timeout_ms;

    if (timeout == 0 || !is_open(session) || !is_sending(session))
        return AX_NEVER;
    return session->sent_at == AX_TIME_UNKNOWN ? 0 : later(session->sent_at, timeout);
}

static uint64_t idle_deadline(const struct ax_session *session)
{
    if (session->state != AX_STATE_READY || session->peer_timeout_ms == 0 || is_sending(session))
        return AX_NEVER;
    uint32_t interval = session->peer_timeout_ms / 2;
    if (interval < session->config.limits.idle_floor_ms)
        interval = session->config.limits.idle_floor_ms;
    return later(session->sent_at, interval != 0 ? interval : 1);
}

/* The deadline of CLOSING, and of CLOSED as long as output is left. */
static uint64_t closing_deadline(const struct ax_session *session)
{
    bool counts = session->state == AX_STATE_CLOSING || (session->state == AX_STATE_CLOSED && is_sending(session));

    return counts ? session->closing_deadline : AX_NEVER;
}

static uint64_t handshake_deadline(const struct ax_session *session)
{
    return is_open(session) ? session->handshake_deadline : AX_NEVER;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t ax_session_deadline(const struct ax_session *session)
{
    uint64_t deadline = earlier(handshake_deadline(session), closing_deadline(session));

    deadline = earlier(deadline, earlier(receive_deadline(session), send_deadline(session)));
    return earlier(deadline, idle_deadline(session));
}

static void fail_closing(struct ax_session *session)
{
    const struct ax_session_config *config = &session->config;

    ax_session_failf(session, AX_ETIMEDOUT, "The peer did not close within %" PRIu32 " ms",
                     config->timeout_ms != 0 ? config->timeout_ms : config->limits.close_ms);
}

void ax_session_expire(struct ax_session *session, uint64_t now, struct ax_event *event)
{
    enum ax_session_state before = session->state;
    const struct ax_session_config *config = &session->config;

    *event = (struct ax_event){0};
    if (is_sending(session) && session->sent_at == AX_TIME_UNKNOWN)
        session->sent_at = now;

    if (now >= handshake_deadline(session))
        ax_session_failf(session, AX_ETIMEDOUT, "The handshake was not finished within %" PRIu32 " ms",
                         config->handshake_timeout_ms);
    else if (now >= closing_deadline(session))
        fail_closing(session);
    else if (now >= receive_deadline(session))
        ax_session_failf(session, AX_ETIMEDOUT, "Nothing was received for %" PRIu32 " ms", config->timeout_ms);
    else if (now >= send_deadline(session))
        ax_session_failf(session, AX_ETIMEDOUT, "Nothing could be sent for %" PRIu32 " ms", config->timeout_ms);
    else if (now >= idle_deadline(session) && ax_session_queue_idle(session, now) < 0)
        ax_session_fail_memory(session);
    ax_session_report(session, before, event);
}
