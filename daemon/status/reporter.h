/* SPDX-License-Identifier: MIT */
/*
 * Answers those who ask for the status, so that it costs the supervisor the same whoever asks, and however often.
 *
 * An answer is good for AX_REPORTER_MS: who asks again meanwhile gets the same. What the workers take in memory is read
 * beside the loop, for the kernel may have to wait for each of them; when that takes long, the answer has what was read
 * last.
 *
 * Used in the loop's thread.
 */
#ifndef AX_DAEMON_STATUS_REPORTER_H
#define AX_DAEMON_STATUS_REPORTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/base/background.h"
#include "daemon/status/reply.h"
#include "daemon/status/report.h"

#define AX_REPORTER_MS 1000u      /* an answer is good for so long */
#define AX_REPORTER_WAIT_MS 1000u /* and waits so long for what is read beside the loop */

#define AX_REPORTER_FORMATS 2

/* Somebody who waits for an answer. */
struct ax_asker {
    int fd; /* owned */
    enum ax_status_format format;
};

struct ax_reporter {
    uv_loop_t *loop;            /* borrowed */
    struct ax_replies *replies; /* borrowed */
    void (*gather)(void *owner, struct ax_report_source *source);
    void *owner;
    struct {
        char *text; /* owned; NULL: there is none */
        size_t size;
        uint64_t made_at; /* on the loop's clock */
    } answers[AX_REPORTER_FORMATS];
    struct ax_report_memory *memory; /* owned; NULL: nothing has been read yet */
    uint64_t read_at;                /* on the loop's clock: when that was begun */
    uint64_t begun_at;               /* the same of what is being read */
    struct ax_background background;
    uv_timer_t timer; /* for those who wait */
    struct ax_asker askers[AX_REPLIES_MAX];
    size_t asker_count;
};

/* 0, or a negative errno. */
int ax_reporter_init(struct ax_reporter *reporter, uv_loop_t *loop, struct ax_replies *replies,
                     void (*gather)(void *owner, struct ax_report_source *source), void *owner);

/* Answers in this format, and closes the descriptor, which it takes over. Of more askers than it has room for, some just see it closed. */
void ax_reporter_answer(struct ax_reporter *reporter, int fd, enum ax_status_format format);

/* Closes the handles: the loop has to run until that is done, before _free_memory. */
void ax_reporter_close(struct ax_reporter *reporter);
void ax_reporter_free_memory(struct ax_reporter *reporter);

#endif
