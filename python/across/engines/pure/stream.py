# SPDX-License-Identifier: MIT
"""The two descriptors of a connection."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat

from .wire import Bytes

_SEND_FLAGS = getattr(socket, 'MSG_NOSIGNAL', 0)  # macOS lacks it; Python ignores SIGPIPE unless told otherwise


class Stream:
    """Duplicates of the two descriptors that a link was started with, non-blocking. Equal for a socket."""

    def __init__(self, in_fd: int, out_fd: int) -> None:
        for fd in (in_fd, out_fd):
            if stat.S_ISREG(os.fstat(fd).st_mode):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self.in_fd = fcntl.fcntl(in_fd, fcntl.F_DUPFD_CLOEXEC, 3)
        self.out_fd = self.in_fd
        try:
            if out_fd != in_fd:
                self.out_fd = fcntl.fcntl(out_fd, fcntl.F_DUPFD_CLOEXEC, 3)
            for fd in self.fds():
                os.set_blocking(fd, False)
            is_socket = stat.S_ISSOCK(os.fstat(self.out_fd).st_mode)
            self._socket = socket.socket(fileno=self.out_fd) if is_socket else None
        except BaseException:
            self._socket = None
            self.close()
            raise

    def fds(self) -> set[int]:
        return {self.in_fd, self.out_fd} - {-1}

    def read(self, buffer: memoryview) -> int:
        return os.readv(self.in_fd, [buffer])

    def write(self, parts: list[Bytes]) -> int:
        if self._socket is not None:
            return self._socket.sendmsg(parts, (), _SEND_FLAGS)
        return os.writev(self.out_fd, parts)

    def hang_up(self) -> None:
        """Shut the stream down, even if other processes have copies of the socket."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        fds, self.in_fd, self.out_fd = self.fds(), -1, -1
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.detach()
        for fd in fds:
            os.close(fd)
