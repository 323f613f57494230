/* SPDX-License-Identifier: MIT */
#include "daemon/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is always sent: everything before the text. */
#define HEAD_SIZE offsetof(struct ax_control, text)

/*
 * Room for some 25 messages on their way. Descriptors in them count against the sender's limit of open files, so that a
 * larger buffer would make sending fail where that limit is low, instead of making it wait.
 */
#define SEND_BUFFER 16384

/* Room for the one descriptor of a message. The kernel fills it up to its end, so it is not larger than that. */
union ancillary {
    char bytes[CMSG_SPACE(sizeof(int))];
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

static void attach(struct msghdr *header, union ancillary *ancillary, int fd)
{
    struct cmsghdr *item;

    memset(ancillary, 0, sizeof *ancillary);
    header->msg_control = ancillary->bytes;
    header->msg_controllen = sizeof ancillary->bytes;
    item = CMSG_FIRSTHDR(header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(item), &fd, sizeof fd);
}

int ax_control_send(int control_fd, const struct ax_control *message, int fd)
{
    struct iovec slice = {.iov_base = (void *)(uintptr_t)message, .iov_len = HEAD_SIZE + message->size};
    struct msghdr header = {.msg_iov = &slice, .msg_iovlen = 1};
    union ancillary ancillary;
    ssize_t sent;

    if (fd >= 0)
        attach(&header, &ancillary, fd);
    do
        sent = sendmsg(control_fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    return 0;
}

static int take_fd(struct msghdr *header)
{
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    int fd = -1;

    if (item != NULL && item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS &&
        item->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(item), sizeof fd);
    return fd;
}

int ax_control_receive(int control_fd, struct ax_control *message, int *fd)
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

    *fd = -1;
    do
        received = recvmsg(control_fd, &header, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return errno == ECONNRESET ? 0 : -errno;
    if (received == 0)
        return 0;
    *fd = take_fd(&header);
    if ((size_t)received < HEAD_SIZE || (header.msg_flags & MSG_TRUNC) != 0 ||
        message->size != (size_t)received - HEAD_SIZE) {
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        return -EPROTO;
    }
    message->text[message->size] = '\0';
    return 1;
}
