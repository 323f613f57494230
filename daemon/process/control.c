/* SPDX-License-Identifier: MIT */
#include "daemon/process/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The part that is always sent: everything before the text. */
#define HEAD_SIZE offsetof(struct ax_control, text)

/*
 * Holds some 25 messages. Queued descriptors count against the sender's limit of open files: with a larger buffer and a
 * low limit, sending would fail instead of waiting.
 */
#define SEND_BUFFER 16384

/* Buffer for the descriptors of a message, sized exactly, since the kernel uses all of it. */
union ancillary {
    char bytes[CMSG_SPACE(AX_CONTROL_FDS * sizeof(int))];
    struct cmsghdr align;
};

int ax_control_pair(int fds[2])
{
    int size = SEND_BUFFER;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return 0;
}

void ax_control_set_text(struct ax_control *message, const void *text, size_t size)
{
    message->size = size < AX_CONTROL_TEXT ? (uint32_t)size : AX_CONTROL_TEXT;
    if (message->size > 0)
        memcpy(message->text, text, message->size);
    message->text[message->size] = '\0';
}

void ax_control_set_reason(struct ax_control *message, const char *text)
{
    ax_control_set_text(message, text, strlen(text));
}

static void attach(struct msghdr *header, union ancillary *ancillary, const struct ax_control_fds *fds)
{
    struct cmsghdr *item;
    size_t count = 0;

    while (count < AX_CONTROL_FDS && fds->fd[count] >= 0)
        count++;
    memset(ancillary, 0, sizeof *ancillary);
    header->msg_control = ancillary->bytes;
    header->msg_controllen = CMSG_SPACE(count * sizeof(int));
    item = CMSG_FIRSTHDR(header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(item), fds->fd, count * sizeof(int));
}

int ax_control_send(int control_fd, const struct ax_control *message, const struct ax_control_fds *fds)
{
    struct iovec slice = {.iov_base = (void *)(uintptr_t)message, .iov_len = HEAD_SIZE + message->size};
    struct msghdr header = {.msg_iov = &slice, .msg_iovlen = 1};
    union ancillary ancillary;
    ssize_t sent;

    if (fds != NULL && fds->fd[0] >= 0)
        attach(&header, &ancillary, fds);
    do
        sent = sendmsg(control_fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    return 0;
}

void ax_control_report_failure(int control_fd, int error)
{
    struct ax_control message = {.type = AX_CONTROL_FAILED};

    ax_control_set_reason(&message, strerror(error));
    ax_control_send(control_fd, &message, NULL);
}

bool ax_control_is_full(int code)
{
    return code == -EAGAIN || code == -ENOBUFS || code == -ENOMEM;
}

static void take_fds(struct msghdr *header, struct ax_control_fds *fds)
{
    struct cmsghdr *item = CMSG_FIRSTHDR(header);

    if (item != NULL && item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS &&
        item->cmsg_len <= CMSG_LEN(sizeof fds->fd))
        memcpy(fds->fd, CMSG_DATA(item), item->cmsg_len - CMSG_LEN(0));
}

void ax_control_close(struct ax_control_fds *fds)
{
    for (size_t i = 0; i < AX_CONTROL_FDS; i++) {
        if (fds->fd[i] >= 0)
            close(fds->fd[i]);
        fds->fd[i] = -1;
    }
}

int ax_control_receive(int control_fd, struct ax_control *message, struct ax_control_fds *fds)
{
    struct iovec slice = {.iov_base = message, .iov_len = HEAD_SIZE + AX_CONTROL_TEXT};
    union ancillary ancillary;
    struct msghdr header = {
        .msg_iov = &slice,
        .msg_iovlen = 1,
        .msg_control = ancillary.bytes,
        .msg_controllen = sizeof ancillary.bytes,
    };
    ssize_t received;

    *fds = (struct ax_control_fds){{-1, -1}};
    /* ECONNRESET is reported once, ahead of queued messages: the peer has closed its end without reading everything. */
    do
        received = recvmsg(control_fd, &header, MSG_CMSG_CLOEXEC);
    while (received < 0 && (errno == EINTR || errno == ECONNRESET));
    if (received < 0)
        return -errno;
    if (received == 0)
        return 0;
    take_fds(&header, fds);
    if ((size_t)received < HEAD_SIZE || (header.msg_flags & MSG_TRUNC) != 0 ||
        message->size != (size_t)received - HEAD_SIZE) {
        ax_control_close(fds);
        return -EPROTO;
    }
    message->text[message->size] = '\0';
    return 1;
}

bool ax_control_take_all(int control_fd, ax_control_fn *take, void *arg)
{
    struct ax_control message;
    struct ax_control_fds fds;
    int result = 1;

    for (int i = 0; i < AX_CONTROL_BATCH && result > 0; i++) {
        result = ax_control_receive(control_fd, &message, &fds);
        if (result > 0) {
            take(arg, &message, &fds);
            ax_control_close(&fds);
        }
    }
    return result > 0 || result == -EAGAIN;
}
