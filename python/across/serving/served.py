# SPDX-License-Identifier: MIT
"""Connections that this side accepts, and the process that serves one of them for a ProcessConnectionHandler."""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable, Optional

from .._connection import Connection
from .._errors import describe_error
from .._log import get_debug_level, logger, served_errors, set_debug_level
from .._options import Options

SIGNALS = frozenset([signal.SIGINT, signal.SIGTERM])  # that end servers and served connections
_MAIN = 'from across.serving.served import main; main()'


class ServedConnection(Connection):
    """An accepted connection: the other side sends its superblock first, and is answered in its version."""

    __slots__ = ('_on_end',)

    _is_acceptor = True
    _log_error = served_errors.error
    _on_end: Optional[Callable[[ServedConnection], object]]

    def __init__(
        self, channel: Any, *, options: Optional[Options] = None,
        on_end: Optional[Callable[[ServedConnection], object]] = None,
    ) -> None:  # fmt: skip
        self._on_end = on_end
        super().__init__(channel, options=options)

    def _link_finished(self) -> None:
        super()._link_finished()
        if self._on_end is not None:
            self._on_end(self)


def stop(conn: Connection) -> None:
    """Close a connection in an orderly way if it is made already, and do not wait for one that is being made."""
    try:
        if conn._link.minor is None:
            conn.cancel()
        conn.close()
    except Exception as error:
        logger.debug('%r ended with an error: %s', conn, describe_error(error))


_DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_handlers: dict[int, Any] = {}  # that were set here


def _handle(number: int, func: Callable[[], object]) -> None:
    """Have a signal call a function in this process, and not in those that are forked from it."""
    _handlers[number] = lambda *_: func()
    signal.signal(number, _handlers[number])


class _Forking(threading.local):
    mask: Optional[set[Any]] = None  # the signal mask of this thread, which is in the middle of a fork


_forking = _Forking()


def _before_fork() -> None:
    """Block signals: Python drops those that arrive in a child before _after_fork_in_child() has run."""
    if _handlers:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_fork() -> None:
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    """Restore the default handlers: a child does not serve its parent's connections."""
    for number, handler in _handlers.items():
        if signal.getsignal(number) is handler:
            signal.signal(number, _DEFAULTS[number])
    _handlers.clear()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


@contextlib.contextmanager
def signals_call(func: Callable[[], object], numbers: Iterable[int] = SIGNALS) -> Iterator[None]:
    """Have SIGINT and SIGTERM call a function, in the main thread, as far as the program has no handlers of its own."""
    replaced = []
    if threading.current_thread() is threading.main_thread():
        replaced = [number for number in numbers if signal.getsignal(number) == _DEFAULTS[number]]
    for number in replaced:
        _handle(number, func)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, _DEFAULTS[number])


class Stopper:
    """A signal handler that closes a connection; the second signal cancels it without waiting."""

    def __init__(self, conn: Optional[Connection] = None) -> None:
        self.conn = conn  # None until there is one
        self._thread = threading.Thread(target=self._stop, daemon=True)
        self._was_called = False  # these two are used by the main thread only, which runs signal handlers
        self._is_over = False  # signals have no effect any more

    def __call__(self) -> None:
        if self._is_over:
            return
        if self.conn is None:
            raise KeyboardInterrupt
        if not self._was_called:
            self._was_called = True  # first: the next signal may interrupt what follows
            self._thread.start()
        else:
            self.conn.cancel()

    def was_called(self) -> bool:
        """Whether the connection was closed by it."""
        return self._was_called

    def _stop(self) -> None:
        assert self.conn is not None
        stop(self.conn)

    def wait_for_end(self) -> None:
        """Wait until the connection has ended, in whatever way; raise what broke it."""
        assert self.conn is not None
        try:
            self.conn.wait()
            self.conn.close()
        finally:
            self._is_over = True
            self.join()

    def join(self) -> None:
        """Wait for the closing that a signal has begun."""
        if self.was_called():
            self._thread.join()


def make_command(fd: int, options: Options) -> Sequence[str]:
    """Return the command that serves the connected socket `fd`. It reports no error if the rate limit is exhausted."""
    state = base64.b64encode(pickle.dumps((get_debug_level(), options, served_errors.is_exhausted()))).decode('ascii')
    return [sys.executable, '-c', _MAIN, str(fd), state]


def main() -> None:
    """Serve one connection. The process was started with its signals blocked."""
    level, options, is_quiet = pickle.loads(base64.b64decode(sys.argv[2]))
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    del sys.argv[1:]
    set_debug_level(level)
    try:
        _serve(sock, options)
    except KeyboardInterrupt:
        pass  # interrupted before there was a connection
    except Exception as error:
        sys.exit(1 if is_quiet else 'across: the connection broke: ' + describe_error(error))


def _serve(sock: socket.socket, options: Options) -> None:
    stopper = Stopper()
    for number in SIGNALS:
        _handle(number, stopper)
    # Before the engine starts: what is blocked then is so in the threads that run calls, and in what calls start.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        stopper.conn = ServedConnection.from_socket(sock, options=options)
        stopper.wait_for_end()
    finally:  # the process ends anyway
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
