/* SPDX-License-Identifier: MIT */
#include "embed/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Slices are passed to the kernel without conversion. */
static_assert(sizeof(struct ax_slice) == sizeof(struct iovec), "a slice is an iovec");
static_assert(offsetof(struct ax_slice, data) == offsetof(struct iovec, iov_base), "a slice is an iovec");
static_assert(offsetof(struct ax_slice, size) == offsetof(struct iovec, iov_len), "a slice is an iovec");

static int prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

int ax_stream_init(struct ax_stream *stream, int in_fd, int out_fd)
{
    *stream = (struct ax_stream){.in_fd = in_fd, .out_fd = out_fd, .is_socket = is_socket(out_fd)};
    int error = prepare(in_fd);
    if (error == 0 && out_fd != in_fd)
        error = prepare(out_fd);
    if (error != 0)
        ax_stream_close(stream);
    return error;
}

ssize_t ax_stream_read(struct ax_stream *stream, struct iovec *to, int count)
{
    for (;;) {
        ssize_t size = readv(stream->in_fd, to, count);
        if (size >= 0)
            return size;
        if (errno != EINTR)
            return -errno;
    }
}

static void enlarge_socket(int fd)
{
    int domain, room, wanted = AX_STREAM_ROOM;
    socklen_t size = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX)
        return;
    size = sizeof room;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &size) == 0 && room < wanted)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
}

/* Best effort: the stream works with buffers of any size. */
static void make_room(struct ax_stream *stream)
{
    stream->is_roomy = true;
    if (stream->is_socket)
        enlarge_socket(stream->out_fd);
    else if (fcntl(stream->out_fd, F_GETPIPE_SZ) < (int)AX_STREAM_ROOM)
        fcntl(stream->out_fd, F_SETPIPE_SZ, (int)AX_STREAM_ROOM);
}

static bool is_large(const struct ax_slice *slices, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += slices[i].size;
    return size >= AX_STREAM_LARGE;
}

ssize_t ax_stream_write(struct ax_stream *stream, const struct ax_slice *slices, size_t count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)slices, .msg_iovlen = count};

    if (!stream->is_roomy && is_large(slices, count))
        make_room(stream);
    for (;;) {
        ssize_t size = stream->is_socket ? sendmsg(stream->out_fd, &message, MSG_NOSIGNAL)
                                         : writev(stream->out_fd, message.msg_iov, (int)count);
        if (size >= 0)
            return size;
        if (errno != EINTR)
            return -errno;
    }
}

void ax_stream_hang_up(struct ax_stream *stream)
{
    if (stream->is_socket && stream->out_fd >= 0)
        shutdown(stream->out_fd, SHUT_RDWR);
}

/*
 * The fields are reset first: a child that is forked meanwhile closes the descriptors that it finds here, whose numbers
 * may have been reused by then.
 */
void ax_stream_close(struct ax_stream *stream)
{
    int in_fd = stream->in_fd;
    int out_fd = stream->out_fd;

    stream->in_fd = stream->out_fd = -1;
    if (in_fd >= 0)
        close(in_fd);
    if (out_fd >= 0 && out_fd != in_fd)
        close(out_fd);
}
