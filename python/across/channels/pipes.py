# SPDX-License-Identifier: MIT
"""Channels that give their file descriptors to the engine: sockets, pipes, standard streams and child processes.

A transport's life: `set_timeout`, `begin`, then `cancel` from any thread and at any time, then `finish`, in a thread
of the engine, when the link has let go of the descriptors. The engine works on duplicates; the channel keeps its own
until `finish`.
"""

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
import time
from collections.abc import Sequence
from typing import Any, Optional, Union

from .. import engines
from .._log import logger
from .bridge import Bridge, Channel, Transport

_EXIT_GRACE = 1.0  # seconds for a program that has closed its output to exit by itself, before it is killed
_RETRY_DELAY = 0.01  # seconds between attempts to connect to a unix socket whose backlog is full


class SocketChannel(Transport):
    """A stream socket: a connected one, or one that is to be connected to an address.

    With a secret, both sides prove that they know it before anything else is said.
    """

    _SCHEME = 'tcp'  # what the address of a host begins with

    def __init__(
        self, family: int = socket.AF_UNSPEC, address: Any = None, sock: Optional[socket.socket] = None,
        secret: Optional[bytes] = None,
    ) -> None:  # fmt: skip
        if (address is None) == (sock is None):
            raise ValueError('either an address or a socket is needed')
        if sock is not None and (not isinstance(sock, socket.socket) or type(sock).recv is not socket.socket.recv):
            # A TLS socket, for one: its descriptor carries what only its methods can read.
            raise TypeError('a plain socket is needed, not {!r}; wrap others in a channel'.format(sock))
        if address is not None and family != socket.AF_UNIX:
            check_port(address[1])
        self._family = family
        self._address = address
        self._sock = sock
        self._secret = secret
        self._timeout: Optional[float] = None
        # Guards what follows, and _sock. A signal handler may cancel what its thread is cancelling, or connecting.
        self._lock = threading.RLock()
        self._cancelled = False
        self._is_connecting = False  # a thread is, and closes the socket itself: nobody else knows when that is unused
        self._is_finished = False
        self._wake: Optional[tuple[socket.socket, socket.socket]] = None  # while a connecting thread waits
        self._label = (
            _describe_address(family, address, self._SCHEME) if sock is None else 'socket {}'.format(sock.fileno())
        )

    def set_timeout(self, seconds: float) -> None:
        self._timeout = seconds

    def begin(self, link: engines.Link) -> None:
        try:
            if self._sock is not None:
                self._start(link, self._sock)
            elif self._family != socket.AF_UNIX or not self._connect_unix_now(link):
                self._is_connecting = True
                engines.spawn(lambda: self._connect_and_start(link))
        except Exception as error:
            self._is_connecting = False
            link.fail(self._name_peer(error))

    def _name_peer(self, error: BaseException) -> BaseException:
        """Return an error that says what could not be connected to; the system's own does not."""
        if self._address is None or not isinstance(error, OSError) or error.errno is None:
            return error
        text = '{} ({})'.format(error.strerror, self._label)
        advice = _advise_connecting(error, self._family, self._address)
        return type(error)(error.errno, text if advice is None else '{}; {}'.format(text, advice))

    def _start(self, link: engines.Link, sock: socket.socket) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.start(sock.fileno(), sock.fileno())

    def _connect_unix_now(self, link: engines.Link) -> bool:
        """Connect without blocking, which is at once for a unix socket; return False when its backlog is full."""
        sock = self._adopt(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.setblocking(False)
        try:
            sock.connect(self._address)
        except BlockingIOError:
            return False
        self._start(link, sock)
        return True

    def _adopt(self, sock: socket.socket) -> socket.socket:
        """Make a socket the channel's own, in place of one that did not connect, unless it was cancelled."""
        with self._lock:
            old, self._sock = self._sock, sock
            cancelled = self._cancelled
        if old is not None:
            old.close()
        if cancelled:
            sock.close()
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        return sock

    def _connect_and_start(self, link: engines.Link) -> None:
        try:
            if self._family == socket.AF_UNIX:
                self._connect_unix_later()
            else:
                self._connect_tcp()
            if self._secret is not None:
                self._prove(self._secret)
            self._secure()
            with self._lock:
                sock = None if self._cancelled else self._sock
                if sock is not None:
                    self._start(link, sock)
        except BaseException as error:
            link.fail(self._name_peer(error))
        finally:
            with self._lock:
                self._is_connecting = False
                is_finished = self._is_finished
            if is_finished:
                self._close()

    def _connect_unix_later(self) -> None:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        sock = self._sock
        assert sock is not None
        while True:
            try:
                return sock.connect(self._address)
            except BlockingIOError:  # poll() does not tell when there is room again
                if not self._wait(None, 0, _RETRY_DELAY) and deadline is not None and time.monotonic() > deadline:
                    raise timed_out() from None

    def _connect_tcp(self) -> None:
        host, port = self._address
        found = socket.getaddrinfo(host, port, self._family, socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(found, 1):
            logger.debug('connecting to %r', address)
            try:
                return self._connect_once(self._adopt(socket.socket(family, kind, protocol)), address)
            except OSError as error:
                if self._cancelled or number == len(found):
                    raise
                logger.debug('connecting to %r failed: %s', address, error)

    def _connect_once(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            if not self._wait(sock, select.POLLOUT, self._timeout):
                raise timed_out()
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _secure(self) -> None:
        """Do what is to be done before the socket is used; OSError when it cannot be used."""

    def _prove(self, secret: bytes) -> None:
        """Exchange proofs of the secret, within the time that connecting may take."""
        from . import secret as _secret  # most connections have none

        sock = self._sock
        assert sock is not None
        deadline = None if self._timeout is None else time.monotonic() + self._timeout

        def receive() -> bytes:
            data = b''
            while _secret.missing(data):
                if not self._wait(sock, select.POLLIN, None if deadline is None else deadline - time.monotonic()):
                    raise timed_out()
                try:
                    part = sock.recv(_secret.missing(data))
                except ConnectionError:
                    part = b''
                if not part:
                    break
                data += part
            return data

        _secret.prove_to_server(secret, sock.sendall, receive)  # a new socket has room for so little

    def _wait(self, sock: Optional[socket.socket], event: int, timeout: Optional[float]) -> bool:
        """Wait for an event of a socket, if one is given; return whether it came in time.

        OSError when the channel is cancelled.
        """
        wake = socket.socketpair()
        try:
            with self._lock:
                cancelled = self._cancelled
                self._wake = wake
            ready: list[tuple[int, int]] = []
            if not cancelled:
                poll = select.poll()
                poll.register(wake[0], select.POLLIN)
                if sock is not None:
                    poll.register(sock, event)
                ready = poll.poll(None if timeout is None else max(1, round(timeout * 1000)))
                cancelled = any(fd == wake[0].fileno() for fd, _ in ready)
            if cancelled:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            return bool(ready)
        finally:
            with self._lock:
                self._wake = None
            wake[0].close()
            wake[1].close()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._wake is not None:
                self._wake[1].send(b'\0')

    def forget(self) -> None:
        if self._sock is not None:
            self._sock.close()

    def finish(self, error: Optional[BaseException]) -> None:
        self.cancel()
        with self._lock:
            self._is_finished = True
            is_connecting = self._is_connecting
        # The thread that connects may look up a name, which nothing can interrupt. It gives up when it comes back.
        if not is_connecting:
            self._close()

    def _close(self) -> None:
        with self._lock:
            sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def __repr__(self) -> str:
        return self._label


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
            except BrokenPipeError:  # nobody reads what its buffer still holds
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


# Ctrl-C at a terminal goes to all processes in the foreground, and is meant for this one, whose connections go on. A
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


def _advise_connecting(error: OSError, family: int, address: Any) -> Optional[str]:
    """Say what to do about an address that cannot be connected to."""
    if family == socket.AF_UNIX:
        scheme, colon, path = os.fsdecode(address).partition(':')
        if colon and scheme in ('unix', 'tcp', 'tls'):
            return 'from_{}() takes {} instead of an address'.format(
                scheme, 'the path ' + ascii(path) if scheme == 'unix' else 'host and port'
            )
    elif isinstance(error, socket.gaierror):
        return 'the host and the port are two arguments' if ':' in str(address[0]) else None
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return 'is acrossd running there?'
    return None


def _describe_address(family: int, address: Any, scheme: str = 'tcp') -> str:
    if family == socket.AF_UNIX:
        path = os.fsdecode(address)
        path = '@' + path[1:] if path.startswith('\0') else path
        return 'unix:' + (path if path.isprintable() else ascii(path)[1:-1])
    host, port = address
    return ('{}:[{}]:{}' if ':' in str(host) else '{}:{}:{}').format(scheme, host, port)


def unix_address(path: Any) -> Any:
    """Return the address of a unix socket: of a path, or of an abstract name, which is written as `@NAME`."""
    path = os.fspath(path)
    if isinstance(path, bytes):
        return b'\0' + path[1:] if path.startswith(b'@') else path
    return '\0' + path[1:] if path.startswith('@') else path


def show(data: bytes) -> None:
    """Write what a program has said to this process's standard error, wherever the program's own may lead."""
    if data and sys.stderr is not None:
        with contextlib.suppress(Exception):  # nobody reads it, or it is closed
            sys.stderr.write(data.decode('utf-8', 'replace'))
            sys.stderr.flush()


def check_port(port: Any) -> None:
    """ValueError when a port is too large: looking up an address takes it for another one."""
    if (isinstance(port, int) or str(port).isdecimal()) and not 0 <= int(port) < 65536:
        raise ValueError('a port must be between 0 and 65535, not {}'.format(port))


def timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
