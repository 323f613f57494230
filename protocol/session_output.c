/* SPDX-License-Identifier: MIT */
/* Output: encodes requests and results as messages; small ones contiguously. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/session_private.h"
#include "protocol/text.h"

/* Limit for the text of an operation error: some screens full. */
#define ERROR_TEXT_MAX 4096

/* Ids in one DEL_OBJS: at most 9 KiB, which any peer accepts. */
#define RELEASES_PER_MESSAGE 1024

/*
 * Capacity of the array of ids up to which it is kept; a larger one is freed, since a session may then be idle for
 * days.
 */
#define RELEASES_KEPT 64

/* The bootstrap source is borrowed, and outlives the session. */
static void release_nothing(void *owner)
{
    (void)owner;
}

/* ---- putting messages together ---- */

/* If the output was empty, the send timeout starts now. */
static void note_queued(struct ax_session *session, size_t size_before, uint64_t now)
{
    if (size_before == 0)
        session->sent_at = now;
}

/* Appends `size` bytes to an output of the session; NULL when memory is short. */
static unsigned char *queue_in(struct ax_session *session, struct ax_output *output, size_t size, uint64_t now)
{
    size_t before = ax_session_unsent(session);
    unsigned char *out = ax_output_append(output, size);

    if (out != NULL)
        note_queued(session, before, now);
    return out;
}

static unsigned char *queue(struct ax_session *session, size_t size, uint64_t now)
{
    return queue_in(session, &session->output, size, now);
}

/* Unsent bytes of the second lane. A session that has failed does not send them: a message would be cut there. */
static size_t bulk_size(const struct ax_session *session)
{
    return session->state != AX_STATE_FAILED ? session->bulk_output.size : 0;
}

/* Whether a message of this size uses the second lane. */
static bool is_bulk(const struct ax_session *session, uint64_t size)
{
    return (session->features & AX_FEATURE_FLOW) != 0 && size > AX_BULK_MIN;
}

/* The output for messages that must not overtake queued ones. */
static struct ax_output *last_output(struct ax_session *session)
{
    return bulk_size(session) > 0 ? &session->bulk_output : &session->output;
}

/* Appends a message of one frame with `size` bytes, its header already written; NULL when memory is short. */
static unsigned char *queue_head_in(struct ax_session *session, struct ax_output *output, size_t size, uint64_t now)
{
    unsigned char *out = queue_in(session, output, AX_FRAME_HEADER_SIZE + size, now);

    if (out == NULL)
        return NULL;
    ax_frame_put_header(out, size, false);
    return out + AX_FRAME_HEADER_SIZE;
}

static unsigned char *queue_head(struct ax_session *session, size_t size, uint64_t now)
{
    return queue_head_in(session, &session->output, size, now);
}

static unsigned char *put_bytes(unsigned char *out, const char *bytes, size_t size)
{
    out = ax_head_put_uint(out, size);
    memcpy(out, bytes, size);
    return out + size;
}

/* A request or a result that is to be queued. */
struct outgoing {
    const struct ax_operation *operation; /* NULL: a result */
    uint64_t call;
    enum ax_result_kind kind;
    struct ax_payload *payload;
};

static size_t head_size(const struct outgoing *message)
{
    if (message->operation != NULL)
        return ax_request_size(message->operation, message->call, message->payload);
    return ax_result_size(message->call, message->kind, message->payload);
}

/* Writes the frame of the head, of `size` bytes; returns its end. */
static unsigned char *put_head(unsigned char *out, const struct outgoing *message, size_t size)
{
    ax_frame_put_header(out, size, message->payload->buffer_count > 0);
    out += AX_FRAME_HEADER_SIZE;
    if (message->operation != NULL)
        return ax_put_request(out, message->operation, message->call, message->payload);
    return ax_put_result(out, message->call, message->kind, message->payload);
}

static bool is_copied(const struct ax_buffer *buffer)
{
    return buffer->size <= AX_OUTPUT_COPY_MAX;
}

static bool begins_frame(const struct ax_payload *payload, size_t i)
{
    return i == 0 || !payload->buffers[i - 1].continued;
}

/* Bytes to copy for buffer `i`: a frame header, and its contents if small. */
static size_t copied_size(const struct ax_payload *payload, size_t i)
{
    const struct ax_buffer *buffer = &payload->buffers[i];

    return (begins_frame(payload, i) ? AX_FRAME_HEADER_SIZE : 0) + (is_copied(buffer) ? buffer->size : 0);
}

/* Writes the header of the frame that begins with buffer `i`. */
static void put_frame_header(unsigned char *out, const struct ax_payload *payload, size_t i)
{
    uint64_t length = payload->buffers[i].size;

    for (; payload->buffers[i].continued; i++)
        length += payload->buffers[i + 1].size;
    ax_frame_put_header(out, length, i + 1 < payload->buffer_count);
}

/* Writes the header of the frame that buffer `i` begins, if it does, and the contents if small; returns the end. */
static unsigned char *put_copied(unsigned char *out, const struct ax_payload *payload, size_t i)
{
    const struct ax_buffer *buffer = &payload->buffers[i];

    if (begins_frame(payload, i)) {
        put_frame_header(out, payload, i);
        out += AX_FRAME_HEADER_SIZE;
    }
    if (!is_copied(buffer) || buffer->size == 0)
        return out;
    memcpy(out, buffer->data, buffer->size);
    return out + buffer->size;
}

/* Queues a message with only small buffers as one copy. */
static int queue_small(struct ax_session *session, const struct outgoing *message)
{
    const struct ax_payload *payload = message->payload;
    size_t head = head_size(message);
    size_t size = AX_FRAME_HEADER_SIZE + head;

    for (size_t i = 0; i < payload->buffer_count; i++)
        size += copied_size(payload, i);
    unsigned char *out = ax_output_append(&session->output, size);
    if (out == NULL)
        return AX_ENOMEM;
    out = put_head(out, message, head);
    for (size_t i = 0; i < payload->buffer_count; i++)
        out = put_copied(out, payload, i);
    for (size_t i = 0; i < payload->buffer_count; i++)
        ax_buffer_fini(&payload->buffers[i]);
    return 0;
}

/*
 * Adds the frames of a message to a draft, which borrows the memory of large buffers. AX_ENOMEM: the draft must be
 * abandoned.
 */
static int draft_message(struct ax_output *draft, const struct outgoing *message)
{
    const struct ax_payload *payload = message->payload;
    size_t head = head_size(message);
    unsigned char *out = ax_output_append(draft, AX_FRAME_HEADER_SIZE + head);

    if (out == NULL)
        return AX_ENOMEM;
    put_head(out, message, head);
    for (size_t i = 0; i < payload->buffer_count; i++) {
        struct ax_buffer borrowed = payload->buffers[i];
        size_t copied = copied_size(payload, i);
        out = copied > 0 ? ax_output_append(draft, copied) : NULL;
        if (out == NULL && copied > 0)
            return AX_ENOMEM;
        if (out != NULL)
            put_copied(out, payload, i);
        if (!is_copied(&borrowed) && ax_output_append_buffer(draft, &borrowed) < 0)
            return AX_ENOMEM;
    }
    return 0;
}

/* Queues a message without copying large buffers. Nothing is queued unless all of it can be. */
static int queue_large(struct ax_session *session, const struct outgoing *message)
{
    struct ax_output draft;

    ax_output_init(&draft);
    if (draft_message(&draft, message) < 0) {
        ax_output_abandon(&draft);
        return AX_ENOMEM;
    }
    for (size_t i = 0; i < message->payload->buffer_count; i++) {
        struct ax_buffer taken = ax_buffer_take(&message->payload->buffers[i]);
        if (is_copied(&taken))
            ax_buffer_fini(&taken);
    }
    ax_output_join(is_bulk(session, draft.size) ? &session->bulk_output : &session->output, &draft);
    return 0;
}

static int queue_message(struct ax_session *session, const struct outgoing *message, uint64_t now)
{
    size_t before = ax_session_unsent(session);
    bool small = true;

    for (size_t i = 0; i < message->payload->buffer_count; i++)
        small = small && is_copied(&message->payload->buffers[i]);
    int error = small ? queue_small(session, message) : queue_large(session, message);
    if (error == 0)
        note_queued(session, before, now);
    return error;
}

/* ---- messages of the session itself ---- */

int ax_session_queue_superblock(struct ax_session *session, const struct ax_superblock *superblock, uint64_t now)
{
    unsigned char *out = queue(session, AX_SUPERBLOCK_SIZE, now);

    if (out == NULL)
        return AX_ENOMEM;
    ax_superblock_encode(out, superblock);
    return 0;
}

int ax_session_queue_bootstrap(struct ax_session *session, const char *source, uint64_t now)
{
    struct ax_buffer buffer = {
        .data = (unsigned char *)source, /* never written */
        .size = strlen(source),
        .release = release_nothing,
    };
    unsigned char *out = queue(session, 4, now);

    if (out == NULL)
        return AX_ENOMEM;
    ax_put_u32(out, (uint32_t)buffer.size);
    if (ax_output_append_buffer(&session->output, &buffer) < 0) {
        ax_output_retract(&session->output, 4);
        return AX_ENOMEM;
    }
    return 0;
}

int ax_session_queue_greeting(struct ax_session *session, uint64_t now)
{
    const struct ax_limits *limits = &session->config.limits;
    bool flow = (session->features & AX_FEATURE_FLOW) != 0;
    bool tells_limits = (session->features & AX_FEATURE_LIMITS) != 0;
    const uint64_t fields[] = {
        AX_GREETING,         session->config.timeout_ms, flow ? limits->window : 0, flow ? limits->max_calls : 0,
        limits->max_message, limits->max_head,           limits->max_ids,
    };
    size_t count = tells_limits ? 7 : flow ? 4 : 2;
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += ax_uint_size(fields[i]);
    unsigned char *out = queue_head(session, size, now);
    if (out == NULL)
        return AX_ENOMEM;
    for (size_t i = 0; i < count; i++)
        out = ax_head_put_uint(out, fields[i]);
    return 0;
}

int ax_session_queue_idle(struct ax_session *session, uint64_t now)
{
    unsigned char *out = queue_head(session, 1, now);

    if (out == NULL)
        return AX_ENOMEM;
    ax_head_put_uint(out, AX_IDLE);
    return 0;
}

int ax_session_queue_goodbye(struct ax_session *session, const char *reason, uint64_t now)
{
    unsigned char goodbye[AX_GOODBYE_SIZE_MAX];
    bool understood = (session->features & AX_FEATURE_REASON) != 0;
    size_t size = (size_t)(ax_put_goodbye(goodbye, understood ? reason : NULL) - goodbye);
    unsigned char *out = queue_head_in(session, last_output(session), size, now);

    if (out == NULL)
        return AX_ENOMEM;
    memcpy(out, goodbye, size);
    return 0;
}

int ax_session_queue_credit(struct ax_session *session, uint64_t size, uint64_t now)
{
    unsigned char *out = queue_head(session, 1 + ax_uint_size(size), now);

    if (out == NULL)
        return AX_ENOMEM;
    ax_head_put_uint(ax_head_put_uint(out, AX_CREDIT), size);
    return 0;
}

int ax_session_queue_refusal(struct ax_session *session, uint64_t call, const char *text, uint64_t now)
{
    uint64_t limit = session->config.limits.max_queued;
    size_t unsent = ax_session_unsent(session);

    /* Subtracted rather than doubled, which might overflow. */
    if (unsent > limit && unsent - limit > limit) {
        ax_session_failf(session, AX_EFULL, "The peer lets its results pile up: %zu bytes wait", unsent);
        return AX_ESTATE;
    }
    size_t length = ax_text_cut(text, strlen(text), ERROR_TEXT_MAX);
    unsigned char *out = queue_head(session, 2 + ax_uint_size(call) + ax_uint_size(length) + length, now);
    if (out == NULL)
        return AX_ENOMEM;
    out = ax_head_put_uint(out, AX_RESULT);
    out = ax_head_put_uint(out, call);
    out = ax_head_put_uint(out, AX_RESULT_OPERATION_ERROR);
    put_bytes(out, text, length);
    return 0;
}

/* ---- what the peer takes ---- */

/*
 * An upper bound of the size of the head: most heads are far below the limit, so that it need not be computed exactly.
 */
static size_t head_bound(const struct outgoing *message)
{
    size_t numbers = 8 + message->payload->ref_count + message->payload->kind_count;

    return numbers * 9 + (message->operation != NULL ? message->operation->name_size : 0);
}

static bool is_above(uint64_t value, uint64_t limit)
{
    return limit > 0 && value > limit;
}

/* Whether the peer would fail the connection for this message; `size` is that of its payload. */
static bool is_too_large(const struct ax_session *session, const struct outgoing *message, uint64_t size)
{
    size_t head = head_bound(message);

    if (is_above(head, session->peer_max_head) || is_above(size + head, session->peer_max_message))
        head = head_size(message);
    return is_above(message->payload->ref_count, session->peer_max_ids) || is_above(head, session->peer_max_head) ||
           is_above(size + head, session->peer_max_message);
}

static uint64_t payload_size(const struct ax_payload *payload)
{
    uint64_t size = 0;

    for (size_t i = 0; i < payload->buffer_count; i++)
        size += payload->buffers[i].size;
    return size;
}

/* Bytes by which the longest id is longer than the shortest. */
#define ID_ROOM 8

/* A size that is known to exceed the limit, although its estimate may be slightly below. */
static uint64_t at_least_above(uint64_t size, uint64_t limit)
{
    return size > limit ? size : limit + 1;
}

void ax_session_explain_too_large(const struct ax_session *session, const struct ax_operation *operation,
                                  const struct ax_payload *payload, char text[AX_TOO_LARGE_SIZE])
{
    /* With the shortest id: the actual one is not known here, and takes up to 8 bytes more. */
    struct outgoing message = {.operation = operation, .payload = (struct ax_payload *)payload};
    const char *what = operation != NULL ? "call" : "result";
    uint64_t head = head_size(&message);
    uint64_t size = payload_size(payload) + head;

    if (is_above(payload->ref_count, session->peer_max_ids))
        snprintf(text, AX_TOO_LARGE_SIZE,
                 "The %s refers to %zu objects, and the other side takes %" PRIu64
                 " references in one message: send them in parts, or one Local with all of them in it",
                 what, payload->ref_count, session->peer_max_ids);
    else if (is_above(head, session->peer_max_head) || !is_above(size + ID_ROOM, session->peer_max_message))
        snprintf(text, AX_TOO_LARGE_SIZE,
                 "The references and names of the %s take %" PRIu64 " bytes, and the other side takes %" PRIu64
                 " of them in one message: send fewer objects at a time, or use shorter names",
                 what, at_least_above(head, session->peer_max_head), session->peer_max_head);
    else
        snprintf(text, AX_TOO_LARGE_SIZE,
                 "The %s has %" PRIu64 " bytes, and the other side takes %" PRIu64
                 " in one message: send it in parts, or raise that limit (acrossd --max-message)",
                 what, at_least_above(size, session->peer_max_message), session->peer_max_message);
}

/* ---- requests ---- */

/* Small messages do not wait for room in the second lane. */
static bool is_full(const struct ax_session *session, uint64_t size)
{
    size_t unsent = is_bulk(session, size) ? ax_session_unsent(session) : session->output.size;

    return unsent > 0 && unsent >= session->config.limits.max_queued;
}

/*
 * Whether the limits of the peer hold a request of this size back. Requests within a call never are: the peer waits for
 * them.
 */
static bool is_held_back(const struct ax_session *session, const struct ax_operation *operation, uint64_t size)
{
    if (operation->within != 0)
        return false;
    if (session->peer_max_calls > 0 && session->calls.count >= session->peer_max_calls)
        return true;
    return session->peer_window > 0 && size >= AX_COUNTED_MIN && session->uncredited > 0 &&
           session->uncredited + size > session->peer_window;
}

int ax_session_consumed(struct ax_session *session, uint64_t counted, uint64_t now)
{
    session->unread -= counted;
    if (counted == 0 || session->state != AX_STATE_READY || (session->features & AX_FEATURE_FLOW) == 0)
        return 0;
    int error = ax_session_queue_credit(session, counted, now);
    if (error != 0)
        ax_session_fail_memory(session);
    return error;
}

static bool peer_knows(const struct ax_session *session, uint32_t feature)
{
    return (session->features & feature) != 0;
}

int ax_session_call(struct ax_session *session, const struct ax_operation *operation, struct ax_payload *payload,
                    void *waiter, uint64_t now, uint64_t *id)
{
    if (session->state != AX_STATE_READY)
        return AX_ESTATE;
    if (operation->type != AX_APPLY && !peer_knows(session, AX_FEATURE_OPERATIONS))
        return AX_ESTATE;
    struct ax_operation request = *operation;
    if (!peer_knows(session, AX_FEATURE_NESTED))
        request.within = 0;
    uint64_t size = payload_size(payload);
    struct outgoing message = {.operation = &request, .call = session->next_call, .payload = payload};
    if (is_too_large(session, &message, size))
        return AX_ETOOLARGE;
    if (is_full(session, size) || is_held_back(session, &request, size))
        return AX_EFULL;

    if (ax_idmap_put(&session->calls, message.call, waiter) < 0)
        return AX_ENOMEM;
    int error = queue_message(session, &message, now);
    if (error != 0) {
        ax_idmap_take(&session->calls, message.call);
        return error;
    }
    if (peer_knows(session, AX_FEATURE_FLOW) && size >= AX_COUNTED_MIN && request.within == 0)
        session->uncredited += size;
    *id = session->next_call++;
    return 0;
}

static bool may_answer(const struct ax_session *session, enum ax_result_kind kind)
{
    switch (kind) {
    case AX_RESULT_SUCCESS:
    case AX_RESULT_ERROR:
        return true;
    case AX_RESULT_SELF:
    case AX_RESULT_REFERENCE:
        return peer_knows(session, AX_FEATURE_OPERATIONS);
    case AX_RESULT_OPERATION_ERROR:
        break;
    }
    return false;
}

int ax_session_result(struct ax_session *session, uint64_t call, enum ax_result_kind kind, struct ax_payload *payload,
                      uint64_t now)
{
    if (!may_answer(session, kind))
        return AX_ERANGE;
    if (session->state != AX_STATE_READY || session->calls_in_progress == 0)
        return AX_ESTATE;
    uint64_t size = payload_size(payload);
    struct outgoing message = {.call = call, .kind = kind, .payload = payload};
    if (is_too_large(session, &message, size))
        return AX_ETOOLARGE;
    if (is_full(session, size))
        return AX_EFULL;

    int error = queue_message(session, &message, now);
    if (error == 0)
        session->calls_in_progress--;
    return error;
}

int ax_session_result_failed(struct ax_session *session, uint64_t call, const char *text, uint64_t now)
{
    if (session->state != AX_STATE_READY || session->calls_in_progress == 0)
        return AX_ESTATE;
    int error = ax_session_queue_refusal(session, call, text, now);
    if (error == 0)
        session->calls_in_progress--;
    return error;
}

/* ---- released objects ---- */

int ax_session_release(struct ax_session *session, uint64_t id)
{
    if (session->state != AX_STATE_READY)
        return 0;
    if (session->release_count == session->release_capacity) {
        size_t capacity = session->release_capacity != 0 ? session->release_capacity * 2 : 8;
        uint64_t *releases = realloc(session->releases, capacity * sizeof *releases);
        if (releases == NULL)
            return AX_ENOMEM;
        session->releases = releases;
        session->release_capacity = capacity;
    }
    session->releases[session->release_count++] = id;
    return 0;
}

void ax_session_drop_releases(struct ax_session *session)
{
    free(session->releases);
    session->releases = NULL;
    session->release_count = 0;
    session->release_capacity = 0;
}

static int queue_del_objs(struct ax_session *session, const uint64_t *ids, size_t count, uint64_t now)
{
    unsigned char *out = queue_head_in(session, last_output(session), 1 + ax_ids_size(ids, count), now);

    if (out == NULL)
        return AX_ENOMEM;
    ax_put_ids(ax_head_put_uint(out, AX_DEL_OBJS), ids, count);
    return 0;
}

int ax_session_flush_releases(struct ax_session *session, uint64_t now)
{
    size_t done = 0;
    int error = 0;

    while (done < session->release_count) {
        size_t count = session->release_count - done;
        if (count > RELEASES_PER_MESSAGE)
            count = RELEASES_PER_MESSAGE;
        error = queue_del_objs(session, session->releases + done, count, now);
        if (error != 0)
            break;
        done += count;
    }
    session->release_count -= done;
    if (session->release_count > 0)
        memmove(session->releases, session->releases + done, session->release_count * sizeof *session->releases);
    else if (session->release_capacity > RELEASES_KEPT)
        ax_session_drop_releases(session);
    return error;
}

/* ---- sending ---- */

/*
 * When the output is smaller than this, the next chunk is added: the stream does not run dry, and small messages wait
 * for little.
 */
#define CHUNK_LOW (64u * 1024u)

/* Moves a chunk of the second lane into the output. */
static int queue_chunk(struct ax_session *session)
{
    size_t size = session->bulk_output.size < AX_CHUNK_SIZE ? session->bulk_output.size : AX_CHUNK_SIZE;
    size_t room = 2 * AX_FRAME_HEADER_SIZE + 1;
    unsigned char *out = ax_output_append(&session->output, room);

    if (out == NULL)
        return AX_ENOMEM;
    ax_frame_put_header(out, 1, true);
    out = ax_head_put_uint(out + AX_FRAME_HEADER_SIZE, AX_CHUNK);
    ax_frame_put_header(out, size, false);
    if (ax_output_move(&session->output, &session->bulk_output, size) < 0) {
        ax_output_retract(&session->output, room);
        return AX_ENOMEM;
    }
    return 0;
}

size_t ax_session_unsent(const struct ax_session *session)
{
    return session->output.size + bulk_size(session);
}

/* The output goes first: its chunks are parts of blocks that the second lane owns. */
void ax_session_drop_output(struct ax_session *session)
{
    ax_output_fini(&session->output);
    ax_output_fini(&session->bulk_output);
}

size_t ax_session_pending(struct ax_session *session, struct ax_slice *slices, size_t max)
{
    /* Without memory the ids, and the chunks, wait for the next call. */
    if (session->release_count > 0)
        (void)ax_session_flush_releases(session, AX_TIME_UNKNOWN);
    while (bulk_size(session) > 0 && session->output.size < CHUNK_LOW) {
        if (queue_chunk(session) < 0)
            break;
    }
    return ax_output_slices(&session->output, slices, max);
}

static bool has_now_room(const struct ax_session *session, size_t before, size_t after)
{
    uint64_t limit = session->config.limits.max_queued;

    return before >= limit && after < limit;
}

void ax_session_sent(struct ax_session *session, size_t size, uint64_t now)
{
    if (size == 0)
        return;
    size_t first = session->output.size;
    size_t both = ax_session_unsent(session);
    ax_output_consume(&session->output, size);
    session->sent_at = now;
    if (has_now_room(session, first, first - size) || has_now_room(session, both, both - size))
        session->drained = true;
}
