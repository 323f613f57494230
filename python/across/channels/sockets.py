# SPDX-License-Identifier: MIT
"""Connections over stream sockets, which give their descriptors to the engine, and the addresses of sockets."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from typing import Any, Optional

from .. import engines
from .._log import logger
from .bridge import Transport

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
        self._is_connecting = False  # in a thread, which then also closes the socket
        self._is_finished = False
        self._wake: Optional[tuple[socket.socket, socket.socket]] = None  # while a connecting thread waits
        self._label = (
            describe_address(family, address, self._SCHEME) if sock is None else 'socket {}'.format(sock.fileno())
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
            except BlockingIOError:  # poll() does not report when the backlog has room again
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

        _secret.prove_to_server(secret, sock.sendall, receive)  # never blocks: it fits into the buffer of a new socket

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


def describe_address(family: int, address: Any, scheme: str = 'tcp') -> str:
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


def check_port(port: Any) -> None:
    """ValueError when a port is too large: looking up an address takes it for another one."""
    if (isinstance(port, int) or str(port).isdecimal()) and not 0 <= int(port) < 65536:
        raise ValueError('a port must be between 0 and 65535, not {}'.format(port))


def timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
