/* SPDX-License-Identifier: MIT */
#include "daemon/admission/goodbye.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "protocol/frame.h"
#include "protocol/message.h"
#include "protocol/session.h"

#define SLICES 4

static void send_all(int fd, struct iovec *slices, size_t count)
{
    const struct msghdr message = {.msg_iov = slices, .msg_iovlen = count};
    char unread[4096];

    if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == ENOTSOCK)
        (void)!writev(fd, slices, (int)count); /* a pipe, which the engine has made non-blocking */
    shutdown(fd, SHUT_WR);
    /* Closing a socket with unread data makes the kernel reset the connection, and the peer may lose the message. */
    (void)!recv(fd, unread, sizeof unread, MSG_DONTWAIT);
}

void ax_goodbye_send(int fd, const void *bytes, size_t size)
{
    struct iovec slice = {(void *)(uintptr_t)bytes, size};

    send_all(fd, &slice, 1);
}

/* Runs a session that fails with this reason, and sends its output. Its clock stands still. */
void ax_goodbye_refuse(int fd, const unsigned char *superblock, size_t size, const char *reason)
{
    struct ax_session_config config = {.role = AX_ACCEPTOR, .features = AX_FEATURE_REASON};
    struct ax_session session;
    struct ax_slice pending[SLICES];
    struct iovec slices[SLICES];
    struct ax_event event;
    size_t count;

    ax_limits_init(&config.limits);
    if (ax_session_init(&session, &config, 0) < 0)
        return;
    ax_session_feed(&session, superblock, size, 0, &event);
    ax_session_fail(&session, AX_ESTATE, reason);
    count = ax_session_pending(&session, pending, SLICES);
    for (size_t i = 0; i < count; i++)
        slices[i] = (struct iovec){(void *)(uintptr_t)pending[i].data, pending[i].size};
    send_all(fd, slices, count);
    ax_session_fini(&session);
}

void ax_goodbye_explain(int fd, const char *reason)
{
    unsigned char bytes[AX_FRAME_HEADER_SIZE + AX_GOODBYE_SIZE_MAX];
    size_t size = (size_t)(ax_put_goodbye(bytes + AX_FRAME_HEADER_SIZE, reason) - (bytes + AX_FRAME_HEADER_SIZE));

    ax_frame_put_header(bytes, size, false);
    ax_goodbye_send(fd, bytes, AX_FRAME_HEADER_SIZE + size);
}
