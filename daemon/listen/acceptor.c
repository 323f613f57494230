/* SPDX-License-Identifier: MIT */
#include "daemon/listen/acceptor.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/log.h"

static void on_connection(uv_poll_t *poll, int status, int events);

void ax_acceptor_resume(struct ax_acceptor *acceptor)
{
    if (!acceptor->paused)
        return;
    acceptor->paused = false;
    acceptor->is_short = false;
    uv_timer_stop(&acceptor->retry);
    for (size_t i = 0; i < acceptor->count; i++)
        uv_poll_start(&acceptor->polls[i], UV_READABLE, on_connection);
}

void ax_acceptor_pause(struct ax_acceptor *acceptor)
{
    acceptor->paused = true;
    acceptor->is_short = false;
    uv_timer_stop(&acceptor->retry);
    for (size_t i = 0; i < acceptor->count; i++)
        uv_poll_stop(&acceptor->polls[i]);
}

void ax_acceptor_relieved(struct ax_acceptor *acceptor)
{
    if (acceptor->is_short)
        ax_acceptor_resume(acceptor);
}

static void on_retry(uv_timer_t *timer)
{
    ax_acceptor_resume(timer->data);
}

static void pause_for_shortage(struct ax_acceptor *acceptor, int code)
{
    if (!acceptor->complained)
        ax_log(AX_LOG_WARNING, "new connections have to wait: %s", strerror(code));
    acceptor->complained = true;
    ax_acceptor_pause(acceptor);
    acceptor->is_short = true;
    uv_timer_start(&acceptor->retry, on_retry, AX_ACCEPTOR_RETRY_MS, 0);
}

/* No delay for small messages, and keepalive, so that a dead host is noticed even without timeouts. */
static void tune(const struct ax_listener *listener, int fd)
{
    int on = 1;

    if (listener->address.kind == AX_ADDRESS_UNIX)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/* Returns whether there may be more. */
static bool accept_one(struct ax_acceptor *acceptor, const struct ax_listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        acceptor->complained = false;
        tune(listener, fd);
        acceptor->accepted(acceptor->arg, listener, fd);
        return true;
    }
    switch (errno) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        pause_for_shortage(acceptor, errno);
        return false;
    default: /* errors of the connection itself */
        return true;
    }
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct ax_acceptor *acceptor = poll->data;
    const struct ax_listener *listener = &acceptor->listeners[poll - acceptor->polls];

    (void)status; /* accept4() reports the error again */
    (void)events;
    for (int i = 0; i < AX_ACCEPTOR_BATCH && !acceptor->paused && accept_one(acceptor, listener); i++)
        continue;
}

int ax_acceptor_init(struct ax_acceptor *acceptor, uv_loop_t *loop, struct ax_listener *listeners, size_t count,
                     ax_acceptor_fn *accepted, void *arg)
{
    int code;

    *acceptor = (struct ax_acceptor){
        .loop = loop, .listeners = listeners, .count = count, .paused = true, .accepted = accepted, .arg = arg};
    acceptor->polls = calloc(count, sizeof *acceptor->polls);
    code = acceptor->polls != NULL ? uv_timer_init(loop, &acceptor->retry) : UV_ENOMEM;
    acceptor->retry.data = acceptor;
    for (size_t i = 0; i < count && code == 0; i++) {
        code = uv_poll_init(loop, &acceptor->polls[i], listeners[i].fd);
        acceptor->polls[i].data = acceptor;
    }
    return code;
}

void ax_acceptor_close(struct ax_acceptor *acceptor)
{
    ax_acceptor_pause(acceptor);
    uv_close((uv_handle_t *)&acceptor->retry, NULL);
    for (size_t i = 0; i < acceptor->count; i++) {
        uv_close((uv_handle_t *)&acceptor->polls[i], NULL);
        ax_listener_close(&acceptor->listeners[i]);
    }
}

void ax_acceptor_free_memory(struct ax_acceptor *acceptor)
{
    free(acceptor->polls);
    free(acceptor->listeners);
}
