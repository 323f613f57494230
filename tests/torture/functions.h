/* SPDX-License-Identifier: MIT */
/*
 * The functions that can be made to fail, each with the errors that a running system may give: X(name, kind,
 * errors...). The driver reads this list, too: a function's number is its place in it.
 */
#define TORTURE_FUNCTIONS(X)                                                                                           \
    X(malloc, memory, ENOMEM)                                                                                          \
    X(calloc, memory, ENOMEM)                                                                                          \
    X(realloc, memory, ENOMEM)                                                                                         \
    X(strdup, memory, ENOMEM)                                                                                          \
    X(strndup, memory, ENOMEM)                                                                                         \
    X(asprintf, memory, ENOMEM)                                                                                        \
    X(realpath, memory, ENOMEM)                                                                                        \
    X(mmap, memory, ENOMEM)                                                                                            \
    X(posix_fallocate, memory, ENOSPC)                                                                                 \
    X(read, read, EIO, EINTR, EAGAIN)                                                                                  \
    X(readv, read, ECONNRESET, EINTR, EAGAIN)                                                                          \
    X(recv, read, ECONNRESET, EINTR, EAGAIN)                                                                           \
    X(recvmsg, read, ENOMEM, EINTR, EAGAIN)                                                                            \
    X(eventfd_read, read, EAGAIN)                                                                                      \
    X(write, write, EIO, EINTR, EAGAIN)                                                                                \
    X(writev, write, ENOMEM, EINTR, EAGAIN)                                                                            \
    X(send, write, ENOBUFS, EINTR, EAGAIN)                                                                             \
    X(sendto, write, ENOBUFS, EINTR, EAGAIN)                                                                           \
    X(sendmsg, write, ENOBUFS, EINTR, EAGAIN)                                                                          \
    X(poll, wait, ENOMEM, EINTR)                                                                                       \
    X(epoll_wait, wait, EINTR)                                                                                         \
    X(epoll_pwait, wait, EINTR)                                                                                        \
    X(accept4, accept, EMFILE, ECONNABORTED, EINTR)                                                                    \
    X(fork, process, EAGAIN)                                                                                           \
    X(execv, process, ENOMEM)                                                                                          \
    X(pidfd_open, process, EMFILE)                                                                                     \
    X(pthread_create, thread, EAGAIN)                                                                                  \
    X(socket, descriptor, EMFILE)                                                                                      \
    X(socketpair, descriptor, EMFILE)                                                                                  \
    X(pipe2, descriptor, EMFILE)                                                                                       \
    X(eventfd, descriptor, EMFILE)                                                                                     \
    X(signalfd, descriptor, EMFILE)                                                                                    \
    X(memfd_create, descriptor, EMFILE)                                                                                \
    X(epoll_create1, descriptor, EMFILE)                                                                               \
    X(open, descriptor, EMFILE)                                                                                        \
    X(fopen, descriptor, EMFILE)                                                                                       \
    X(dup2, descriptor, EBUSY)                                                                                         \
    X(dupfd, descriptor, EMFILE)                                                                                       \
    X(epoll_ctl, socket, ENOMEM)                                                                                       \
    X(bind, socket, ENOMEM)                                                                                            \
    X(listen, socket, ENOBUFS)                                                                                         \
    X(connect, socket, ENOBUFS)
