/* SPDX-License-Identifier: MIT */
/*
 * Messages: a head with fields, and buffers (pickles) behind it, in one or more frames.
 *
 * Incoming messages live on the heap and have one owner; the session assembles them, and passes head and buffers
 * together to the consumer. Lists of object ids are not expanded: an iterator reads them from the head, so a count in a
 * head allocates nothing.
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
    /* Only between peers that announce AX_FEATURE_OPERATIONS; each is a request, answered with a RESULT. */
    AX_CREATE = 6,    /* calls a function, and stores its result in the table */
    AX_REPLICATE = 7, /* stores a copy of a value in the table */
    AX_COPY = 8,      /* returns a copy of an object of the table */
    AX_METHOD = 9,    /* calls a method of an object of the table */
    /* Only between peers that announce AX_FEATURE_FLOW. */
    AX_CHUNK = 10,   /* a part of the second lane: see session.h */
    AX_CREDIT = 11,  /* large requests have been read, so that more may be sent */
    AX_MESSAGE_TYPES /* number of types */
};

/* The kind of an out-of-band buffer: what the receiver makes of its bytes. Only with AX_FEATURE_BUFFERS. */
enum ax_buffer_kind {
    AX_BUFFER_MEMORY = 0,    /* writable memory for objects that the pickle builds on it; also the meaning of unknown
                                numbers */
    AX_BUFFER_BYTES = 1,     /* a bytes object */
    AX_BUFFER_BYTEARRAY = 2, /* a bytearray */
};

/* Whether a message of this type is a request, which a RESULT answers. */
bool ax_is_request(uint64_t type);

enum ax_result_kind {
    AX_RESULT_SUCCESS = 2,
    AX_RESULT_ERROR = 3,
    AX_RESULT_OPERATION_ERROR = 4,
    /* Only between peers that announce AX_FEATURE_OPERATIONS. */
    AX_RESULT_SELF = 5,      /* of METHOD: the result is the object itself; no buffer */
    AX_RESULT_REFERENCE = 6, /* the id of an object in the sender's table; a buffer with the names of its methods */
};

/* A list of object ids inside a head. Copy it to iterate again. Borrowed: valid as long as its message. */
struct ax_ids {
    struct ax_head_reader reader;
    uint64_t count; /* ids not read yet */
};

/* Stores the next id and returns true; false at the end of the list, or of a head that is too short for it. */
bool ax_ids_next(struct ax_ids *ids, uint64_t *id);

/*
 * An incoming message. Which fields are set depends on the type:
 *   GREETING  timeout_ms, window, max_calls, max_message, max_head, max_ids
 *   APPLY, CREATE, REPLICATE
 *             call, ids (refs), within, kinds, buffers
 *   COPY      call, object, ids (none), within
 *   METHOD    call, object, text (its name), ids (refs), within, kinds, buffers (none: no arguments)
 *   RESULT    call, kind; ids (refs), kinds and buffers for SUCCESS, ERROR and REFERENCE; text for OPERATION_ERROR
 *   GOODBYE   text: the reason, empty from a plain peer
 *   DEL_OBJS  ids
 *   CREDIT    size
 * The first buffer is a pickle, the others are out-of-band buffers; ax_message_kind() returns their kinds.
 */
struct ax_message {
    uint64_t type; /* as received: may be no ax_message_type */
    uint64_t call;
    uint64_t kind;
    uint64_t timeout_ms;
    uint64_t window;
    uint64_t max_calls;
    uint64_t max_message;
    uint64_t max_head;
    uint64_t max_ids;
    uint64_t size;
    uint64_t object;
    uint64_t within; /* id, plus one, of the receiver's own call that the sender was serving when it sent the request;
                        0: none */
    struct ax_ids ids;
    struct ax_ids kinds;       /* enum ax_buffer_kind of the buffers behind the first */
    const unsigned char *text; /* UTF-8, not validated; borrowed from head */
    size_t text_size;

    uint64_t counted; /* set by the session: bytes that count against the window until ax_session_consumed() */

    struct ax_buffer head;
    struct ax_buffer *buffers; /* owned array of buffer_count */
    uint32_t buffer_count;

    struct ax_message *next; /* for a queue of the message's owner */
};

/* An empty message, or NULL when memory is short. Freed with ax_message_free(). */
struct ax_message *ax_message_new(void);
void ax_message_free(struct ax_message *message);  /* NULL is fine */
void ax_message_free_all(struct ax_message *list); /* likewise; linked by `next` */

/* Appends an empty buffer and returns it; NULL when memory is short. Invalidates earlier buffer pointers. */
struct ax_buffer *ax_message_add_buffer(struct ax_message *message);

/* The kind of buffer `i`, an enum ax_buffer_kind; MEMORY if the head has none. i > 0. */
uint64_t ax_message_kind(const struct ax_message *message, uint32_t i);

/* Bytes in its buffers, as the sender counts them. */
uint64_t ax_message_payload_size(const struct ax_message *message);

/* Memory that the message uses, for limits of queues. */
size_t ax_message_memory(const struct ax_message *message);

/* Sets the fields from message->head, which is complete. Never fails; the session checks limits. */
void ax_message_decode(struct ax_message *message);

/* A request. */
struct ax_operation {
    enum ax_message_type type; /* a type of request */
    uint64_t object;           /* COPY, METHOD: an id of the receiver's table */
    const char *name;          /* METHOD: UTF-8, name_size bytes; borrowed */
    size_t name_size;
    uint64_t within; /* as in struct ax_message */
};

/* The payload of a request or a result. */
struct ax_payload {
    const uint64_t *refs; /* objects of the sender's table that the buffers refer to; borrowed */
    size_t ref_count;
    struct ax_buffer *buffers; /* each becomes a frame behind the head, except that continued ones share the frame of
                                  the next; the last is never continued. All are taken by whoever takes the payload */
    size_t buffer_count;
    const uint64_t *kinds; /* enum ax_buffer_kind of the frames behind the first; borrowed; only for peers with
                              AX_FEATURE_BUFFERS */
    size_t kind_count;
};

/*
 * Encode heads of outgoing messages at `out`, which must have the size that the _size function returns; return the end.
 * `ids` are `count` object ids, borrowed.
 */
size_t ax_ids_size(const uint64_t *ids, size_t count); /* of the count and the ids */
unsigned char *ax_put_ids(unsigned char *out, const uint64_t *ids, size_t count);

size_t ax_request_size(const struct ax_operation *operation, uint64_t call, const struct ax_payload *payload);
unsigned char *ax_put_request(unsigned char *out, const struct ax_operation *operation, uint64_t call,
                              const struct ax_payload *payload);

size_t ax_result_size(uint64_t call, enum ax_result_kind kind, const struct ax_payload *payload);
unsigned char *ax_put_result(unsigned char *out, uint64_t call, enum ax_result_kind kind,
                             const struct ax_payload *payload);

#define AX_GOODBYE_REASON_MAX 255u /* bytes of a reason; longer ones are cut */
#define AX_GOODBYE_SIZE_MAX (1u + 3u + AX_GOODBYE_REASON_MAX)

/*
 * Encodes the head of a GOODBYE, at most AX_GOODBYE_SIZE_MAX bytes; returns its end. `reason` is UTF-8; NULL or "" for
 * a peer that does not support reasons.
 */
unsigned char *ax_put_goodbye(unsigned char *out, const char *reason);

#endif
