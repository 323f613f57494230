# SPDX-License-Identifier: MIT
"""Channels over pipes: files, standard input and output, and those of child processes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Optional, Union

from .. import engines
from .._log import logger
from .bridge import Bridge, Channel, Transport

_EXIT_GRACE = 1.0  # seconds for a program that has closed its output to exit by itself, before it is killed


class PipeChannel(Transport):
    """A file to receive from and one to send to, both with a descriptor that can be polled."""

    def __init__(self, in_pipe: Any, out_pipe: Any) -> None:
        self._in_pipe = in_pipe
        self._out_pipe = out_pipe
        self._timeout: Optional[float] = None
        self._modes: list[tuple[int, bool]] = []  # descriptors, and whether they were blocking
        self._bridge: Optional[Bridge] = None

    def set_timeout(self, seconds: float) -> None:
        self._timeout = seconds

    def begin(self, link: engines.Link) -> None:
        try:
            self._out_pipe.flush()
            in_fd, out_fd = self._in_pipe.fileno(), self._out_pipe.fileno()
            self._modes = [(fd, os.get_blocking(fd)) for fd in (in_fd, out_fd)]
            read_ahead = self._take_read_ahead(in_fd)
            in_fd, out_fd = self._claim(in_fd, out_fd)
            if read_ahead:
                self._bridge = Bridge(_ReadAheadChannel(read_ahead, in_fd, out_fd))
                self._bridge.begin(link)
            else:
                link.start(in_fd, out_fd)
        except Exception as error:
            link.fail(error)

    def _claim(self, in_fd: int, out_fd: int) -> tuple[int, int]:
        """Return the descriptors to use."""
        return in_fd, out_fd

    def _take_read_ahead(self, in_fd: int) -> bytes:
        """Return bytes that a buffered file has read already, and that its descriptor will not give again."""
        if not isinstance(self._in_pipe, io.BufferedReader):
            return b''
        # peek() reads from the descriptor when it has nothing: it gets an empty file.
        duplicate = os.dup(in_fd)
        inheritable = os.get_inheritable(in_fd)
        try:
            with open(os.devnull, 'rb') as empty:
                os.dup2(empty.fileno(), in_fd, inheritable)
            return self._in_pipe.read1(len(self._in_pipe.peek()))
        finally:
            os.dup2(duplicate, in_fd, inheritable)
            os.close(duplicate)

    def cancel(self) -> None:
        if self._bridge is not None:
            self._bridge.cancel()

    def forget(self) -> None:
        for pipe in (self._in_pipe, self._out_pipe):
            with contextlib.suppress(OSError):
                pipe.close()

    def finish(self, error: Optional[BaseException]) -> None:
        if self._bridge is not None:
            self._bridge.finish(error)
        # Others may share these files, a terminal for one, and not expect them to be non-blocking.
        for fd, blocking in self._modes:
            with contextlib.suppress(OSError):  # its owner has closed it
                os.set_blocking(fd, blocking)
        self._release()

    def _release(self) -> None:
        for pipe in (self._in_pipe, self._out_pipe):
            try:
                pipe.close()
            except BrokenPipeError:  # the reader of what is still buffered has gone
                pass

    def __repr__(self) -> str:
        return '{!r} {!r}'.format(self._in_pipe, self._out_pipe)


class _ReadAheadChannel(Channel):
    """Pipes of which some bytes have been read already."""

    def __init__(self, read_ahead: bytes, in_fd: int, out_fd: int) -> None:
        self._read_ahead = read_ahead
        self._in_fd = in_fd
        self._out_fd = out_fd
        self._wake, self._waker = socket.socketpair()

    def connect(self) -> None:
        for fd in (self._in_fd, self._out_fd):
            os.set_blocking(fd, False)

    def recv_into(self, buffer: memoryview) -> int:
        if self._read_ahead:
            data, self._read_ahead = self._read_ahead[: len(buffer)], self._read_ahead[len(buffer) :]
            buffer[: len(data)] = data
            return len(data)
        while True:
            self._wait(self._in_fd, select.POLLIN)
            try:
                return os.readv(self._in_fd, [buffer])
            except BlockingIOError:
                pass

    def send(self, buffer: memoryview) -> int:
        while True:
            self._wait(self._out_fd, select.POLLOUT)
            try:
                return os.write(self._out_fd, buffer)
            except BlockingIOError:
                pass

    def _wait(self, fd: int, event: int) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(fd, event)
        if any(ready == self._wake.fileno() for ready, _ in poll.poll()):
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    def cancel(self) -> None:
        self._waker.send(b'\0')

    def close(self) -> None:
        self._wake.close()
        self._waker.close()


class StdioChannel(PipeChannel):
    """Standard input and output. While it lasts, the process reads an empty file, and prints to standard error."""

    def __init__(self) -> None:
        super().__init__(sys.stdin.buffer, sys.stdout.buffer)
        self._moved: list[tuple[int, int]] = []  # standard descriptors, and the duplicates that are used

    def _claim(self, in_fd: int, out_fd: int) -> tuple[int, int]:
        sys.stdout.flush()
        with open(os.devnull, 'rb') as empty:
            return self._move(in_fd, 0, empty.fileno()), self._move(out_fd, 1, 2)

    def _move(self, fd: int, standard: int, substitute: int) -> int:
        if fd != standard:  # the program has put its own file there
            return fd
        duplicate = os.dup(fd)
        self._moved.append((fd, duplicate))
        with contextlib.suppress(OSError):  # standard error is closed
            os.dup2(substitute, fd)
        return duplicate

    def forget(self) -> None:
        for _, duplicate in self._moved:
            os.close(duplicate)
        self._moved = []

    def _release(self) -> None:
        if self._moved:
            sys.stdout.flush()
        for fd, duplicate in self._moved:
            os.dup2(duplicate, fd)
            os.close(duplicate)
        self._moved = []

    def __repr__(self) -> str:
        return 'stdio'


# Ctrl-C at a terminal goes to all processes in the foreground, but is meant for this one, whose connections go on. A
# session or a process group of their own would keep children like ssh from asking for a password at the terminal. What
# a shell ignores is ignored by all that it starts, and stays so when it executes another program.
_IGNORE = "trap '' INT; "
_EXECUTE = _IGNORE + 'exec "$@"'


class ProcessChannel(PipeChannel):
    """Standard input and output of a child process.

    What the program, or a shell before it, prints before it speaks is passed on to standard error.
    """

    max_preamble = 64 << 10

    def __init__(
        self, args: Union[None, str, bytes, Sequence[Any]] = None, proc: Optional[subprocess.Popen[Any]] = None,
        shell: bool = False,
    ) -> None:  # fmt: skip
        if proc is None:
            if args is None:
                raise ValueError('either arguments or a process is needed')
            proc = self._start_program(args, shell)
            logger.debug('started process %d: %r', proc.pid, args)
        if proc.stdin is None:
            raise ValueError('Standard input of the process is not a pipe')
        if proc.stdout is None:
            raise ValueError('Standard output of the process is not a pipe')
        super().__init__(proc.stdout, proc.stdin)
        self._proc = proc
        self._killed = False
        self._link: Optional[engines.Link] = None
        self._preamble_lock = threading.Lock()
        self._preamble_is_shown = False

    def _start_program(self, args: Any, shell: bool, **kwargs: Any) -> subprocess.Popen[Any]:
        command = args
        if shell:
            command = os.fsencode(_IGNORE) + args if isinstance(args, bytes) else _IGNORE + args
        elif isinstance(args, (list, tuple)) and args and shutil.which(args[0]) is not None:
            command = ['/bin/sh', '-c', _EXECUTE, 'sh', *args]
        proc = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, shell=shell, **kwargs
        )
        proc.args = args
        return proc

    def begin(self, link: engines.Link) -> None:
        self._link = link
        super().begin(link)
        try:
            engines.spawn(self._wait_and_show_preamble)
        except Exception as error:  # there is no thread for it: shown at the end
            logger.debug('%r: no thread: %s', self, error)

    def _wait_and_show_preamble(self) -> None:
        assert self._link is not None
        with contextlib.suppress(Exception):
            self._link.wait_ready()
            self._show_preamble()

    def _show_preamble(self) -> None:
        with self._preamble_lock:
            preamble = b'' if self._preamble_is_shown or self._link is None else self._link.preamble
            self._preamble_is_shown = True
        show(preamble)

    def cancel(self) -> None:
        super().cancel()
        self._kill()

    def _kill(self) -> None:
        if self._proc.poll() is None:
            logger.debug('killing process %d', self._proc.pid)
            self._killed = True
            self._proc.kill()

    def finish(self, error: Optional[BaseException]) -> None:
        self._show_preamble()
        if error is not None and not isinstance(error, EOFError):
            self._kill()
        try:
            super().finish(error)
        finally:
            status = self._join(self._timeout if error is None else _EXIT_GRACE)
        if status and not self._killed:
            raise subprocess.CalledProcessError(status, self._proc.args)

    def _join(self, timeout: Optional[float]) -> int:
        try:
            return self._proc.wait(timeout)
        except subprocess.TimeoutExpired:
            self._kill()
            return self._proc.wait()

    def __repr__(self) -> str:
        return 'process {} {!r}'.format(self._proc.pid, self._proc.args)


def show(data: bytes) -> None:
    """Write output of a program to this process's standard error, which need not be the program's own."""
    if data and sys.stderr is not None:
        with contextlib.suppress(Exception):  # it is closed, or a pipe without a reader
            sys.stderr.write(data.decode('utf-8', 'replace'))
            sys.stderr.flush()
