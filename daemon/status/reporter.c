/* SPDX-License-Identifier: MIT */
#include "daemon/status/reporter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_fresh(const struct ax_reporter *reporter, uint64_t since)
{
    return uv_now(reporter->loop) - since < AX_REPORTER_MS;
}

/* ---- answers ---- */

/* Makes the answer in this format anew if it is too old. Returns whether there is one. */
static bool prepare(struct ax_reporter *reporter, enum ax_status_format format)
{
    struct ax_report_source source = {0};
    char *text;
    size_t size;

    if (reporter->answers[format].text != NULL && is_fresh(reporter, reporter->answers[format].made_at))
        return true;
    reporter->gather(reporter->owner, &source);
    source.memory = reporter->memory;
    if (ax_report_make(&source, format, &text, &size) < 0)
        return false;
    free(reporter->answers[format].text);
    reporter->answers[format].text = text;
    reporter->answers[format].size = size;
    reporter->answers[format].made_at = uv_now(reporter->loop);
    return true;
}

static void answer(struct ax_reporter *reporter, int fd, enum ax_status_format format)
{
    char *copy = prepare(reporter, format) ? malloc(reporter->answers[format].size + 1) : NULL;

    if (copy == NULL) {
        close(fd);
        return;
    }
    memcpy(copy, reporter->answers[format].text, reporter->answers[format].size);
    ax_reply_send(reporter->replies, fd, copy, reporter->answers[format].size);
}

static void answer_all(struct ax_reporter *reporter)
{
    uv_timer_stop(&reporter->timer);
    for (size_t i = 0; i < reporter->asker_count; i++)
        answer(reporter, reporter->askers[i].fd, reporter->askers[i].format);
    reporter->asker_count = 0;
}

/* ---- memory ---- */

struct reading {
    struct ax_reporter *reporter;
    struct ax_report_memory *memory;
};

static void read_memory(void *arg)
{
    struct reading *reading = arg;

    ax_report_memory_read(reading->memory);
}

static void on_read(void *arg)
{
    struct reading *reading = arg;
    struct ax_reporter *reporter = reading->reporter;

    ax_report_memory_free(reporter->memory);
    reporter->memory = reading->memory;
    reporter->read_at = reporter->begun_at;
    free(reading);
    answer_all(reporter);
}

static void drop_reading(void *arg)
{
    struct reading *reading = arg;

    ax_report_memory_free(reading->memory);
    free(reading);
}

/* Without memory or a thread, the answer has the previous figures. Returns whether there is something to wait for. */
static bool begin_reading(struct ax_reporter *reporter)
{
    struct reading *reading = calloc(1, sizeof *reading);
    struct ax_report_source source = {0};

    if (reading == NULL)
        return false;
    reporter->gather(reporter->owner, &source);
    reading->reporter = reporter;
    reading->memory = ax_report_memory_new(source.pool);
    reporter->begun_at = uv_now(reporter->loop);
    if (reading->memory != NULL &&
        ax_background_run(&reporter->background, read_memory, on_read, drop_reading, reading) == 0)
        return true;
    drop_reading(reading);
    return false;
}

/* ---- asking ---- */

static void on_timer(uv_timer_t *timer)
{
    answer_all(timer->data);
}

/* Whether it is worth waiting for newer figures. */
static bool may_wait(struct ax_reporter *reporter)
{
    if (reporter->asker_count == AX_REPLIES_MAX)
        return false;
    if (ax_background_is_busy(&reporter->background))
        return uv_now(reporter->loop) - reporter->begun_at < AX_REPORTER_WAIT_MS;
    return begin_reading(reporter);
}

void ax_reporter_answer(struct ax_reporter *reporter, int fd, enum ax_status_format format)
{
    bool is_known = (reporter->answers[format].text != NULL && is_fresh(reporter, reporter->answers[format].made_at)) ||
                    (reporter->memory != NULL && is_fresh(reporter, reporter->read_at));

    if (is_known || !may_wait(reporter)) {
        answer(reporter, fd, format);
        return;
    }
    reporter->askers[reporter->asker_count++] = (struct ax_asker){fd, format};
    if (!uv_is_active((uv_handle_t *)&reporter->timer))
        uv_timer_start(&reporter->timer, on_timer, AX_REPORTER_WAIT_MS, 0);
}

/* ---- life ---- */

int ax_reporter_init(struct ax_reporter *reporter, uv_loop_t *loop, struct ax_replies *replies,
                     void (*gather)(void *owner, struct ax_report_source *source), void *owner)
{
    *reporter = (struct ax_reporter){.loop = loop, .replies = replies, .gather = gather, .owner = owner};
    uv_timer_init(loop, &reporter->timer);
    reporter->timer.data = reporter;
    return ax_background_init(&reporter->background, loop);
}

void ax_reporter_close(struct ax_reporter *reporter)
{
    while (reporter->asker_count > 0)
        close(reporter->askers[--reporter->asker_count].fd);
    uv_close((uv_handle_t *)&reporter->timer, NULL);
    ax_background_close(&reporter->background);
}

void ax_reporter_free_memory(struct ax_reporter *reporter)
{
    for (int format = 0; format < AX_REPORTER_FORMATS; format++)
        free(reporter->answers[format].text);
    ax_report_memory_free(reporter->memory);
}
