/* SPDX-License-Identifier: MIT */
#include "daemon/admission/hangup.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_unix(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t size = sizeof domain;

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

bool ax_hangup_has(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLRDHUP};
    char byte;

    if (poll(&item, 1, 0) <= 0)
        return false;
    if ((item.revents & (POLLHUP | POLLERR)) != 0)
        return true;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 || !is_unix(fd);
}

static void on_events(uv_poll_t *poll, int status, int ignored)
{
    struct ax_hangups *hangups = poll->data;
    struct epoll_event events[AX_HANGUPS_BATCH];
    int count = epoll_wait(hangups->fd, events, AX_HANGUPS_BATCH, 0);

    (void)status;
    (void)ignored;
    for (int i = 0; i < count; i++)
        hangups->hung_up(hangups->owner, events[i].data.u64);
}

int ax_hangups_init(struct ax_hangups *hangups, uv_loop_t *loop, ax_hangup_fn *hung_up, void *owner)
{
    int code;

    *hangups = (struct ax_hangups){.fd = epoll_create1(EPOLL_CLOEXEC), .hung_up = hung_up, .owner = owner};
    if (hangups->fd < 0)
        return -errno;
    hangups->poll.data = hangups;
    code = uv_poll_init(loop, &hangups->poll, hangups->fd);
    if (code < 0) {
        close(hangups->fd);
        return code;
    }
    uv_poll_start(&hangups->poll, UV_READABLE, on_events);
    uv_unref((uv_handle_t *)&hangups->poll);
    return 0;
}

/* One-shot: a peer that has only shut down its side would be reported over and over. */
void ax_hangups_add(struct ax_hangups *hangups, int fd, uint64_t id)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = id};

    epoll_ctl(hangups->fd, EPOLL_CTL_ADD, fd, &event);
}

void ax_hangups_remove(struct ax_hangups *hangups, int fd)
{
    struct epoll_event event = {0};

    epoll_ctl(hangups->fd, EPOLL_CTL_DEL, fd, &event);
}

static void on_closed(uv_handle_t *handle)
{
    struct ax_hangups *hangups = handle->data;

    close(hangups->fd);
}

void ax_hangups_close(struct ax_hangups *hangups)
{
    uv_close((uv_handle_t *)&hangups->poll, on_closed);
}
