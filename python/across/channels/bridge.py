# SPDX-License-Identifier: MIT
"""Channels written in Python. A socket pair connects each to the engine; two threads copy between both."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, Optional

from .. import engines
from .._errors import describe_error
from .._log import logger

_BUFFER_SIZE = 256 * 1024
_MAX_PATIENCE = 60.0  # seconds that finish() waits for a channel that neither sends nor reacts to cancel()


class Transport:
    """What a Connection needs from a channel.

    A transport's life: `set_timeout`, `begin`, then `cancel` from any thread and at any time, then `finish`, in a
    thread of the engine, when the link has closed its descriptors. The engine works on duplicates; the channel keeps
    its own until `finish`.
    """

    max_preamble = 0  # bytes that may come before the peer speaks

    def set_timeout(self, seconds: float) -> None:
        """Called first, unless there is no timeout."""

    def begin(self, link: engines.Link) -> None:
        """Have `link.start` or `link.fail` called. Never blocks, never raises."""
        raise NotImplementedError

    def cancel(self) -> None:
        """The link was cancelled. Never blocks, never raises; any thread."""

    def forget(self) -> None:
        """In a child made by fork(), which has copies of it all: close descriptors and nothing else. Takes no lock."""

    def finish(self, error: Optional[BaseException]) -> None:
        """The link has ended, and closed its duplicates of the descriptors. Free everything; may block, and raise."""


class Channel:
    """A base for channels written in Python. :class:`across.Connection` says what the methods are for."""

    def set_timeout(self, seconds: float) -> None:
        pass

    def connect(self) -> None:
        pass

    def recv_into(self, buffer: memoryview) -> int:
        raise NotImplementedError

    def send(self, buffer: memoryview) -> int:
        raise NotImplementedError

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


def _check_size(size: Any, least: int, most: int) -> int:
    if not isinstance(size, int):
        raise TypeError('a channel must say how many bytes it carried, not {!r}'.format(size))
    if not least <= size <= most:
        raise ValueError('a channel that is given {} bytes cannot have carried {}'.format(most, size))
    return size


class Bridge(Transport):
    """Carries bytes between a channel written in Python and the engine."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._patience = _MAX_PATIENCE
        self._connected = threading.Event()  # connect() and what belongs to it has returned, for better or worse
        self._connected.set()
        self._lock = threading.RLock()  # guards _cancelled; a signal handler may cancel what its thread is cancelling
        self._cancelled = False
        self._sock: Optional[socket.socket] = None  # our end
        self._reader: Optional[threading.Thread] = None
        self._writer: Optional[threading.Thread] = None

    def set_timeout(self, seconds: float) -> None:
        self._channel.set_timeout(seconds)
        self._patience = min(seconds, _MAX_PATIENCE)

    def begin(self, link: engines.Link) -> None:
        self._connected.clear()
        try:
            engines.spawn(lambda: self._connect(link))
        except Exception as error:
            self._connected.set()
            link.fail(error)

    def _connect(self, link: engines.Link) -> None:
        try:
            if not self._cancelled:
                self._channel.connect()
            if not self._cancelled:
                self._start(link)
        except BaseException as error:
            link.fail(error)
        finally:
            self._connected.set()

    def _start(self, link: engines.Link) -> None:
        ours, theirs = socket.socketpair()
        self._sock = ours
        with theirs:
            link.start(theirs.fileno(), theirs.fileno())
        self._reader = threading.Thread(target=self._read, args=(link, ours), name='across-reader', daemon=True)
        self._writer = threading.Thread(target=self._write, args=(link, ours), name='across-writer', daemon=True)
        self._reader.start()
        self._writer.start()

    def _read(self, link: engines.Link, sock: socket.socket) -> None:
        buffer = memoryview(bytearray(_BUFFER_SIZE))
        while True:
            try:
                size = _check_size(self._channel.recv_into(buffer), 0, len(buffer))
            except BaseException as error:
                self._end(link, sock, socket.SHUT_WR, error)
                return
            if size == 0:
                self._end(link, sock, socket.SHUT_WR)
                return
            try:
                sock.sendall(buffer[:size])
            except OSError:  # the link has ended
                return

    def _write(self, link: engines.Link, sock: socket.socket) -> None:
        buffer = memoryview(bytearray(_BUFFER_SIZE))
        while True:
            try:
                size = sock.recv_into(buffer)
            except OSError:
                return
            if size == 0:
                return
            data = buffer[:size]
            try:
                while data:
                    data = data[_check_size(self._channel.send(data), 1, len(data)) :]
            except (BrokenPipeError, ConnectionResetError):  # what the peer said before it went is still to be read
                self._end(link, sock, socket.SHUT_RD)
                return
            except BaseException as error:
                try:
                    self._end(link, sock, socket.SHUT_RD, error)
                finally:
                    self.cancel()  # the peer may be there, and would wait: recv_into() is to come to its end
                return

    @staticmethod
    def _end(link: engines.Link, sock: socket.socket, how: int, error: Optional[BaseException] = None) -> None:
        """No more bytes go this way: the link finds that, and why, when it has taken all that came before."""
        try:
            if error is not None:
                link.fail_at_end(error)
        finally:
            with contextlib.suppress(OSError):  # the link has ended
                sock.shutdown(how)

    def cancel(self) -> None:
        with self._lock:
            cancelled, self._cancelled = self._cancelled, True
        if cancelled:
            return
        try:
            self._channel.cancel()
        except Exception as error:
            logger.error('cancel() of %r failed: %s', self._channel, describe_error(error))

    def finish(self, error: Optional[BaseException]) -> None:
        if error is not None or not self._connected.is_set():
            self.cancel()
        self._connected.wait()
        if self._writer is not None and self._reader is not None:
            if not self._cancelled:
                self._writer.join(self._patience)  # what the link sent last is still on its way
            # A reader that has something to deliver finds that the link is gone; one that waits needs to be told.
            if self._writer.is_alive() or self._reader.is_alive():
                self.cancel()
            for thread in (self._writer, self._reader):
                thread.join(self._patience)
        if self._sock is not None:
            self._sock.close()
        self._channel.close()

    def __repr__(self) -> str:
        return repr(self._channel)
