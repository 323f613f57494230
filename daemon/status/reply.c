/* SPDX-License-Identifier: MIT */
#include "daemon/status/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct ax_reply {
    struct ax_replies *replies;
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    int fd;     /* owned */
    char *text; /* owned */
    size_t size;
    size_t sent;
    struct ax_reply *next;
    struct ax_reply **link;
};

static void on_closed(uv_handle_t *handle)
{
    struct ax_reply *reply = handle->data;

    if (--reply->open_handles > 0)
        return;
    free(reply->text);
    free(reply);
}

static void end(struct ax_reply *reply)
{
    *reply->link = reply->next;
    if (reply->next != NULL)
        reply->next->link = reply->link;
    reply->replies->count--;
    uv_close((uv_handle_t *)&reply->poll, on_closed);
    uv_close((uv_handle_t *)&reply->timer, on_closed);
    close(reply->fd);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    struct ax_reply *reply = poll->data;
    ssize_t sent = send(reply->fd, reply->text + reply->sent, reply->size - reply->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

    (void)status;
    (void)events;
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent > 0)
        reply->sent += (size_t)sent;
    if (sent < 0 || reply->sent == reply->size)
        end(reply);
}

static void on_timer(uv_timer_t *timer)
{
    end(timer->data);
}

/* The list starts with the newest. */
static void end_oldest(struct ax_replies *replies)
{
    struct ax_reply *oldest = replies->first;

    while (oldest->next != NULL)
        oldest = oldest->next;
    end(oldest);
}

void ax_reply_send(struct ax_replies *replies, int fd, char *text, size_t size)
{
    ssize_t sent = send(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    bool is_over = sent == (ssize_t)size || (sent < 0 && errno != EAGAIN && errno != EINTR);
    struct ax_reply *reply = is_over ? NULL : calloc(1, sizeof *reply);

    if (reply == NULL || uv_poll_init(replies->loop, &reply->poll, fd) < 0) {
        free(reply);
        free(text);
        close(fd);
        return;
    }
    if (replies->count == AX_REPLIES_MAX)
        end_oldest(replies);
    reply->replies = replies;
    reply->fd = fd;
    reply->text = text;
    reply->size = size;
    reply->sent = sent > 0 ? (size_t)sent : 0;
    uv_timer_init(replies->loop, &reply->timer);
    reply->open_handles = 2;
    reply->poll.data = reply->timer.data = reply;
    reply->next = replies->first;
    reply->link = &replies->first;
    if (reply->next != NULL)
        reply->next->link = &reply->next;
    replies->first = reply;
    replies->count++;
    uv_timer_start(&reply->timer, on_timer, AX_REPLY_MS, 0);
    uv_poll_start(&reply->poll, UV_WRITABLE, on_writable);
}

void ax_replies_end(struct ax_replies *replies)
{
    while (replies->first != NULL)
        end(replies->first);
}
