/* SPDX-License-Identifier: MIT */
/*
 * Checks a session's output with the library's own reader: a superblock, what a bare Python is sent, then whole
 * messages that are allowed where they occur. Any violation aborts the process.
 */
#ifndef AX_TESTS_FUZZ_SENT_H
#define AX_TESTS_FUZZ_SENT_H

#include "fuzz.h"
#include "protocol/session.h"

#define SENT_HEAD_MAX 16384 /* more than the head of any message that a target sends */

/* A stream of messages: that of the connection, or of the second lane within its chunks. */
struct sent_lane {
    struct ax_frame_reader frame;
    unsigned frames;  /* frames of the current message that have begun */
    unsigned buffers; /* those of them after the head */
    bool is_chunk;    /* the current message is a chunk, known after its head */
    unsigned char head[SENT_HEAD_MAX];
    size_t head_size;
    uint64_t next_call; /* requests of a lane are numbered in order */
};

/* All zero except for the session is the beginning of a stream. */
struct sent {
    const struct ax_session *session; /* borrowed: whose stream this is */
    size_t before;                    /* bytes ahead of the first frame that have been read */
    struct sent_lane lane;
    struct sent_lane bulk;
    uint64_t messages[AX_MESSAGE_TYPES]; /* number sent of each type */
    uint64_t requests;                   /* of them */
};

/* Takes the next bytes of the stream. */
void sent_take(struct sent *sent, const void *data, size_t size);

/* The stream ends here: between two messages, except that a failed session may leave an incomplete chunked one. */
void sent_finish(const struct sent *sent);

#endif
