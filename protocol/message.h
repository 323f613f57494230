/* SPDX-License-Identifier: MIT */
/*
 * Messages: what frames amount to. A head with fields, and buffers (pickles) behind it.
 *
 * Incoming messages live on the heap and have one owner; they are assembled by the session and handed to whoever acts
 * on them, head and buffers together. Lists of object ids are not expanded: they are read from the head with an
 * iterator, so a count in a head allocates nothing.
 */
#ifndef AX_PROTOCOL_MESSAGE_H
#define AX_PROTOCOL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/buffer.h"
#include "protocol/head.h"

enum ax_message_type {
    AX_GREETING = 0,
    AX_APPLY = 1,
    AX_RESULT = 2,
    AX_GOODBYE = 3,
    AX_DEL_OBJS = 4,
    AX_IDLE = 5,
    AX_MESSAGE_TYPES /* how many there are */
};

enum ax_result_kind {
    AX_RESULT_SUCCESS = 2,
    AX_RESULT_ERROR = 3,
    AX_RESULT_OPERATION_ERROR = 4,
};

/* A list of object ids inside a head. Copy it to iterate it again. Borrowed: valid as long as its message. */
struct ax_ids {
    struct ax_head_reader reader;
    uint64_t count; /* ids not read yet */
};

/*
 * Stores the next id and returns true, or returns false at the end: of the list, or of a head that is too short for it.
 */
bool ax_ids_next(struct ax_ids *ids, uint64_t *id);

/*
 * An incoming message. Which fields are set depends on the type:
 *   GREETING  timeout_ms
 *   APPLY     call, ids (refs), buffers[0]
 *   RESULT    call, kind; ids (refs) and buffers[0] for SUCCESS and ERROR; text for OPERATION_ERROR
 *   GOODBYE   text: the reason, empty from a plain peer
 *   DEL_OBJS  ids
 */
struct ax_message {
    uint64_t type; /* as sent: may be no ax_message_type */
    uint64_t call;
    uint64_t kind;
    uint64_t timeout_ms;
    struct ax_ids ids;
    const unsigned char *text; /* UTF-8, unchecked; borrowed from head */
    size_t text_size;

    struct ax_buffer head;
    struct ax_buffer *buffers; /* owned array of buffer_count */
    uint32_t buffer_count;

    struct ax_message *next; /* for the queue of whoever owns the message */
};

/* An empty message, or NULL when memory is short. Freed with ax_message_free(). */
struct ax_message *ax_message_new(void);
void ax_message_free(struct ax_message *message); /* NULL is fine */

/*
 * Adds an empty buffer behind the others and returns it; NULL when memory is short. Invalidates earlier buffer
 * pointers.
 */
struct ax_buffer *ax_message_add_buffer(struct ax_message *message);

/* Bytes that the message keeps alive, for limits on what waits in a queue. */
size_t ax_message_memory(const struct ax_message *message);

/* Sets the fields from message->head, which is complete. Never fails; limits are the session's business. */
void ax_message_decode(struct ax_message *message);

/*
 * Heads of outgoing messages, written at `out`, which has room for what the _size function says; they return the end.
 * `ids` are `count` object ids, borrowed.
 */
size_t ax_ids_size(const uint64_t *ids, size_t count); /* of the count and the ids behind it */
unsigned char *ax_put_ids(unsigned char *out, const uint64_t *ids, size_t count);

#define AX_GOODBYE_REASON_MAX 255u /* bytes of a reason; longer ones are cut */
#define AX_GOODBYE_SIZE_MAX (1u + 3u + AX_GOODBYE_REASON_MAX)

/*
 * The head of a GOODBYE, at most AX_GOODBYE_SIZE_MAX bytes; returns its end. `reason` is UTF-8; NULL or "" for a peer
 * that understands none.
 */
unsigned char *ax_put_goodbye(unsigned char *out, const char *reason);

#endif
