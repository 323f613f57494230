# SPDX-License-Identifier: MIT
"""Serving connections from Python code, without acrossd.

    across.servers.run_unix('/run/user/1000/across.sock', handler=across.servers.ProcessConnectionHandler())

A handler decides where connections are served: in this process, or in one of their own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, Union

from ._errors import describe_error
from ._log import logger, served_errors
from ._options import Options, take_options
from .channels.sockets import SocketChannel, check_port, describe_address, unix_address
from .serving.served import SIGNALS, ServedConnection, make_command, signals_call, stop

__all__ = [
    'BIOSConnectionHandler',
    'ConnectionHandler',
    'LocalConnectionHandler',
    'ProcessConnectionHandler',
    'run_tcp',
    'run_unix',
]

_SLICE = 0.1  # seconds between checks for interrupts while waiting
_PAUSE = 1.0  # seconds until the next attempt to accept, when descriptors or memory have run out
_EXHAUSTED = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
_BACKLOG = socket.SOMAXCONN  # connections that wait to be accepted
_PROVING = 64  # clients that may be proving a secret at a time: each has a thread meanwhile
_PROVING_TIME = 10.0  # seconds that a client has for it


class ConnectionHandler:
    """Serves connected sockets. Subclasses override the three methods; `with` closes."""

    def handle_socket(self, sock: socket.socket) -> None:
        """Serve a client, which must not block. The socket belongs to the handler unless this raises an exception."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Break all connections, without waiting for anything. close() is still due."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections, and wait until that is done. No sockets are accepted any more."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


class _Handler(ConnectionHandler):
    """Base of the handlers here: it has a member for each connection, and close() waits for the end of all."""

    def __init__(self, options: Optional[Options]) -> None:
        self._options = take_options(options)
        self._condition = threading.Condition()  # guards what follows; notified when a member has ended
        self._end: Optional[str] = None  # how it was ended
        self._members: set[Any] = set()
        self._servers: set[Callable[[], None]] = set()  # what wakes those that accept connections for it
        self._is_interrupted = False  # by Ctrl-C, while it is closed

    def handle_socket(self, sock: socket.socket) -> None:
        with self._condition:
            if self._end is not None:
                raise ValueError('Connection handler is {}'.format(self._end))
            self._members.add(self._start(sock))

    def _start(self, sock: socket.socket) -> Any:
        """Return the member that serves the client. It must not be removed in this thread."""
        raise NotImplementedError

    def _forget(self, member: Any) -> None:
        with self._condition:
            self._members.discard(member)
            self._condition.notify_all()

    def _finish(self, end: str) -> list[Any]:
        """Accept no more connections, and return the members."""
        with self._condition:
            if self._end != 'closed':
                self._end = end
            for wake in self._servers:
                wake()
            logger.info('the handler is %s; connections: %d', end, len(self._members))
            return list(self._members)

    def _wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until all members have ended; return whether they have."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while self._members and (end is None or time.monotonic() < end):
                self._condition.wait(_SLICE if end is None else max(0, min(_SLICE, end - time.monotonic())))
                self._check_interrupt()
            return not self._members

    def _interrupt(self) -> None:
        """Have close() raise KeyboardInterrupt at a safe point. For a signal handler."""
        self._is_interrupted = True

    def _check_interrupt(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _serving(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called when the handler is closed or cancelled."""
        with self._condition:
            self._servers.add(wake)
            if self._end is not None:
                wake()
        try:
            yield
        finally:
            with self._condition:
                self._servers.discard(wake)


class LocalConnectionHandler(_Handler):
    """Serves all connections in this process: they share its modules. Calls run in threads of their own."""

    def __init__(self, *, options: Optional[Options] = None) -> None:
        super().__init__(options)
        if self._options.accept_exported_modules:
            raise ValueError('Cannot import modules over multiple connections')

    def _start(self, sock: socket.socket) -> Any:
        return ServedConnection(SocketChannel(sock=sock), options=self._options, on_end=self._forget)

    def cancel(self) -> None:
        for conn in self._finish('cancelled'):
            conn.cancel()

    def close(self) -> None:
        # Closing also waits for the client's GOODBYE.
        threads = [threading.Thread(target=stop, args=(conn,), daemon=True) for conn in self._finish('closed')]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_SLICE)
                self._check_interrupt()
        self._wait()


class _ChildHandler(_Handler):
    """Serves each connection in a process of its own, whose standard output is discarded.

    close() waits for these processes as long as the option `timeout` says, and kills what is left.
    """

    def __init__(self, *, options: Optional[Options] = None) -> None:
        super().__init__(options)
        if not sys.executable:
            raise RuntimeError('sys.executable does not say which Python to start')
        self._interrupted: set[subprocess.Popen[bytes]] = set()  # those that were interrupted; guarded by _condition

    def _make_command(self, fd: int) -> Sequence[str]:
        raise NotImplementedError

    def _start(self, sock: socket.socket) -> Any:
        # The child unblocks signals when it can handle them, and not while it is still importing.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            proc = subprocess.Popen(
                self._make_command(sock.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[sock.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        logger.info('process %d serves a connection', proc.pid)
        threading.Thread(target=self._watch, args=(proc,), name='across-watcher', daemon=True).start()
        sock.close()
        return proc

    def _watch(self, proc: subprocess.Popen[bytes]) -> None:
        status = proc.wait()
        if status == 0 or self._end is not None:
            logger.info('process %d ended with status %d', proc.pid, status)
        else:
            served_errors.error('process %d, which served a connection, ended with status %d', proc.pid, status)
        self._forget(proc)

    def cancel(self) -> None:
        for proc in self._finish('cancelled'):
            proc.kill()

    def close(self) -> None:
        for proc in self._finish('closed'):
            self._stop_child(proc)
        if not self._wait(self._options.timeout):
            for proc in self._finish('closed'):
                logger.error('killing process %d, which did not end', proc.pid)
                proc.kill()
            self._wait()

    def _stop_child(self, proc: subprocess.Popen[bytes]) -> None:
        """Interrupt a process, once: a second signal might hit it while it exits, and print a traceback."""
        with self._condition:
            if proc in self._interrupted:
                return
            self._interrupted.add(proc)
        proc.send_signal(signal.SIGINT)


class ProcessConnectionHandler(_ChildHandler):
    """Serves each connection in a Python process of its own. What it prints to standard output is discarded.

    close() waits for these processes as long as the option `timeout` says, and kills those that have not ended.
    """

    def __init__(self, *, options: Optional[Options] = None) -> None:
        super().__init__(options=options)
        self._make_command(-1)  # raises now for options that cannot be pickled, and not for each client

    def _make_command(self, fd: int) -> Sequence[str]:
        return make_command(fd, self._options)


# What a Python without the package does for a client: it asks for the package, and runs it (docs/protocol.md).
_BARE = """
import signal, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
sock.set_inheritable(False)
sock.settimeout(float(sys.argv[2]) or None)
def receive(size):
    data = b''
    while len(data) < size:
        data += sock.recv(size - len(data)) or sys.exit(1)
    return data
ACROSS = 'socket', sock
try:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
    sock.sendall(bytes.fromhex('e54e6d01 000100 000000000000000000'))
    exec(receive(int.from_bytes(receive(20)[16:], 'big')))
except KeyboardInterrupt:
    pass
finally:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
"""


class BIOSConnectionHandler(_ChildHandler):
    """Serves each connection in a bare Python process, which gets the package across from its client.

    So the client decides on the version, and may export modules. Otherwise as :class:`ProcessConnectionHandler`.
    """

    def _make_command(self, fd: int) -> Sequence[str]:
        return [sys.executable, '-c', _BARE, str(fd), str(self._options.timeout or 0)]


def run_tcp(
    host: str, port: Union[int, str], *, handler: Optional[ConnectionHandler] = None, secret_file: Any = None
) -> None:
    """Serve connections over TCP, until Ctrl-C, SIGTERM, or the handler is closed; then close the handler.

    Without a handler it is a :class:`LocalConnectionHandler`. SIGINT and SIGTERM end it in the main thread alone, and
    where the program has no handlers of its own for them. Whoever can connect can run any code.

    With a `secret_file`, as for :meth:`across.Connection.from_tcp`, that is whoever knows the secret in it: clients
    prove that they do before the handler gets them, in a thread of its own.
    """
    secret = None
    if secret_file is not None:
        from .channels.secret import read_secret  # most servers have none

        secret = read_secret(secret_file)
    _run(_listen_tcp(host, port), handler, secret)


def run_unix(path: Any, *, handler: Optional[ConnectionHandler] = None, mode: int = 0o600) -> None:
    """Serve connections over a unix domain socket, which is removed in the end. Otherwise as :func:`run_tcp`.

    A socket that an earlier server has left behind is replaced. Its file has the permissions `mode`, whatever the
    umask: unless it says otherwise, none but this process's user and root may connect.

    `@NAME` is an abstract name, and no file. No permissions guard it: it serves the user of this process and root, and
    nobody else.
    """
    path = unix_address(path)
    if not path or path[0] in ('\0', 0):  # a name that is no file
        return _run(_bind(socket.AF_UNIX, path), handler, is_own=True)
    if mode & ~0o777:
        raise ValueError('mode must be permissions from 0 to 0o777, not {:#o}'.format(mode))
    _remove_stale(path)
    sock = _bind(socket.AF_UNIX, path, mode)
    status = os.lstat(path)
    try:
        _run(sock, handler)
    finally:
        with contextlib.suppress(FileNotFoundError):
            now = os.lstat(path)
            if (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino):
                os.unlink(path)


def _listen_tcp(host: str, port: Union[int, str]) -> socket.socket:
    """Listen at the first address of a host that allows it."""
    check_port(port)
    found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    for number, (family, _, _, _, address) in enumerate(found, 1):
        try:
            return _bind(family, address)
        except OSError:
            if number == len(found):
                raise
    raise OSError('{!r} has no address'.format(host))


def _bind(family: int, address: Any, mode: Optional[int] = None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if mode is not None:
            os.fchmod(sock.fileno(), mode)  # the mode of the file that bind() creates, less the umask
        sock.bind(address)
        if mode is not None:
            _give_mode(address, mode)  # no client can connect before listen()
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _give_mode(path: Any, mode: int) -> None:
    """Give a socket's file the permissions that the umask took; no link is followed, and no other file changed."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        if stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) != mode:
            os.chmod('/proc/self/fd/{}'.format(fd), mode)
    finally:
        os.close(fd)


def _describe(family: int, address: Any) -> str:
    return describe_address(family, address if family == socket.AF_UNIX else address[:2])


def _remove_stale(path: Any) -> None:
    """Remove a stale socket file: one that no server listens at. Nothing else is removed."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, 'The file is not a socket', path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(path)
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EADDRINUSE, 'The socket is in use', path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _run(
    sock: socket.socket, handler: Optional[ConnectionHandler], secret: Optional[bytes] = None, is_own: bool = False
) -> None:
    """Accept connections until there is reason to stop. The socket is closed, and so is the handler.

    `is_own`: of other users than this process's and root, none may connect.
    """
    try:
        with sock:
            handler = LocalConnectionHandler() if handler is None else handler
            take = handler.handle_socket if secret is None else _Doorkeeper(handler, secret).take
            _accept_all(sock, handler, _take_own(take) if is_own else take)
    finally:
        if handler is not None:
            _close(handler)


def _take_own(take: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def check_and_take(sock: socket.socket) -> None:
        uid = struct.unpack('iII', sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (os.geteuid(), 0):
            raise PermissionError('user {} may not connect'.format(uid))
        take(sock)

    return check_and_take


class _Doorkeeper:
    """Has clients prove that they know a secret, before a handler gets them: each in a thread of its own.

    When there are too many at a time, the oldest one that has sent nothing is disconnected, or else the oldest, so that
    clients that know the secret always get through.
    """

    def __init__(self, handler: ConnectionHandler, secret: bytes) -> None:
        self._handler = handler
        self._secret = secret
        self._lock = threading.Lock()  # guards what follows
        self._proving: list[socket.socket] = []  # oldest first
        self._begun: set[socket.socket] = set()  # of these, those that have sent something

    def take(self, sock: socket.socket) -> None:
        with self._lock:
            if len(self._proving) >= _PROVING:
                oldest = next((other for other in self._proving if other not in self._begun), self._proving[0])
                with contextlib.suppress(OSError):  # the client has disconnected
                    oldest.shutdown(socket.SHUT_RDWR)
                self._proving.remove(oldest)
            self._proving.append(sock)
        try:
            threading.Thread(target=self._admit, args=(sock,), name='across-doorkeeper', daemon=True).start()
        except BaseException:
            self._forget(sock)
            raise

    def _admit(self, sock: socket.socket) -> None:
        try:
            try:
                self._demand_proof(sock)
                sock.settimeout(None)
            finally:
                self._forget(sock)
            self._handler.handle_socket(sock)
        except Exception as error:
            served_errors.error('cannot serve a connection: %s', describe_error(error))
            with contextlib.suppress(OSError):  # unread bytes would cause a reset, which may destroy the answer
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(0)
                sock.recv(4096)
            sock.close()

    def _forget(self, sock: socket.socket) -> None:
        with self._lock:
            self._begun.discard(sock)
            if sock in self._proving:
                self._proving.remove(sock)

    def _demand_proof(self, sock: socket.socket) -> None:
        from .channels import secret as _secret

        deadline = time.monotonic() + _PROVING_TIME

        def receive() -> bytes:
            data = b''
            while _secret.missing(data):
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                part = sock.recv(_secret.missing(data))
                if not part:
                    break
                with self._lock:
                    self._begun.add(sock)
                data += part
            return data

        _secret.demand_of_client(self._secret, sock.sendall, receive)


def _close(handler: ConnectionHandler) -> None:
    """Close a handler; Ctrl-C breaks what that waits for.

    KeyboardInterrupt may come between any two steps of `threading.Condition`, which then leaves its lock in disorder:
    so our own handlers raise it themselves.
    """
    try:
        if isinstance(handler, _Handler):
            with signals_call(handler._interrupt, [signal.SIGINT]):
                handler.close()
        else:
            handler.close()
    except KeyboardInterrupt:
        handler.cancel()
        raise


class _Bell:
    """A socket pair that wakes a poll from any thread, or a signal handler."""

    def __init__(self) -> None:
        self.ear, self.hand = socket.socketpair()
        self.ear.setblocking(False)
        self.hand.setblocking(False)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a wake-up is pending
            self.hand.send(b'\0')

    def listen(self) -> bool:
        """Return whether it was rung since the last call."""
        try:
            return bool(self.ear.recv(4096))
        except BlockingIOError:
            return False

    def __enter__(self) -> _Bell:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.ear.close()
        self.hand.close()


@contextlib.contextmanager
def _signals_ring(bell: _Bell) -> Iterator[None]:
    """Have signals ring. Their handlers run in Python, which a poll keeps from running when it has just begun."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _wakeup_fd
    outer = signal.set_wakeup_fd(bell.hand.fileno(), warn_on_full_buffer=False)
    if outer != -1:  # the program has set one itself
        signal.set_wakeup_fd(outer)
    else:
        _wakeup_fd = bell.hand.fileno()
    try:
        yield
    finally:
        if outer == -1:
            _wakeup_fd = -1
            signal.set_wakeup_fd(-1)


_wakeup_fd = -1  # that this module has set


def _forget_wakeup_fd() -> None:
    """In a forked child: its signals must not wake the parent, which has the other end."""
    global _wakeup_fd
    if _wakeup_fd != -1:
        signal.set_wakeup_fd(-1)
    _wakeup_fd = -1


os.register_at_fork(after_in_child=_forget_wakeup_fd)


def _accept_all(
    sock: socket.socket, handler: ConnectionHandler, take: Callable[[socket.socket], None]
) -> None:  # fmt: skip
    """Accept connections until the handler or a signal ends that."""
    sock.setblocking(False)
    with contextlib.ExitStack() as stack:
        end, signals = stack.enter_context(_Bell()), stack.enter_context(_Bell())
        if isinstance(handler, _Handler):
            stack.enter_context(handler._serving(end.ring))
        stack.enter_context(_signals_ring(signals))
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))  # from a handler of the program's own
        stack.enter_context(signals_call(end.ring))
        logger.info('listening on %s', _describe(sock.family, sock.getsockname()))
        while not end.listen():
            waits = [end.ear, signals.ear]
            if _accept(sock, take):
                _wait_for([*waits, sock])
            else:
                _wait_for(waits, _PAUSE)
            signals.listen()
    logger.info('accepts no more connections')


def _wait_for(socks: Sequence[socket.socket], seconds: Optional[float] = None) -> None:
    """Wait until something can be read."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    poll.poll(None if seconds is None else seconds * 1000)


def _accept(sock: socket.socket, take: Callable[[socket.socket], None]) -> bool:
    """Accept a connection, if there is one. Returns whether it makes sense to try again at once."""
    try:
        client, address = sock.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return True
    except OSError as error:
        if error.errno not in _EXHAUSTED:
            raise
        logger.error('cannot accept connections: %s', describe_error(error))
        return False
    logger.info('accepted a connection from %s', _describe(sock.family, address) if address else 'a local process')
    try:
        take(client)
    except Exception as error:
        served_errors.error('cannot serve a connection: %s', describe_error(error))
        client.close()
    return True
