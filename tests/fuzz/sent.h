/* SPDX-License-Identifier: MIT */
/*
 * What a session sends, read back with the library's own reader: a superblock, what a bare Python is sent, then whole
 * messages that are allowed where they stand. Whatever is not so ends the process.
 */
#ifndef AX_TESTS_FUZZ_SENT_H
#define AX_TESTS_FUZZ_SENT_H

#include "fuzz.h"
#include "protocol/session.h"

#define SENT_HEAD_MAX 16384 /* more than the head of any message that a target has a session send */

/* A stream of messages: that of the connection, and the second lane within its chunks. */
struct sent_lane {
    struct ax_frame_reader frame;
    unsigned frames;  /* of the current message that have begun */
    unsigned buffers; /* of them, those behind the head */
    bool is_chunk;    /* the current message, known behind its head */
    unsigned char head[SENT_HEAD_MAX];
    size_t head_size;
    uint64_t next_call; /* requests of a lane are numbered as they come */
};

/* All zero but for the session is the beginning of a stream. */
struct sent {
    const struct ax_session *session; /* borrowed: whose stream this is */
    size_t before;                    /* bytes ahead of the first frame that have been read */
    struct sent_lane lane;
    struct sent_lane bulk;
    uint64_t messages[AX_MESSAGE_TYPES]; /* how many of each type have been sent */
    uint64_t requests;                   /* of them */
};

/* Takes the next bytes of the stream. */
void sent_take(struct sent *sent, const void *data, size_t size);

/* The stream ends here: between two messages, though a session that has failed may leave one in chunks. */
void sent_finish(const struct sent *sent);

#endif
