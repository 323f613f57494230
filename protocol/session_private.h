/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of the session; not included elsewhere.
 *
 *   session.c            lifecycle and changes of state
 *   session_handshake.c  superblocks and the bootstrap of a bare Python
 *   session_input.c      bytes to frames to messages, and their limits
 *   session_dispatch.c   the meaning of messages in each state
 *   session_output.c     requests to bytes
 *   session_liveness.c   deadlines
 */
#ifndef AX_PROTOCOL_SESSION_PRIVATE_H
#define AX_PROTOCOL_SESSION_PRIVATE_H

#include "protocol/session.h"

#if defined(__GNUC__)
#define AX_PRINTF(text, arguments) __attribute__((format(printf, text, arguments)))
#else
#define AX_PRINTF(text, arguments)
#endif

/* ---- session.c ---- */

/* True in CLOSED and FAILED: nothing more is received. */
static inline bool ax_session_ended(const struct ax_session *session)
{
    return session->state >= AX_STATE_CLOSED;
}

/* Fails with a reason made by printf. Keeps an earlier reason; does nothing when already FAILED. */
void ax_session_failf(struct ax_session *session, int error, const char *format, ...) AX_PRINTF(3, 4);

/* Fails for want of memory. */
void ax_session_fail_memory(struct ax_session *session);

/* GREETING to READY; READY or CLOSING to CLOSED, with the peer's GOODBYE and its reason, if any. */
void ax_session_become_ready(struct ax_session *session, const struct ax_message *greeting);
void ax_session_become_closed(struct ax_session *session, const struct ax_message *goodbye, uint64_t now);

/*
 * Completes the event of an input or time function: FAILED when the session got there since it was in state `before`.
 */
void ax_session_report(const struct ax_session *session, enum ax_session_state before, struct ax_event *event);

/* Drops a message: frees it, or keeps it for ax_session_take_discarded(). NULL is fine. */
void ax_session_discard(struct ax_session *session, struct ax_message *message);

/* The value in the map of calls for an abandoned call. */
extern char ax_session_forgotten;

/* ---- session_handshake.c ---- */

int ax_session_send_superblock(struct ax_session *session, uint64_t now);

/* Takes bytes of the peer's superblock; returns how many. When it is complete, acts on it. */
size_t ax_session_take_superblock(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now);

/* ---- session_input.c ---- */

/* Drops the incomplete message of a lane. */
void ax_lane_drop(struct ax_session *session, struct ax_lane *lane);

/* ---- session_dispatch.c ---- */

/* Fails the session if the message whose head has just been decoded is not allowed, whatever its buffers will be. */
void ax_session_check_head(struct ax_session *session, struct ax_message *message);

/* Fails the session for a message whose type is not allowed in this state. */
void ax_session_refuse(struct ax_session *session, const struct ax_message *message);

/* Handles a complete message. Takes ownership: the event owns it, or it is freed. */
void ax_session_dispatch(struct ax_session *session, struct ax_message *message, uint64_t now, struct ax_event *event);

/* ---- session_output.c ---- */

/*
 * For callers of the functions below that do not know the time: the send timeout then counts from the next
 * ax_session_expire().
 */
#define AX_TIME_UNKNOWN AX_NEVER

/* These return 0 or AX_ENOMEM, and then nothing was queued. */
int ax_session_queue_superblock(struct ax_session *session, const struct ax_superblock *superblock, uint64_t now);
int ax_session_queue_bootstrap(struct ax_session *session, const char *source, uint64_t now);
int ax_session_queue_greeting(struct ax_session *session, uint64_t now);
int ax_session_queue_idle(struct ax_session *session, uint64_t now);
int ax_session_queue_goodbye(struct ax_session *session, const char *reason, uint64_t now);
int ax_session_queue_credit(struct ax_session *session, uint64_t size, uint64_t now);

/* An operation error for a call that was never begun. Beyond twice max_queued bytes it fails the session: AX_ESTATE. */
int ax_session_queue_refusal(struct ax_session *session, uint64_t call, const char *text, uint64_t now);

/* Queues DEL_OBJS for all collected ids. AX_ENOMEM: those that are left are kept for the next time. */
int ax_session_flush_releases(struct ax_session *session, uint64_t now);

/* Drops the collected ids. */
void ax_session_drop_releases(struct ax_session *session);

#endif
