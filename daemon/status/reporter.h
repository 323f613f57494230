/* SPDX-License-Identifier: MIT */
/*
 * Answers requests for the status at bounded cost for the supervisor, however many there are.
 *
 * An answer is cached for AX_REPORTER_MS. The memory use of workers is read in a background thread, since the kernel
 * may block on each of them; if that takes long, the answer has the previous figures.
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

#define AX_REPORTER_MS 1000u      /* how long an answer is cached */
#define AX_REPORTER_WAIT_MS 1000u /* how long an answer waits for the background thread */

#define AX_REPORTER_FORMATS 2

/* A client that waits for an answer. */
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
    uint64_t read_at;                /* on the loop's clock: when reading started */
    uint64_t begun_at;               /* the same for the reading in progress */
    struct ax_background background;
    uv_timer_t timer; /* runs while clients wait */
    struct ax_asker askers[AX_REPLIES_MAX];
    size_t asker_count;
};

/* 0, or a negative errno. */
int ax_reporter_init(struct ax_reporter *reporter, uv_loop_t *loop, struct ax_replies *replies,
                     void (*gather)(void *owner, struct ax_report_source *source), void *owner);

/*
 * Answers in this format, and closes the descriptor, which it takes ownership of. Of too many waiting clients, some are
 * disconnected without an answer.
 */
void ax_reporter_answer(struct ax_reporter *reporter, int fd, enum ax_status_format format);

/* Closes the handles: the loop has to run until that is done, before _free_memory. */
void ax_reporter_close(struct ax_reporter *reporter);
void ax_reporter_free_memory(struct ax_reporter *reporter);

#endif
