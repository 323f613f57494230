/* SPDX-License-Identifier: MIT */
/* Handles complete messages, by type and state: a table at the end selects the action. */
#include <inttypes.h>
#include <stdio.h>

#include "protocol/session_private.h"

/* Handles a message. To keep it, the action moves it to the event; otherwise the caller frees it. */
typedef void action(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event);

static void drop(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    (void)session, (void)message, (void)now, (void)event;
}

void ax_session_refuse(struct ax_session *session, const struct ax_message *message)
{
    ax_session_failf(session, AX_EPROTOCOL, "Invalid message in %s state: %" PRIu64,
                     session->state == AX_STATE_GREETING ? "greeting" : "ready", message->type);
}

static void refuse(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    (void)now, (void)event;
    ax_session_refuse(session, message);
}

static void on_greeting(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    (void)now;
    ax_session_become_ready(session, message);
    event->type = AX_EVENT_READY;
}

/* Releases the references of a pickle that will not be loaded, so that the peer's table does not keep them. */
static void release_refs(struct ax_session *session, struct ax_ids ids)
{
    uint64_t id;

    while (ax_ids_next(&ids, &id))
        (void)ax_session_release(session, id);
}

/* Whether the sender counts it against our window. */
static bool is_counted(const struct ax_message *message)
{
    return ax_message_payload_size(message) >= AX_COUNTED_MIN && message->within == 0;
}

/* Sends credit for a request that will not be read, so that its sender is not held back. */
static int credit_refused(struct ax_session *session, const struct ax_message *message, uint64_t now)
{
    if ((session->features & AX_FEATURE_FLOW) == 0 || !is_counted(message))
        return 0;
    return ax_session_queue_credit(session, ax_message_payload_size(message), now);
}

/* The references are released at once, so that a flood of such requests counts as queued bytes. */
static void refuse_request(struct ax_session *session, const struct ax_message *message, const char *text, uint64_t now)
{
    release_refs(session, message->ids);
    int error = ax_session_queue_refusal(session, message->call, text, now);
    if (error == 0)
        error = ax_session_flush_releases(session, now);
    if (error == 0)
        error = credit_refused(session, message, now);
    if (error == AX_ENOMEM)
        ax_session_fail_memory(session);
}

static void refuse_one_too_many(struct ax_session *session, const struct ax_message *message, uint64_t now)
{
    char text[80];

    snprintf(text, sizeof text, "Too many calls at a time: the limit is %" PRIu32, session->config.limits.max_calls);
    refuse_request(session, message, text, now);
}

/* Whether it fits among the large requests that are not read yet; if so, counts it. */
static bool count_request(struct ax_session *session, struct ax_message *message)
{
    const struct ax_limits *limits = &session->config.limits;
    uint64_t size = ax_message_payload_size(message);

    if (!is_counted(message))
        return true;
    if (session->unread > 0 && session->unread + size > limits->window + limits->max_message)
        return false;
    session->unread += size;
    message->counted = size;
    return true;
}

/* All requests pass here: those that are refused never become events. */
static void admit_request(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    if (session->config.refuse_requests) {
        refuse_request(session, message, "The peer refuses calls: it takes data, and runs nothing for others", now);
    } else if (session->calls_in_progress >= session->config.limits.max_calls) {
        refuse_one_too_many(session, message, now);
    } else if (!count_request(session, message)) {
        refuse_request(session, message, "Too much at a time: calls with as many bytes wait to be read already", now);
    } else {
        session->calls_in_progress++;
        *event = (struct ax_event){.type = AX_EVENT_CALL, .message = message};
    }
}

/* METHOD has no buffer if there are no arguments, COPY never. */
static bool needs_buffer(uint64_t type)
{
    return type != AX_COPY && type != AX_METHOD;
}

static void on_request(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    if ((session->features & AX_FEATURE_NESTED) == 0)
        message->within = 0;
    if (message->buffer_count == 0 && needs_buffer(message->type))
        ax_session_failf(session, AX_EPROTOCOL, "Call %" PRIu64 " has no buffer", message->call);
    else
        admit_request(session, message, now, event);
}

static bool is_result_kind(const struct ax_session *session, uint64_t kind)
{
    if (kind == AX_RESULT_SELF || kind == AX_RESULT_REFERENCE)
        return (session->features & AX_FEATURE_OPERATIONS) != 0;
    return kind == AX_RESULT_SUCCESS || kind == AX_RESULT_ERROR || kind == AX_RESULT_OPERATION_ERROR;
}

static bool lacks_buffer(const struct ax_message *message)
{
    return message->buffer_count == 0 && message->kind != AX_RESULT_OPERATION_ERROR && message->kind != AX_RESULT_SELF;
}

static void on_result(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    (void)now;
    if (ax_idmap_get(&session->calls, message->call) == NULL) {
        ax_session_failf(session, AX_EPROTOCOL, "Call not found: %" PRIu64, message->call);
        return;
    }
    if (!is_result_kind(session, message->kind)) {
        ax_session_failf(session, AX_EPROTOCOL, "Result of call %" PRIu64 " has an unknown kind: %" PRIu64,
                         message->call, message->kind);
        return;
    }
    if (message->kind == AX_RESULT_REFERENCE && message->ids.count == 0) {
        ax_session_failf(session, AX_EPROTOCOL, "Result of call %" PRIu64 " refers to no object", message->call);
        return;
    }
    if (lacks_buffer(message)) {
        ax_session_failf(session, AX_EPROTOCOL, "Result of call %" PRIu64 " has no buffer", message->call);
        return;
    }
    if (session->peer_max_calls > 0 && session->calls.count >= session->peer_max_calls)
        session->drained = true;
    /* Removed only now: a waiter stays registered until it has its result, or the session fails. */
    void *waiter = ax_idmap_take(&session->calls, message->call);
    if (waiter == &ax_session_forgotten)
        release_refs(session, message->ids);
    else
        *event = (struct ax_event){.type = AX_EVENT_RESULT, .message = message, .waiter = waiter};
}

static void on_goodbye(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    if ((session->features & AX_FEATURE_REASON) == 0)
        message->text_size = 0;
    ax_session_become_closed(session, message, now);
    *event = (struct ax_event){.type = AX_EVENT_CLOSED, .message = message};
}

static void on_del_objs(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    (void)session, (void)now;
    *event = (struct ax_event){.type = AX_EVENT_RELEASE, .message = message};
}

static void on_credit(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    (void)now, (void)event;
    session->uncredited -= message->size < session->uncredited ? message->size : session->uncredited;
    session->drained = true;
}

/*
 * The state machine of messages. SUPERBLOCK receives none, and after CLOSED and FAILED input is ignored. In CLOSING,
 * messages that the peer sent before it received our GOODBYE still arrive.
 */
/* clang-format off */
static action *const actions[AX_MESSAGE_TYPES + 1][3] = {
    /*                       GREETING     READY        CLOSING     */
    [AX_GREETING]         = {on_greeting, refuse,      drop},
    [AX_APPLY]            = {refuse,      on_request,  drop},
    [AX_RESULT]           = {refuse,      on_result,   drop},
    [AX_GOODBYE]          = {refuse,      on_goodbye,  on_goodbye},
    [AX_DEL_OBJS]         = {refuse,      on_del_objs, drop},
    [AX_IDLE]             = {refuse,      drop,        drop},
    [AX_CREATE]           = {refuse,      on_request,  drop},
    [AX_REPLICATE]        = {refuse,      on_request,  drop},
    [AX_COPY]             = {refuse,      on_request,  drop},
    [AX_METHOD]           = {refuse,      on_request,  drop},
    [AX_CHUNK]            = {refuse,      drop,        drop}, /* its bytes have been passed to the lane already */
    [AX_CREDIT]           = {refuse,      on_credit,   drop},
    [AX_MESSAGE_TYPES]    = {refuse,      refuse,      drop}, /* any other type */
};
/* clang-format on */

/* Whether both sides support messages of this type. */
static bool is_supported(const struct ax_session *session, uint64_t type)
{
    if (type <= AX_IDLE)
        return true;
    if (type <= AX_METHOD)
        return (session->features & AX_FEATURE_OPERATIONS) != 0;
    return type < AX_MESSAGE_TYPES && (session->features & AX_FEATURE_FLOW) != 0;
}

static action *find_action(const struct ax_session *session, uint64_t type)
{
    return actions[is_supported(session, type) ? type : AX_MESSAGE_TYPES][session->state - AX_STATE_GREETING];
}

void ax_session_check_head(struct ax_session *session, struct ax_message *message)
{
    action *act = find_action(session, message->type);
    uint64_t count = message->ids.count;
    size_t left = (size_t)(message->ids.reader.end - message->ids.reader.pos);

    if (act == refuse)
        refuse(session, message, 0, NULL);
    else if (act == drop)
        return;
    else if (count > session->config.limits.max_ids)
        ax_session_failf(session, AX_EPROTOCOL, "List of %" PRIu64 " ids is longer than the limit of %" PRIu32, count,
                         session->config.limits.max_ids);
    else if (count > left)
        ax_session_failf(session, AX_EPROTOCOL, "List of %" PRIu64 " ids does not fit into the %zu bytes of its head",
                         count, left);
}

void ax_session_dispatch(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event)
{
    find_action(session, message->type)(session, message, now, event);
    if (event->message != message)
        ax_session_discard(session, message);
}
