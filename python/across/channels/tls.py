# SPDX-License-Identifier: MIT
"""Connections over TLS: Python's `ssl` module encrypts, in the two threads of a bridge (bridge.py)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import threading
import time
from typing import Any, Optional, Union

from .. import engines
from .bridge import Bridge, Channel
from .sockets import SocketChannel, timed_out

_Path = Union[None, str, bytes, 'os.PathLike[str]', 'os.PathLike[bytes]']
_ALERT = 'ALERT_'  # in the names of reasons that the peer has given
_OF_PLAIN_SERVERS = ('WRONG_VERSION_NUMBER', 'UNEXPECTED_EOF_WHILE_READING')
_NOT_TLS = '; does this server speak TLS? Connection.from_tcp() connects without'


def make_context(cafile: _Path = None, certfile: _Path = None, keyfile: _Path = None) -> ssl.SSLContext:
    """Return a context that verifies a server's certificate and its name, and speaks nothing older than TLS 1.3.

    OSError, of which ssl.SSLError is a kind, when a file cannot be read or used.
    """
    try:
        context = ssl.create_default_context(cafile=cafile if cafile is None else os.fspath(cafile))
    except OSError as error:
        raise _name_file(error, cafile) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if certfile is not None:
        _load_certificate(context, certfile, keyfile)
    elif keyfile is not None:
        raise ValueError('a keyfile belongs to a certfile, and there is none')
    return context


def _load_certificate(context: ssl.SSLContext, certfile: Any, keyfile: _Path) -> None:
    for path in (certfile, keyfile):  # the error of load_cert_chain() does not tell which of them is missing
        if path is not None:
            with open(path, 'rb'):
                pass
    try:
        context.load_cert_chain(certfile, keyfile, password=_refuse_to_ask)
    except ssl.SSLError as error:
        raise _name_file(error, certfile if keyfile is None else keyfile) from None


def _refuse_to_ask() -> str:
    # OpenSSL would ask on the terminal, if there is one.
    raise ValueError('the key is locked with a passphrase: load it into an ssl_context, which can be given one')


def _name_file(error: OSError, path: _Path) -> OSError:
    if not isinstance(error, ssl.SSLError):
        return type(error)(error.errno, error.strerror, path)
    return _with_text(error, '{} ({!r})'.format(error.strerror, path))


def _with_text(error: OSError, text: str) -> OSError:
    """Return the same error with another text."""
    named = type(error)(error.errno, text)
    for name in ('library', 'reason', 'verify_code', 'verify_message'):  # of an ssl.SSLError
        if hasattr(error, name):
            setattr(named, name, getattr(error, name))
    return named


def _may_be_plain(error: BaseException, is_secured: Optional[bool]) -> bool:
    """Whether a handshake failed as it does where the server does not speak TLS."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError) or error.reason in _OF_PLAIN_SERVERS
    return is_secured is False and isinstance(error, ConnectionError)


class TlsChannel(SocketChannel):
    """A TCP connection to a server over which TLS is spoken."""

    _SCHEME = 'tls'

    def __init__(self, host: str, port: Union[int, str], context: ssl.SSLContext) -> None:
        super().__init__(socket.AF_UNSPEC, (host, port))
        self._context = context
        self._is_secured: Optional[bool] = None  # False while the TLS handshake goes on
        self._bridge: Optional[Bridge] = None

    def _secure(self) -> None:
        plain = self._sock
        assert plain is not None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = self._address[0].partition('%')[0]  # a scope id has a meaning on this host only
        sock = self._context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        self._adopt(sock)
        self._is_secured = False
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            try:
                sock.do_handshake()
                self._is_secured = True
                return
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            if not self._wait(sock, event, None if deadline is None else deadline - time.monotonic()):
                raise timed_out()

    def _start(self, link: engines.Link, sock: Any) -> None:
        self._bridge = Bridge(_Stream(sock))
        if self._timeout is not None:
            self._bridge.set_timeout(self._timeout)
        self._bridge.begin(link)

    def _name_peer(self, error: BaseException) -> BaseException:
        if not isinstance(error, ssl.SSLError):
            named = super()._name_peer(error)
            if isinstance(named, OSError) and _may_be_plain(error, self._is_secured):
                return _with_text(named, str(named.strerror) + _NOT_TLS)
            return named
        text = '{} ({})'.format(error.strerror, self)
        return _with_text(error, text + _NOT_TLS if _may_be_plain(error, self._is_secured) else text)

    def cancel(self) -> None:
        super().cancel()
        if self._bridge is not None:
            self._bridge.cancel()

    def finish(self, error: Optional[BaseException]) -> None:
        super().cancel()  # from now on no bridge is made
        if self._bridge is not None:
            self._bridge.finish(error)
        super().finish(error)


class _Stream(Channel):
    """A TLS socket after its handshake. It belongs to the TlsChannel."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._lock = threading.Lock()  # an SSL object must be used by one thread at a time
        self._wake, self._waker = socket.socketpair()
        # Guards closing those two. A signal handler may cancel what its thread is cancelling, or closing.
        self._wake_lock = threading.RLock()

    def recv_into(self, buffer: memoryview) -> int:
        while True:
            try:
                with self._lock:
                    return self._sock.recv_into(buffer)
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except ssl.SSLError as error:
                raise _explain(error) from None
            self._wait_for(event)

    def send(self, buffer: memoryview) -> int:
        while True:
            try:
                with self._lock:
                    return self._sock.send(buffer)
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except (ConnectionError, ssl.SSLError):
                # The peer receives nothing more. The reason, and what it sent before, is read by recv_into().
                return len(buffer)
            self._wait_for(event)

    def _wait_for(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._sock, event)
        if any(fd == self._wake.fileno() for fd, _ in poll.poll()):
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    def cancel(self) -> None:
        with self._wake_lock, contextlib.suppress(OSError):  # it has ended already
            self._waker.send(b'\0')

    def close(self) -> None:
        self._say_goodbye()
        with self._wake_lock:
            self._wake.close()
            self._waker.close()

    def _say_goodbye(self) -> None:
        """Send close_notify, if the peer can take it now."""
        with contextlib.suppress(OSError, ValueError):
            self._sock.unwrap()


def _explain(error: ssl.SSLError) -> OSError:
    """In TLS 1.3 a server looks at the client's certificate when the client's handshake is over already."""
    if _ALERT not in (error.reason or ''):
        return error
    alert = error.reason.rpartition(_ALERT)[2].replace('_', ' ').lower()
    return _with_text(error, 'The server refused this certificate, or there is none: {}'.format(alert))
