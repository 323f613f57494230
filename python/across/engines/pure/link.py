# SPDX-License-Identifier: MIT
"""The engine in Python alone, for where the extension module is missing, and for hosts that have nothing but Python.

docs/engine.md says what an engine offers, docs/protocol.md what travels, docs/engines.md how this one differs from the
native one. One file that needs the standard library and nothing else, not even the package: `install` hands it that.

One thread, the loop, reads and writes the streams of all links, and it alone touches their sessions. Other threads give
it tasks and wait for what becomes of them. So there is no lock around anything that a link knows, and a
KeyboardInterrupt, which hits the main thread anywhere, finds nothing half done. Calls of the peers run in threads of
the executor.

    _Session    the wire: bytes and commands in, bytes and messages out. No thread, no stream
    _Stream     two descriptors
    _Objects    what the peer may refer to, and in which order it may be forgotten
    _Executor   threads for calls
    _Loop       the thread that drives everything
    Link        one connection, as the package sees it
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import errno
import fcntl
import itertools
import math
import os
import pickle
import select
import socket
import stat
import struct
import threading
import types
from collections.abc import Generator, Iterable, Iterator
from time import monotonic as now
from typing import Any, Callable, NoReturn, Optional, Union

name = 'pure'

_MAGIC = 0xE35B9E78
_MAGIC_BOOTSTRAP = 0xE54E6D01
_LEVEL = 1  # of the extension
_MAX_HEARD = 64  # bytes that are enough to see what they look like
_REASON = 1  # feature: GOODBYE says why
_DESCRIBED = 32  # feature: what becomes a proxy may say more than its methods
_LIMITS = 64  # feature: GREETING tells how much its sender takes in one message
_DETAILS = 128  # feature: exceptions may carry more than pickle makes of them
_FEATURES = _REASON | _DESCRIBED | _LIMITS | _DETAILS
_OLDEST_MINOR, _NEWEST_MINOR = 1, 2

_GREETING, _APPLY, _RESULT, _GOODBYE, _DEL_OBJS, _IDLE = range(6)
_SUCCESS, _ERROR, _OPERATION_ERROR = 2, 3, 4

# States of a session, forward only.
_SUPERBLOCK, _GREET, _READY, _CLOSING, _CLOSED, _FAILED = range(6)
# Phases of a link, forward only.
_STARTING, _RUNNING, _STOPPING, _FINISHED = range(4)

# The limits of docs/protocol.md, section 7; protocol/session.c has the reasons.
_MAX_MESSAGE = 1 << 30
_MAX_HEAD = 1 << 20
_MAX_FRAMES = 1024
_MAX_IDS = 65536
_MAX_ID = (1 << 64) - 1
_MAX_CALLS = 1024
_MAX_QUEUED = 16 << 20
_MAX_TIMEOUT_MS = 86400000
_MAX_REASON = 255
_MAX_TEXT = 4096
_IDLE_FLOOR = 0.05  # seconds between two IDLE
_CLOSE_PATIENCE = 60.0  # seconds for the peer's GOODBYE, when there is no timeout
_IDS_IN_MESSAGE = 1024

_MAX_OBJECTS = 1000000  # that one peer holds
_MAX_THREADS = 256  # that run calls
_SERVICE_THREADS = 2  # more, for short work of the engine
_ENDING_THREADS = 64  # more, for ends of links
_MAX_WAITING_CALLS = 65536
_THREAD_PATIENCE = 10.0  # seconds without work, after which a thread ends
_COPIED = 4096  # bytes of a payload that is sent in one piece with its head
_READ_SIZE = 256 << 10
_READS = 16  # of one stream, before others get their turn
_WRITE_BUDGET = 4 << 20  # the same for writing, in bytes
_SEND_FLAGS = getattr(socket, 'MSG_NOSIGNAL', 0)  # macOS lacks it; Python ignores SIGPIPE unless told otherwise

_Bytes = Union[bytes, bytearray, memoryview]
_Receiver = Generator[int, bytearray, None]

_hooks = types.SimpleNamespace()  # what install() was given


class _Broken(Exception):
    """The peer broke the protocol, or the connection has to end for another reason. `error` is what users see."""

    def __init__(self, error: BaseException, reason: Optional[str] = None) -> None:
        super().__init__(error)
        self.error = error
        self.reason = str(error) if reason is None else reason


def _may_begin_superblock(data: bytearray) -> bool:
    return any(struct.pack('>I', magic).startswith(data[:4]) for magic in (_MAGIC, _MAGIC_BOOTSTRAP))


def _breach(text: str, *values: Any) -> _Broken:
    return _Broken(_hooks.ProtocolError(text.format(*values)))


# ---- heads and frames ----


def _put_uint(value: int) -> bytes:
    if value <= 0xFC:
        return bytes((value,))
    if value <= 0xFFFF:
        return struct.pack('>BH', 0xFD, value)
    return struct.pack('>BI', 0xFE, value) if value <= 0xFFFFFFFF else struct.pack('>BQ', 0xFF, value)


def _put_uints(*values: int) -> bytes:
    return b''.join(map(_put_uint, values))


def _put_ids(ids: list[int]) -> bytes:
    return _put_uints(len(ids), *ids)


def _put_frame_header(length: int, more: bool = False) -> bytes:
    return struct.pack('>Q', length * 2 + more)


class _Head:
    """Reads the fields of a head. What lies behind its end is 0, or no bytes."""

    def __init__(self, data: _Bytes) -> None:
        self._data = bytes(data)
        self._pos = 0

    def left(self) -> int:
        return len(self._data) - self._pos

    def uint(self) -> int:
        if not self.left():
            return 0
        first = self._data[self._pos]
        self._pos += 1
        if first <= 0xFC:
            return first
        size = {0xFD: 2, 0xFE: 4, 0xFF: 8}[first]
        field = self._take(size)
        return int.from_bytes(field, 'big') if len(field) == size else 0

    def text(self) -> str:
        return self._take(self.uint()).decode('utf-8', 'replace')

    def ids(self, count: int) -> Iterator[int]:
        while count and self.left():
            yield self.uint()
            count -= 1

    def _take(self, size: int) -> bytes:
        field = self._data[self._pos : self._pos + size]
        self._pos += len(field)
        return field


class _Message:
    """One that came in. Which fields mean something depends on its type."""

    def __init__(self, head: _Bytes) -> None:
        fields = _Head(head)
        self.type = fields.uint()
        self.call = fields.uint() if self.type in (_APPLY, _RESULT) else 0
        self.kind = fields.uint() if self.type == _RESULT else 0
        has_text = self.type == _GOODBYE or self.kind == _OPERATION_ERROR
        has_ids = self.type in (_APPLY, _DEL_OBJS) or self.kind in (_SUCCESS, _ERROR)
        self.timeout = fields.uint() if self.type == _GREETING else 0
        self.limits = [fields.uint() for _ in range(5)][2:] if self.type == _GREETING else []  # behind those of flow
        self.text = fields.text() if has_text else ''
        self.ids_announced = fields.uint() if has_ids else 0
        self.ids_size = fields.left()
        self.ids: list[int] = []
        if self.ids_announced <= min(_MAX_IDS, self.ids_size):
            self.ids.extend(fields.ids(self.ids_announced))
        self.buffers: list[bytearray] = []


def _clean(text: str) -> str:
    """Return a line that fits into a GOODBYE."""
    line = ''.join(char if char.isprintable() else ' ' for char in text.replace('\ufffd', '?'))
    return line.encode('utf-8', 'replace')[:_MAX_REASON].decode('utf-8', 'ignore')


# ---- the session ----


class _Session:
    """One end of a connection, as the wire sees it: handshake, messages, limits, liveness and closing.

    SUPERBLOCK  waits for the peer's superblock; an opener has sent its own
    GREET       waits for the peer's GREETING
    READY       calls and results flow
    CLOSING     we said GOODBYE and wait for the peer's; what comes until then is dropped
    CLOSED      both have said GOODBYE: what is queued is sent, then the stream is closed
    FAILED      broken, because of `error`
    """

    def __init__(
        self, link: Link, acceptor: bool, minor: int, timeout: float, handshake: float, bootstrap: Optional[bytes],
        max_message: int, refuse_requests: bool, max_preamble: int,
    ) -> None:  # fmt: skip
        self.state = _SUPERBLOCK
        self.error: Optional[BaseException] = None  # behind FAILED
        self.reason = ''  # behind FAILED, or the peer's behind CLOSED
        self.features = 0  # that both sides announced
        self.output: collections.deque[_Bytes] = collections.deque()
        self.output_size = 0
        self.releases: list[int] = []  # ids for the next DEL_OBJS
        self.calls: dict[int, Optional[_Call]] = {}  # ours; None: nobody waits for the result any more
        self.received_at = self.sent_at = now()  # sent_at: or when something had to be sent at last
        self.preamble = bytearray()  # what came before the peer's superblock
        self._heard = b''  # what came in its place
        self._max_preamble = max_preamble
        self._link = link
        self._is_opener = not acceptor
        self._bootstrap = bootstrap
        self.minor = _NEWEST_MINOR if acceptor else minor
        self._has_spoken = not acceptor  # our superblock is out, and with it the version
        self._timeout = timeout  # seconds, 0: none; so are the next
        self._handshake = handshake
        self._peer_timeout = 0.0
        self.peer_max_message = self.peer_max_head = self.peer_max_ids = math.inf  # in one message; from READY on
        self._max_message = max_message
        self._refuse_requests = refuse_requests
        self._handshake_due = self.sent_at + handshake if handshake else math.inf
        self._closing_due = math.inf
        self._numbers = itertools.count()
        self._calls_in_progress = 0  # the peer's, without a result
        self._receiver: Optional[_Receiver] = self._receive()
        self._missing = next(self._receiver)  # bytes of the piece that is being received
        self._piece = bytearray()
        if not acceptor:
            self._queue_superblock()

    # -- input

    def feed(self, data: memoryview) -> None:
        """Take bytes."""
        self.received_at = now()
        try:
            while data and self.state < _CLOSED:
                part = data[: self._missing]
                self._piece += part  # grows as bytes arrive, whatever length was announced
                self._missing -= len(part)
                data = data[len(part) :]
                self._hand_over()
        except _Broken as broken:
            self.fail(broken)
        except MemoryError:
            self.fail(_Broken(MemoryError('Out of memory')))

    def _hand_over(self) -> None:
        while self._missing == 0 and self._receiver is not None and self.state < _CLOSED:
            piece, self._piece = self._piece, bytearray()
            self._missing = self._receiver.send(piece)

    def feed_end(self) -> None:
        """The stream has ended."""
        if self.state < _CLOSING:
            self.fail(_Broken(EOFError(self._end_means)))
        elif self.state == _CLOSING:  # the peer may just go
            self.state = _CLOSED

    def _receive(self) -> _Receiver:
        """Take the peer's bytes piece by piece: yields the size of the next piece, and is sent that."""
        yield from self._receive_superblocks()
        while True:
            message = yield from self._receive_message()
            self._act_on(message)

    def _receive_superblocks(self) -> _Receiver:
        self._end_means = 'Incomplete superblock'
        bootstrapped = False
        while True:
            block = yield from self._find_superblock()
            magic, major, minor, patch, level, features = struct.unpack_from('>IBBBBI', block)
            if magic == _MAGIC:
                break
            if magic != _MAGIC_BOOTSTRAP:
                raise _breach('Invalid magic: 0x{:x}', magic)
            if bootstrapped:
                raise _breach('The peer asks to be bootstrapped a second time')
            self._send_bootstrap((major, minor, patch))
            bootstrapped = True
        if not self._has_spoken:
            if major == 0 and _OLDEST_MINOR <= minor <= _NEWEST_MINOR:
                self.minor = minor
            self._queue_superblock()
        if (major, minor) != (0, self.minor):
            text = 'Local across 0.{}.0 is not compatible with remote {}.{}.{}'
            raise _breach(text, self.minor, major, minor, patch)
        self.features = features & _FEATURES if level else 0
        limits = (0, 0, self._max_message, _MAX_HEAD, _MAX_IDS) if self.features & _LIMITS else ()
        self._queue(_put_uints(_GREETING, round(self._timeout * 1000), *limits))
        self.state = _GREET

    def _find_superblock(self) -> Generator[int, bytearray, bytearray]:
        """Return the 16 bytes of a superblock, or what is in its place. What comes before it may have to be skipped."""
        if not self._max_preamble:
            block = yield 16
            self._heard = bytes(block)
            return block
        block = bytearray()
        while len(block) < 16:
            block += yield 1
            while not _may_begin_superblock(block):
                if len(self.preamble) == self._max_preamble:
                    return self.preamble[:16]
                self.preamble.append(block.pop(0))
        return block

    def _send_bootstrap(self, needed: tuple[int, int, int]) -> None:
        if self._bootstrap is None:
            raise _breach('The peer asks to be bootstrapped, which is not allowed here')
        if needed > (0, self.minor, 0):
            raise _breach('At least across {}.{}.{} is needed to bootstrap connection', *needed)
        if not self._has_spoken:
            self._queue_superblock()
        self._send(struct.pack('>I', len(self._bootstrap)), self._bootstrap)
        self._queue_superblock()

    def _receive_message(self) -> Generator[int, bytearray, _Message]:
        message = None
        more, size = True, 0
        for count in itertools.count(1):
            self._end_means = 'Incomplete frame size'
            length, more = divmod(struct.unpack('>Q', (yield 8))[0], 2)
            size += length
            if count > _MAX_FRAMES:
                raise _breach('Message of {} frames is longer than the limit of {}', count, _MAX_FRAMES)
            if count == 1 and length > _MAX_HEAD:
                raise _breach('Message head of {} bytes is larger than the limit of {}', length, _MAX_HEAD)
            if size > self._max_message:
                raise _breach('Message of {} bytes is larger than the limit of {}', size, self._max_message)
            self._end_means = 'Incomplete frame'
            body = yield length
            if message is None:
                message = _Message(body)
                self._check_head(message)
            else:
                message.buffers.append(body)
            if not more:
                break
        assert message is not None
        return message

    def _check_head(self, message: _Message) -> None:
        """Refuse a message for what its head says, before its buffers are received."""
        if self.state == _GREET and message.type != _GREETING:
            raise _breach('Invalid message in greeting state: {}', message.type)
        if self.state == _READY and not _GREETING < message.type <= _IDLE:
            raise _breach('Invalid message in ready state: {}', message.type)
        if self.state == _CLOSING:
            return
        count, size = message.ids_announced, message.ids_size
        if count > _MAX_IDS:
            raise _breach('List of {} ids is longer than the limit of {}', count, _MAX_IDS)
        if count > size:
            raise _breach('List of {} ids does not fit into the {} bytes of its head', count, size)

    def _act_on(self, message: _Message) -> None:
        if message.type == _GOODBYE:
            self._on_goodbye(message)
        elif self.state == _CLOSING or message.type == _IDLE:
            pass
        elif message.type == _GREETING:
            self._peer_timeout = min(message.timeout, _MAX_TIMEOUT_MS) / 1000
            self._handshake_due = math.inf
            self._note_limits(message)
            self.state = _READY
        elif message.type == _APPLY:
            self._on_apply(message)
        elif message.type == _RESULT:
            self._on_result(message)
        else:
            self._link._on_release(message.ids)

    def _note_limits(self, greeting: _Message) -> None:
        """Plain peers have no limits. Ours that do not tell theirs are older, and have those that are the defaults."""
        limits = greeting.limits if self.features & _LIMITS else [0, _MAX_HEAD, _MAX_IDS] if self.features else [0] * 3
        self.peer_max_message, self.peer_max_head, self.peer_max_ids = (limit or math.inf for limit in limits)

    def _on_apply(self, message: _Message) -> None:
        if not message.buffers:
            raise _breach('Call {} has no buffer', message.call)
        self._admit_request(message)

    def _admit_request(self, message: _Message) -> None:
        """Every message that asks for something to be run here comes by."""
        text = None
        if self._refuse_requests:
            text = 'The peer refuses calls: it takes data, and runs nothing for others'
        elif self._calls_in_progress >= _MAX_CALLS:
            text = 'Too many calls at a time: the limit is {}'.format(_MAX_CALLS)
        if text is not None:
            self.releases += message.ids
            self._queue_refusal(message.call, text)
            return
        self._calls_in_progress += 1
        self._link._on_call(message)

    def _on_result(self, message: _Message) -> None:
        if message.call not in self.calls:
            raise _breach('Call not found: {}', message.call)
        if message.kind not in (_SUCCESS, _ERROR, _OPERATION_ERROR):
            raise _breach('Result of call {} has an unknown kind: {}', message.call, message.kind)
        if message.kind != _OPERATION_ERROR and not message.buffers:
            raise _breach('Result of call {} has no buffer', message.call)
        call = self.calls.pop(message.call)
        if call is None:
            self.releases += message.ids
        else:
            self._link._on_result(call, message)

    def _on_goodbye(self, message: _Message) -> None:
        if self.features & _REASON:
            self.reason = _clean(message.text)
        if self.state == _READY:
            self._queue_goodbye('')
        self._start_closing(_CLOSED)

    # -- output

    def _send(self, *parts: _Bytes) -> None:
        if not self.output_size:
            self.sent_at = now()
        self.output.extend(parts)
        self.output_size += sum(map(len, parts))

    def _queue(self, head: bytes) -> None:
        self._send(_put_frame_header(len(head)) + head)

    def _queue_superblock(self) -> None:
        self._has_spoken = True
        self._send(struct.pack('>IBBBBII', _MAGIC, 0, self.minor, 0, _LEVEL, _FEATURES, 0))

    def _queue_goodbye(self, reason: str) -> None:
        data = reason.encode() if self.features & _REASON else b''
        self._queue(_put_uint(_GOODBYE) + (_put_uint(len(data)) + data if data else b''))

    def _queue_refusal(self, call: int, text: str) -> None:
        if self.output_size > 2 * _MAX_QUEUED:
            raise _breach('The peer lets its results pile up: {} bytes wait', self.output_size)
        data = text.encode('utf-8', 'replace')[:_MAX_TEXT].decode('utf-8', 'ignore').encode()
        self._queue(_put_uints(_RESULT, call, _OPERATION_ERROR, len(data)) + data)

    def _queue_pickle(self, head: bytes, data: bytes) -> None:
        start = _put_frame_header(len(head), True) + head + _put_frame_header(len(data))
        if len(data) <= _COPIED:
            self._send(start + data)
        else:
            self._send(start, memoryview(data))

    def is_full(self) -> bool:
        return self.output_size >= _MAX_QUEUED

    def check_size(self, what: str, ids: list[int], data: bytes) -> None:
        """Raise OperationError if the peer would end the connection for a message of this size. Any thread."""
        head = 27 + (sum(len(_put_uint(id)) for id in ids) if len(ids) > 1000 else 9 * len(ids))
        if len(ids) > self.peer_max_ids:
            text = (
                'The {} refers to {} objects, and the other side takes {} references in one message: '
                'send them in parts, or one Local with all of them in it'
            ).format(what, len(ids), self.peer_max_ids)
        elif head > self.peer_max_head:
            text = (
                'The references of the {} take {} bytes, and the other side takes {} of them in one message: '
                'send fewer objects at a time'
            ).format(what, head, self.peer_max_head)
        elif head + len(data) > self.peer_max_message:
            text = (
                'The {} has {} bytes, and the other side takes {} in one message: '
                'send it in parts, or raise that limit (acrossd --max-message)'
            ).format(what, head + len(data), self.peer_max_message)
        else:
            return
        raise _hooks.OperationError(text)

    def call(self, call: _Call) -> None:
        """Send an APPLY. Only when READY and not full."""
        call.id = next(self._numbers)
        self.calls[call.id] = call
        self._queue_pickle(_put_uints(_APPLY, call.id) + _put_ids(call.ids), call.data)

    def forget(self, call: _Call) -> None:
        """Nobody waits for the result of this call any more."""
        if call.id in self.calls:
            self.calls[call.id] = None

    def answer(self, answer: _Answer) -> None:
        """Send a RESULT. Only when READY and not full."""
        self._calls_in_progress -= 1
        head = _put_uints(_RESULT, answer.call, answer.kind) + _put_ids(answer.ids)
        self._queue_pickle(head, answer.data)

    def refuse(self, call: int, text: str) -> None:
        """Send a RESULT that consists of a sentence."""
        if self.state == _READY:
            self._calls_in_progress -= 1
            try:
                self._queue_refusal(call, text)
            except _Broken as broken:
                self.fail(broken)

    def flush_releases(self) -> None:
        """Send a DEL_OBJS, or several, for what has been gathered."""
        ids, self.releases = self.releases, []
        for first in range(0, len(ids) if self.state == _READY else 0, _IDS_IN_MESSAGE):
            self._queue(_put_uint(_DEL_OBJS) + _put_ids(ids[first : first + _IDS_IN_MESSAGE]))

    def was_sent(self, size: int) -> None:
        """So many bytes of the output have gone out."""
        self.output_size -= size
        self.sent_at = now()
        while size:
            first = self.output.popleft()
            if size < len(first):
                self.output.appendleft(memoryview(first)[size:])
                return
            size -= len(first)

    def drop_output(self) -> None:
        """What is queued will not be sent."""
        self.output.clear()
        self.output_size = 0

    # -- ends

    def close(self) -> None:
        """Say GOODBYE."""
        if self.state > _READY:
            return
        if self.state != _SUPERBLOCK:  # before our GREETING, the end of the stream has to say it
            self._queue_goodbye('')
        self._start_closing(_CLOSING if self.state == _READY else _CLOSED)

    def _start_closing(self, state: int) -> None:
        if self._closing_due == math.inf:
            self._closing_due = now() + (self._timeout or _CLOSE_PATIENCE)
        self.state = state

    def _advise(self, broken: _Broken) -> BaseException:
        """Return the error with a way out, if the package knows one of what is wrong with the peer's bytes."""
        error, text = broken.error, str(broken.error)
        if type(error) not in (EOFError, _hooks.ProtocolError) or broken.reason != text:
            return error
        heard = bytes(self.preamble[:_MAX_HEARD]) or self._heard or bytes(self._piece)
        advised: BaseException = type(error)(_hooks.advise(text, heard, self._is_opener))
        return advised

    def fail(self, broken: _Broken) -> None:
        """Break. The first reason stays."""
        if self.state == _FAILED:
            return
        self.error = self._advise(broken)
        self.reason = self.reason or _clean(broken.reason)
        if self.state in (_GREET, _READY) and self.features & _REASON:
            self._queue_goodbye(self.reason)
        self.state = _FAILED
        self._receiver = None
        self._piece = bytearray()

    # -- time

    def _deadlines(self) -> Iterator[tuple[float, str, float]]:
        """When something is due, and why the session fails then, after how many seconds; no reason: an IDLE is due."""
        is_sending = self.output_size > 0
        if self.state <= _READY:
            yield self._handshake_due, 'The handshake was not finished within {} ms', self._handshake
            if self._timeout:
                yield self.received_at + self._timeout, 'Nothing was received for {} ms', self._timeout
                if is_sending:
                    yield self.sent_at + self._timeout, 'Nothing could be sent for {} ms', self._timeout
        elif self.state == _CLOSING or (self.state == _CLOSED and is_sending):
            yield self._closing_due, 'The peer did not close within {} ms', self._timeout or _CLOSE_PATIENCE
        if self.state == _READY and self._peer_timeout and not is_sending:
            yield self.sent_at + max(self._peer_timeout / 2, _IDLE_FLOOR), '', 0

    def deadline(self) -> float:
        """When expire() wants to be called."""
        return min((due for due, _, _ in self._deadlines()), default=math.inf)

    def expire(self) -> None:
        """Act on what is due."""
        moment = now()
        for due, reason, seconds in self._deadlines():
            if moment < due:
                continue
            if reason:
                text = reason.format(round(seconds * 1000))
                self.fail(_Broken(OSError(errno.ETIMEDOUT, text), text))
            else:
                self._queue(_put_uint(_IDLE))
            return


# ---- the stream ----


class _Stream:
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

    def write(self, parts: list[_Bytes]) -> int:
        if self._socket is not None:
            return self._socket.sendmsg(parts, (), _SEND_FLAGS)
        return os.writev(self.out_fd, parts)

    def hang_up(self) -> None:
        """End the stream, although other processes may have copies of a socket."""
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


# ---- objects, and the order of messages ----


class _Ticket:
    """A place in the order of the messages that are still to be unpickled."""

    __slots__ = ('doomed',)

    def __init__(self) -> None:
        self.doomed: list[int] = []  # released by the peer after this message, and before the next with a ticket


class _Objects:
    """What the peer may refer to, by id.

    Messages are unpickled by many threads, but what the stream orders stays ordered: objects that the peer releases
    stay here until all messages that came before are unpickled.

    Any thread may use put(), get() and take(), which are atomic; the others are the loop's.
    """

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}
        self._numbers = itertools.count()
        self._doomed: set[int] = set()
        self._tickets: list[_Ticket] = []  # oldest first

    def put(self, value: Any) -> int:
        if len(self._values) >= _MAX_OBJECTS:
            text = 'The peer holds {} objects already, which is the limit'
            raise _hooks.OperationError(text.format(_MAX_OBJECTS))
        id = next(self._numbers)
        self._values[id] = value
        return id

    def get(self, id: int) -> Any:
        return self._values[id]

    def take(self, ids: Iterable[int]) -> list[Any]:
        """Remove those that are still there, and return them: dropping them may run anything."""
        return [value for value in (self._values.pop(id, None) for id in ids) if value is not None]

    def take_all(self) -> list[Any]:
        return self.take(list(self._values))

    def take_ticket(self) -> _Ticket:
        ticket = _Ticket()
        self._tickets.append(ticket)
        return ticket

    def give_back(self, ticket: _Ticket) -> list[Any]:
        """The ticket's message is unpickled. Return what may be dropped now."""
        place = self._tickets.index(ticket)
        del self._tickets[place]
        if place == 0:
            return self._take_doomed(ticket.doomed)
        self._tickets[place - 1].doomed += ticket.doomed  # which holds them back, too
        return []

    def doom(self, ids: list[int]) -> list[Any]:
        """The peer has released these. Return what may be dropped now."""
        for id in ids:
            if id not in self._values or id in self._doomed:
                raise _breach('Object not found: {}', id)
            self._doomed.add(id)
        if self._tickets:
            self._tickets[-1].doomed += ids
            return []
        return self._take_doomed(ids)

    def _take_doomed(self, ids: list[int]) -> list[Any]:
        self._doomed.difference_update(ids)
        return self.take(ids)


# ---- threads for calls ----


class _Latch:
    """Opens once. Who waits for it can be interrupted; who opens it waits for nobody."""

    def __init__(self) -> None:
        self.is_open = False
        self._waiting: collections.deque[Any] = collections.deque()  # a lock for each thread, locked

    def open(self) -> None:
        self.is_open = True
        while self._waiting:
            self._waiting.popleft().release()

    def wait(self, timeout: float = -1) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append(lock)
        if not self.is_open:
            lock.acquire(timeout=timeout)


class _Job:
    """Work for a thread: a call, which can be refused; long background work; a short service; or an ending.

    An ending is that of a link, which may block for a channel or a program that does not end. It takes no thread away
    from calls and services.
    """

    def __init__(
        self, run: Callable[[], object], is_service: bool = False, refuse: Any = None, owner: Optional[Link] = None,
        is_ending: bool = False,
    ) -> None:  # fmt: skip
        self.run = run
        self.owner = owner  # whose code it runs; None: nobody's in particular
        self.is_service = is_service
        self.is_ending = is_ending
        self.is_call = not is_service and not is_ending
        self.refuse: Optional[Callable[[], object]] = refuse


class _Executor:
    """Cached threads. A call never waits for another as long as there are threads.

    When all of them wait for calls of their own, a queued call may be what they wait for: then it is refused.

    What code of one link leaves in a thread (threading.local) is nothing for that of another: a thread has one owner.
    The main thread never comes here, so the lock is always given back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = _Latch()  # stopping, and no thread is left that has nothing to do
        self._idle: list[_Worker] = []
        self._services: collections.deque[_Job] = collections.deque()
        self._calls: collections.deque[_Job] = collections.deque()
        self._threads = 0
        self._busy = 0  # threads that run something
        self._endings: collections.deque[_Job] = collections.deque()
        self._in_endings = 0
        self._in_calls = 0  # threads that run a call, or background work
        self._pid = os.getpid()
        self._waiting = 0  # those of them that wait for the peer
        self._stopping = False

    def end_if_forked(self, error: Optional[BaseException] = None) -> None:
        """To be called where user code returns to a thread of the executor: a child that it has forked ends there.

        As a child does that is forked in a thread of plain Python: with status 0, after printing what was raised, and
        without atexit functions, which are its parent's.
        """
        if os.getpid() == self._pid:
            return
        try:
            if error is not None and not isinstance(error, SystemExit):
                _report(error)
        finally:
            os._exit(0)

    def start(self) -> None:
        """One thread from the start, which stays: a service always finds somebody, whatever the machine is short of."""
        with self._lock:
            self._start_thread(None)

    def submit(self, job: _Job) -> None:
        with self._lock:
            accepted = True
            if job.is_service:
                if not self._give(job, _MAX_THREADS + _SERVICE_THREADS):
                    self._services.append(job)
            elif job.is_ending:
                most = _MAX_THREADS + _SERVICE_THREADS + 1
                if self._in_endings < _ENDING_THREADS and self._give(job, most):
                    self._in_endings += 1
                else:
                    self._endings.append(job)
            elif self._in_calls < _MAX_THREADS and self._give(job, _MAX_THREADS):
                self._in_calls += 1
            else:
                accepted = not job.refuse or (len(self._calls) < _MAX_WAITING_CALLS and not self._is_stuck())
                if accepted:
                    self._calls.append(job)
        if not accepted and job.refuse:
            job.refuse()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While the thread of a call waits for a call of its own."""
        refused: list[_Job] = []
        with self._lock:
            self._waiting += 1
            if self._is_stuck():
                refused = [job for job in self._calls if job.refuse]
                self._calls = collections.deque(job for job in self._calls if not job.refuse)
        for job in refused:
            assert job.refuse
            job.refuse()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def stop(self) -> None:
        """Let the threads end that have nothing to do."""
        with self._lock:
            self._stopping = True
            while self._idle:
                self._idle.pop().given.release()
            self._note_end()

    def wait_for_end(self, timeout: float) -> None:
        self._ended.wait(timeout)

    def _note_end(self) -> None:
        if self._stopping and self._threads <= self._busy:
            self._ended.open()

    def _is_stuck(self) -> bool:
        """No queued call would come to run without the help of a peer: no thread is there that takes it."""
        another = self._threads - self._in_endings > self._in_calls and self._in_calls < _MAX_THREADS
        return self._waiting == self._in_calls and not another

    def _give(self, job: _Job, most: int) -> bool:
        """Give the job to an idle thread, or to a new one."""
        worker = next((worker for worker in reversed(self._idle) if worker.suits(job)), None)
        if worker is None:
            if self._threads - self._in_endings >= most and self._idle:
                self._retire(self._idle[0])
            return self._threads - self._in_endings < most and self._start_thread(job)
        self._idle.remove(worker)
        worker.job = job
        worker.given.release()
        return True

    def _retire(self, worker: _Worker) -> None:
        """Have an idle thread end, and count on it no more."""
        self._idle.remove(worker)
        self._threads -= 1
        worker.is_retired = True
        worker.given.release()

    def disown(self, owner: Link) -> None:
        """Threads that may have kept something for this link are of no use any more."""
        with self._lock:
            for worker in [worker for worker in self._idle if worker.owner is owner]:
                self._retire(worker)
            if not self._threads and not self._stopping:
                self._start_thread(None)

    def _start_thread(self, job: Optional[_Job]) -> bool:
        try:
            _Worker(self, job).start()
        except (RuntimeError, MemoryError):
            return False
        self._threads += 1
        return True

    # -- in the threads

    def next_job(self, worker: _Worker) -> Optional[_Job]:
        """Wait for work; None: the thread is to end."""
        while True:
            with self._lock:
                if worker.is_retired:
                    return None
                job, worker.job = worker.job, None
                if job is None:
                    job = self._take_queued(worker)
                if job is not None:
                    self._busy += 1
                    self._note_end()
                    worker.owner = job.owner or worker.owner
                    return job
                if worker.is_retired:
                    return None
                if self._stopping or (worker.owner is not None and worker.owner._phase == _FINISHED):
                    self._end_thread()
                    if not self._threads and not self._stopping:
                        self._start_thread(None)
                    return None
                self._idle.append(worker)
            if worker.given.acquire(timeout=_THREAD_PATIENCE):
                continue
            with self._lock:
                if worker not in self._idle:  # it was given something in this moment
                    worker.given.acquire()
                    continue
                self._idle.remove(worker)
                if self._threads > 1:
                    self._end_thread()
                    return None

    def _take_queued(self, worker: _Worker) -> Optional[_Job]:
        """The next job that waits for a thread. One that does not suit this one gets a new one instead, if possible."""
        job = None
        if self._services:
            job = self._services.popleft()
        elif self._endings and self._in_endings < _ENDING_THREADS:
            job = self._endings.popleft()
            self._in_endings += 1
        elif self._calls and self._in_calls < _MAX_THREADS:
            job = self._calls.popleft()
            self._in_calls += 1
        if job is None or worker.suits(job) or not self._start_thread(job):
            return job
        self._threads -= 1
        worker.is_retired = True
        return None

    def _end_thread(self) -> None:
        self._threads -= 1
        self._note_end()

    def end_job(self, job: _Job) -> None:
        with self._lock:
            self._busy -= 1
            self._in_calls -= job.is_call
            self._in_endings -= job.is_ending


class _Worker(threading.Thread):
    """A thread of the executor."""

    def __init__(self, executor: _Executor, job: Optional[_Job]) -> None:
        super().__init__(name='across.worker', daemon=True)
        self.job = job  # what to run next
        self.owner: Optional[Link] = None  # whose code it has run
        self.is_retired = False  # it is to end, and is not counted any more
        self.given = threading.Lock()  # released when there is a job, or the end
        self.given.acquire()
        self._executor = executor

    def suits(self, job: _Job) -> bool:
        """Whether it may run the job, and has kept nothing for somebody else."""
        return job.owner is None or self.owner is None or self.owner is job.owner

    def run(self) -> None:
        while True:
            job = self._executor.next_job(self)
            if job is None:
                return
            _local.in_call = job.is_call
            try:
                job.run()
            except BaseException as error:
                self._executor.end_if_forked(error)
                _report(error)
            self._executor.end_if_forked()
            self._executor.end_job(job)
            del job  # with all that it refers to


def _report(error: BaseException) -> None:
    """Tell of an exception that nobody can catch."""
    thread = threading.current_thread()
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))


# ---- the loop ----


class _Loop(threading.Thread):
    """The thread that drives all links."""

    def __init__(self) -> None:
        super().__init__(name='across.loop', daemon=True)
        self.links: set[Link] = set()  # that have started or ended, and not finished
        self.scratch = memoryview(bytearray(_READ_SIZE))
        self._tasks: collections.deque[tuple[Callable[..., object], Any]] = collections.deque()
        self._touched: set[Link] = set()
        self._fds: dict[int, Link] = {}
        self._poll = select.poll()
        self._is_awake = False
        self._stopping = False
        self._waker, self._wake = socket.socketpair()
        for sock in (self._waker, self._wake):
            sock.setblocking(False)
        self._poll.register(self._wake, select.POLLIN)

    def post(self, func: Callable[..., object], *args: Any) -> None:
        """Have the loop call a function. From any thread, also within the garbage collector: takes no lock."""
        self._tasks.append((func, args))
        self.wake()

    def post_quietly(self, func: Callable[..., object], *args: Any) -> None:
        """The same for what has time until the loop has something else to do."""
        self._tasks.append((func, args))

    def wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            with contextlib.suppress(OSError):
                self._waker.send(b'\0')

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        while not self._is_over():
            self._run_tasks()
            self._settle()
            events = self._poll.poll(self._get_timeout())
            self._run_tasks()  # what was posted before these events happened comes before them
            for fd, event in events:
                link = self._fds.get(fd)
                if link is not None:
                    self._guard(link, link._on_event, fd, event)
            moment = now()
            for link in list(self.links):
                if link._due <= moment:
                    self._guard(link, link._on_time)
        self._waker.close()
        self._wake.close()

    def _is_over(self) -> bool:
        return self._stopping and not self.links

    def _run_tasks(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        self._is_awake = False  # only now: who finds it True relies on what follows
        for _ in range(len(self._tasks)):
            func, args = self._tasks.popleft()
            try:
                func(*args)
            except Exception as error:
                _report(error)
            del func, args

    def _guard(self, link: Link, func: Callable[..., object], *args: Any) -> None:
        """What goes wrong with one link is no trouble of others."""
        try:
            func(*args)
        except Exception as error:
            link._break(_Broken(error))
        self._touched.add(link)

    def touch(self, link: Link) -> None:
        """Something has changed there: before it waits, the loop looks what follows from it."""
        self._touched.add(link)

    def _settle(self) -> None:
        while self._touched:
            link = self._touched.pop()
            try:
                link._settle()
            except Exception as error:
                _report(error)
                link._session.drop_output()
                link._break(_Broken(error))

    def _get_timeout(self) -> Optional[float]:
        if self._tasks or self._is_over():
            return 0
        due = min((link._due for link in self.links), default=math.inf)
        return None if due == math.inf else max(0, math.ceil((due - now()) * 1000))

    def watch(self, link: Link, fd: int, events: int) -> None:
        """Look for these events of a descriptor from now on; 0: not any more."""
        if events:
            self._poll.register(fd, events)
            self._fds[fd] = link
        elif self._fds.pop(fd, None):
            self._poll.unregister(fd)

    def forget(self) -> None:
        """In a child made by fork(): close what it has of its parent's."""
        for link in self.links:
            if link._stream is not None:
                link._stream.close()
        self._waker.close()
        self._wake.close()


class _Engine:
    """The loop and the executor of this process."""

    def __init__(self) -> None:
        self.is_gone = False  # this process was forked from the one that it belongs to
        self.executor = _Executor()
        self.loop = _Loop()
        self.executor.start()
        self.loop.start()

    def submit(self, job: _Job) -> None:
        self.loop.post(self.executor.submit, job)

    def stop(self) -> None:
        self.loop.stop()
        self.executor.stop()


_engine: Optional[_Engine] = None
_engine_lock = threading.Lock()


def _get_engine() -> _Engine:
    global _engine
    with _engine_lock:
        if _engine is None:
            _engine = _Engine()
        return _engine


def _after_fork() -> None:
    global _engine, _engine_lock
    _engine_lock = threading.Lock()
    engine, _engine = _engine, None
    if engine is not None:
        engine.is_gone = True
        engine.loop.forget()


os.register_at_fork(after_in_child=_after_fork)


# ---- what a thread is doing ----

_CALL, _PICKLE, _UNPICKLE = range(3)


class _Scope:
    """A link at work in this thread: it runs a call, pickles or unpickles. Scopes nest."""

    def __init__(self, link: Link, mode: int, ids: Optional[list[int]] = None) -> None:
        self.link = link
        self.mode = mode
        self.ids: list[int] = [] if ids is None else ids  # that were registered, or claimed

    def __enter__(self) -> _Scope:
        self._outer = _local.scope
        _local.scope = self
        return self

    def __exit__(self, *exc_info: Any) -> None:
        _local.scope = self._outer


class _Local(threading.local):
    scope: Optional[_Scope] = None  # the innermost
    in_call = False  # it is a thread of the executor that may run a call


_local = _Local()


def _get_scope(where: str, *modes: int) -> _Scope:
    scope = _local.scope
    if scope is None or scope.mode not in modes:
        raise RuntimeError('Only possible while a connection {}'.format(where))
    return scope


def install(**hooks: Any) -> None:
    """Name what the engine needs from the package."""
    _hooks.__dict__.update(hooks)


def current() -> Any:
    """Return the connection that this thread works for, or None."""
    return None if _local.scope is None else _local.scope.link.owner


def pickling() -> Any:
    """Return the connection that this thread pickles for, or None."""
    return current() if _local.scope is not None and _local.scope.mode == _PICKLE else None


def register(obj: object, /) -> int:
    """Enter an object into the table of the connection that pickles."""
    scope = _get_scope('pickles', _PICKLE)
    id = scope.link._objects.put(obj)
    scope.ids.append(id)
    return id


def lookup(id: int, /) -> Any:
    """Return an object of the table."""
    link = _get_scope('is in use by this thread', _CALL, _PICKLE, _UNPICKLE).link
    try:
        return link._objects.get(id)
    except KeyError:
        if link._phase < _STOPPING:
            raise
        raise link._make_disconnect_error() from None  # they all are gone


def claim(id: int, /) -> Handle:
    """Take responsibility for an object of the peer."""
    scope = _get_scope('unpickles', _UNPICKLE)
    if not isinstance(id, int) or not 0 <= id <= _MAX_ID:
        raise TypeError('the peer has no object {!r}'.format(id))
    handle = Handle.__new__(Handle)
    handle._link = scope.link
    handle._id = id
    scope.ids.append(id)
    return handle


def spawn(func: Callable[[], object], /) -> None:
    """Run a function in the background."""
    _get_engine().submit(_Job(func))


def shut_down() -> None:
    """Let the threads end that have nothing to do: the interpreter is about to."""
    global _engine
    engine, _engine = _engine, None
    if engine is not None:
        engine.loop.post(engine.stop)
        engine.executor.wait_for_end(1.0)
        if not engine.loop.links:
            engine.loop.join(1.0)


class Handle:
    """One object of the peer, which is released when its handle is dropped."""

    __slots__ = ('_link', '_id')

    _link: Link
    _id: int

    def __init__(self) -> None:
        raise TypeError('handles are made by the engine')

    @property
    def owner(self) -> Any:
        """The Connection whose peer has the object."""
        return self._link.owner

    @property
    def id(self) -> int:
        """The object's id in the peer's table."""
        return self._id

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError('a handle can be neither copied nor pickled')

    def __del__(self) -> None:
        # Anywhere, also in the garbage collector: no lock, and no wait.
        link = getattr(self, '_link', None)
        if link is not None and not link._engine.is_gone and link._phase < _STOPPING:
            link._loop.post(link._release, (self._id,))


# ---- the link ----


class _Call:
    """A call of ours."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.data = b''
        self.ids: list[int] = []
        self.id: Optional[int] = None  # None: not sent
        self.message: Optional[_Message] = None  # its result
        self.ticket: Optional[_Ticket] = None  # held while there is a message that was not unpickled
        self.done = _Latch()  # there is a result, or never will be
        self.is_ended = False  # its caller does not wait for it any more

    def __del__(self) -> None:
        if not self.is_ended:  # its caller was interrupted where it would have said so
            self.link._loop.post(self.link._end_call, self)


class _Answer:
    """The result of a call of the peer."""

    def __init__(self, call: int, kind: int, data: bytes, ids: list[int]) -> None:
        self.call = call
        self.kind = kind
        self.data = data
        self.ids = ids


_Outgoing = Union[_Call, _Answer, list[int]]  # the last: ids of the peer's objects that are released


class Link:
    """One connection, as the engine sees it.

    Attributes that begin with an underscore are the loop's, which others only read; so are methods that do, but for
    those under "in a thread that calls" and "in a thread of the executor".
    """

    operations = False  # handles can neither call nor copy their objects: what asks for that is said by name

    def __init__(
        self, owner: Any, *, acceptor: bool = False, minor: int = 2, timeout_ms: int = 60000,
        handshake_ms: int = 60000, bootstrap: Optional[bytes] = None, max_message: int = 0,
        refuse_requests: bool = False, max_preamble: int = 0, spin_us: int = 0,
    ) -> None:  # fmt: skip
        del spin_us  # threads that polled would need the GIL for it, and keep it from others
        if not 0 <= timeout_ms <= _MAX_TIMEOUT_MS or not (acceptor or _OLDEST_MINOR <= minor <= _NEWEST_MINOR):
            raise ValueError('timeout_ms must be at most a day, minor 1 or 2')
        self.owner = owner
        self._engine = _get_engine()
        self._loop = self._engine.loop
        self._session = _Session(
            self, acceptor, minor, timeout_ms / 1000, handshake_ms / 1000, bootstrap, max_message or _MAX_MESSAGE,
            refuse_requests, max_preamble,
        )  # fmt: skip
        self._objects = _Objects()
        self._stream: Optional[_Stream] = None
        self._is_blocked = False  # the stream was full
        self._write_error = False  # nothing can be sent; the peer may still have something to say
        self._waiting: collections.deque[_Outgoing] = collections.deque()  # to be sent: see _send()
        self._due = math.inf  # when the session wants to be looked at
        self._phase = _STARTING
        self._phases = {_RUNNING: _Latch(), _STOPPING: _Latch(), _FINISHED: _Latch()}
        self._was_running = False
        self._is_ending = False  # as soon as the loop comes to it
        self._is_closed = False  # close() was called
        self._is_cancelled = False
        self._error: Optional[BaseException] = None
        self._end_error: Optional[_Broken] = None  # what the end of the stream will be due to
        self._is_detached = False
        self._dumps: Callable[..., bytes] = pickle.dumps
        self.loads: Optional[Callable[..., Any]] = None  # what unpickles in place of pickle.loads

    # -- in a thread that calls

    def start(self, in_fd: int, out_fd: int, /) -> None:
        """Begin the handshake over two descriptors, which are duplicated."""
        self._check()
        self._loop.post(self._attach, _Stream(in_fd, out_fd))

    def fail(self, exc: BaseException, /) -> None:
        """Break the link because of an exception."""
        self._check()
        if not isinstance(exc, BaseException):
            raise TypeError('fail() takes an exception')
        self._loop.post(self._break, _Broken(exc, _hooks.describe_error(exc)))

    def fail_at_end(self, exc: BaseException, /) -> None:
        """Say which exception the end of the stream will be due to, when all that came before has been read."""
        self._check()
        if not isinstance(exc, BaseException):
            raise TypeError('fail_at_end() takes an exception')
        self._loop.post(self._note_end, _Broken(exc, _hooks.describe_error(exc)))

    def apply(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """Run a function at the peer and return its value."""
        if not isinstance(args, tuple) or not (kwargs is None or isinstance(kwargs, dict)):
            raise TypeError('apply() takes a function, a tuple and a dict')
        self._wait_for(_RUNNING)
        if self._phase != _RUNNING:
            raise self._make_disconnect_error()
        call = _Call(self)
        scope = _local.scope
        try:
            call.data = self._dump('call', (func, args, kwargs or {}), call.ids)
            self._check()  # pickling runs anything, fork() included
            self._loop.post(self._send, call)
            with self._engine.executor.waiting() if _local.in_call else contextlib.nullcontext():
                call.done.wait()
            if call.message is None:
                raise self._make_disconnect_error()
            return self._open_result(call.message)
        finally:
            # Also after a KeyboardInterrupt at any point.
            self._loop.post_quietly(self._end_call, call)
            _local.scope = scope
            if call.ticket is None or call.ticket.doomed:
                self._loop.wake()
            del call

    def create(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """Run a function at the peer and return a proxy for its value."""
        return self.apply(_hooks.create_by_name, (func, args, kwargs), {})

    def replicate(self, obj: Any, /) -> Any:
        """Copy an object to the peer and return a proxy for the copy."""
        return self.apply(_hooks.replicate_by_name, (obj,), {})

    def wait_ready(self) -> bool:
        """Block until the handshake has ended; return whether it succeeded."""
        self._wait_for(_RUNNING)
        return self._was_running

    def wait(self) -> None:
        """Block while the link is connected."""
        self._wait_for(_STOPPING)

    def close(self) -> None:
        """Close the link and block until it has finished."""
        self._wait_for(_RUNNING)
        self._loop.post(self._close)
        self._wait_for(_FINISHED)
        self._is_closed = True  # a link that had finished before did not wait for the loop

    def cancel(self) -> None:
        """Break the link now, without blocking."""
        self._check()
        self._is_ending = True
        self._loop.post(self._cancel)

    @property
    def connected(self) -> bool:
        """False once the link is closing, closed or broken."""
        return self._phase < _STOPPING and not self._is_ending and not self._engine.is_gone

    @property
    def error(self) -> Optional[BaseException]:
        """The fatal error, or None."""
        self._check()
        return self._error

    @property
    def minor(self) -> Optional[int]:
        """The protocol version 0.minor, once the handshake has succeeded; else None."""
        return self._session.minor if self._was_running else None

    @property
    def preamble(self) -> bytes:
        """What came before the peer's superblock, once the handshake has ended."""
        return bytes(self._session.preamble) if self._phase >= _RUNNING else b''

    @property
    def described(self) -> bool:
        """Whether the peer takes the descriptions of objects."""
        return self._was_running and bool(self._session.features & _DESCRIBED)

    @property
    def details(self) -> bool:
        """Whether exceptions may carry details."""
        return self._was_running and self._session.features & _DETAILS != 0

    @property
    def dumps(self) -> Optional[Callable[..., bytes]]:
        """What pickles in place of pickle.dumps, or None."""
        return None if self._dumps is pickle.dumps else self._dumps

    @dumps.setter
    def dumps(self, func: Optional[Callable[..., bytes]]) -> None:
        self._dumps = pickle.dumps if func is None else func

    def _check(self) -> None:
        if self._engine.is_gone:
            raise _hooks.DisconnectError('The connection belongs to the process that this one was forked from')

    def _wait_for(self, phase: int) -> None:
        self._check()
        if threading.get_ident() == self._loop.ident:  # the garbage collector runs finalizers where it pleases
            raise _hooks.OperationError('A finalizer that runs in a thread of the engine cannot wait for a connection')
        if self._phase < phase:
            self._phases[phase].wait()

    def _make_disconnect_error(self) -> BaseException:
        if self._is_closed:
            text = 'Connection is closed'
        elif self._is_cancelled:
            text = 'Connection was cancelled'
        elif self._error is not None:
            text = 'Connection was aborted due to {}'.format(_hooks.describe_error(self._error))
        else:
            reason = self._session.reason
            text = 'Connection was remotely closed{}{}'.format(': ' if reason else '', reason)
        error: BaseException = _hooks.DisconnectError(text)
        return error

    def _open_result(self, message: _Message) -> Any:
        if message.kind == _OPERATION_ERROR:
            raise _hooks.OperationError(message.text)
        value = self._load(message)
        if message.kind == _SUCCESS:
            return value
        context = value.__context__
        try:
            raise value
        finally:
            # The record says what its context is, whatever is handled here; a class may refuse assignment.
            BaseException.__setattr__(value, '__context__', context)
            del value, context  # a traceback refers to this frame

    # -- in any thread but the loop's

    def _dump(self, what: str, value: object, ids: list[int]) -> bytes:
        """Pickle what goes into a message, and append the ids of the objects that are registered."""
        data = self._pickle(value, ids)
        try:
            self._session.check_size(what, ids, data)
        except BaseException:
            self._objects.take(ids)
            raise
        return data

    def _pickle(self, value: object, ids: list[int]) -> bytes:
        try:
            with _Scope(self, _PICKLE, ids):
                data = self._dumps(value, protocol=4)
                if not isinstance(data, bytes):
                    raise TypeError('The pickler returned {}, not bytes'.format(type(data).__name__))
                return data
        except BaseException as error:
            self._objects.take(ids)
            if isinstance(error, _hooks.DisconnectError) and self._phase >= _STOPPING:
                raise self._make_disconnect_error() from None
            if isinstance(error, Exception):
                raise _make_operation_error('Pickling', error) from error
            raise

    def _load(self, message: _Message) -> Any:
        """Unpickle; return the value or, from an exception record, the exception."""
        scope = _Scope(self, _UNPICKLE)
        try:
            with scope:
                is_error = message.kind == _ERROR
                if self.loads is not None:
                    return self.loads(message.buffers[0], is_error)
                if not is_error:
                    return pickle.loads(message.buffers[0])
                return _load_error(message.buffers[0])
        except Exception as error:
            if isinstance(error, _hooks.DisconnectError) and self._phase >= _STOPPING:
                raise self._make_disconnect_error() from None
            raise _make_operation_error('Unpickling', error) from error
        finally:
            unclaimed = set(message.ids).difference(scope.ids)
            message.ids = []
            if unclaimed:
                self._loop.post(self._release, unclaimed)

    # -- in a thread of the executor

    def _serve(self, message: _Message, ticket: _Ticket) -> None:
        """Run a call of the peer, and answer it."""
        executor = self._engine.executor
        from_call = False
        try:
            try:
                call = self._load(message)
            finally:
                self._loop.post_quietly(self._give_back, ticket)
                if ticket.doomed:
                    self._loop.wake()
            executor.end_if_forked()
            message.buffers = []
            from_call = True
            with _Scope(self, _CALL):
                value = _run(call)
            executor.end_if_forked()
            from_call = False
            del call
            answer = self._make_value_answer(message.call, value)
            executor.end_if_forked()
        except BaseException as error:
            executor.end_if_forked(error)
            self._answer_failure(message.call, error, from_call)
        else:
            self._loop.post(self._send, answer)

    def _answer_failure(self, call: int, error: BaseException, from_call: bool) -> None:
        """Answer with an exception, as well as that can be done."""
        try:
            answer = self._make_error_answer(call, error, from_call)
        except BaseException as dump_error:
            try:
                answer = self._make_error_answer(call, dump_error, False)
            except BaseException:
                self._loop.post(self._refuse, call, _describe(dump_error))
                return
        self._loop.post(self._send, answer)

    def _make_value_answer(self, call: int, value: object) -> _Answer:
        try:
            return self._make_answer(call, _SUCCESS, value)
        except _hooks.OperationError:
            lent = _hooks.lend(value)
            if lent is value:
                raise
        return self._make_answer(call, _SUCCESS, lent)

    def _make_answer(self, call: int, kind: int, value: object) -> _Answer:
        ids: list[int] = []
        return _Answer(call, kind, self._dump('result', value, ids), ids)

    def _make_error_answer(self, call: int, error: BaseException, from_call: bool) -> _Answer:
        try:
            with _Scope(self, _CALL):
                record = _hooks.dump_error(error, from_call)
        except Exception as dump_error:
            raise _make_operation_error('Pickling', dump_error) from dump_error
        return self._make_answer(call, _ERROR, record)

    def _finish(self) -> None:
        """The stream is closed, and no message will come."""
        try:
            self.owner._link_finished()
        except BaseException as error:
            _report(error)
        self._objects.take_all()
        self._loop.post(self._set_finished)

    # -- tasks of the loop

    def _attach(self, stream: _Stream) -> None:
        if self._phase >= _STOPPING:
            stream.close()
            return
        self._stream = stream
        self._session.received_at = self._session.sent_at = now()
        self._loop.links.add(self)
        self._loop.watch(self, stream.in_fd, select.POLLIN)
        self._loop.touch(self)

    def _send(self, what: Union[_Call, _Answer]) -> None:
        """Send when there is room. The order stays: a pickle may mention objects that are released after it."""
        if self._session.state == _READY:
            self._waiting.append(what)
        else:
            self._give_up(what)
        self._loop.touch(self)

    def _give_up(self, what: _Outgoing) -> None:
        """What was to be sent comes too late."""
        if isinstance(what, list):
            return
        self._drop(self._objects.take(what.ids))
        if isinstance(what, _Call):
            what.done.open()

    def _end_call(self, call: _Call) -> None:
        """Its caller does not wait for it any more, be it with a result or without."""
        call.is_ended = True
        if call in self._waiting:
            self._waiting.remove(call)
        if call.id is None:
            self._give_up(call)
        self._session.forget(call)
        if call.ticket is not None:
            ticket, call.ticket = call.ticket, None
            assert call.message is not None
            self._release(call.message.ids)  # empty, if it was unpickled
            self._give_back(ticket)

    def _give_back(self, ticket: _Ticket) -> None:
        self._drop(self._objects.give_back(ticket))

    def _refuse(self, call: int, text: str) -> None:
        self._session.refuse(call, text)
        self._loop.touch(self)

    def _release(self, ids: Iterable[int]) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, list):
            last.extend(ids)
        else:
            self._waiting.append(list(ids))
        self._loop.touch(self)

    def _close(self) -> None:
        self._is_closed = True
        self._session.close()
        self._loop.touch(self)

    def _cancel(self) -> None:
        reason = 'Connection was cancelled'
        self._is_cancelled = self._break(_Broken(ConnectionAbortedError(reason), reason)) or self._is_cancelled

    def _break(self, broken: _Broken) -> bool:
        """End now; return whether `broken` is why: not when both sides have said GOODBYE, or the session has failed."""
        self._loop.touch(self)
        if self._session.state == _CLOSED:
            self._session.drop_output()  # it would be waited for
        if self._session.state >= _CLOSED:
            return False
        self._session.fail(broken)
        return True

    def _note_end(self, broken: _Broken) -> None:
        self._end_error = self._end_error or broken

    def _set_finished(self) -> None:
        self._loop.links.discard(self)
        self._set_phase(_FINISHED)
        self._engine.executor.disown(self)

    def _drop(self, objects: list[Any]) -> None:
        """Forget objects, which may run anything: not here."""
        if objects:
            self._engine.executor.submit(_Job(objects.clear, is_service=True, owner=self))

    # -- events of the session

    def _on_call(self, message: _Message) -> None:
        ticket = self._objects.take_ticket()

        def refuse() -> None:
            self._loop.post(self._release, message.ids)
            self._loop.post(self._give_back, ticket)
            self._loop.post(self._refuse, message.call, text)

        text = 'Too many calls: all threads that run calls are in use, and no more can wait for one'
        # Each call has a context of its own: what it sets of context variables ends with it, whichever thread runs it.
        context = contextvars.Context()
        self._engine.executor.submit(_Job(lambda: context.run(self._serve, message, ticket), refuse=refuse, owner=self))

    def _on_result(self, call: _Call, message: _Message) -> None:
        call.ticket = self._objects.take_ticket()
        call.message = message
        call.done.open()

    def _on_release(self, ids: list[int]) -> None:
        self._drop(self._objects.doom(ids))

    # -- events of the loop

    def _on_event(self, fd: int, event: int) -> None:
        if self._stream is not None and fd == self._stream.in_fd and event & ~select.POLLOUT:
            for _ in range(_READS):
                if not self._read():
                    break
        if self._is_blocked and event & ~select.POLLIN:
            self._is_blocked = False

    def _read(self) -> bool:
        """Read once; return whether there may be more."""
        assert self._stream is not None
        scratch = self._loop.scratch
        try:
            size = self._stream.read(scratch)
        except BlockingIOError:
            return False
        except OSError as error:
            # While closing, or where the end has a reason already, a reset is as good as an end.
            if self._session.state == _CLOSING or self._end_error is not None:
                self._end_input()
            else:
                self._session.fail(_Broken(error, error.strerror))
            return False
        if size == 0:
            self._end_input()
            return False
        self._session.feed(scratch[:size])
        return size == len(scratch) and self._session.state < _CLOSED

    def _end_input(self) -> None:
        if self._end_error is not None and self._session.state < _CLOSED:
            self._session.fail(self._end_error)
        else:
            self._session.feed_end()

    def _on_time(self) -> None:
        """Something is due. We may have been away for long: what waits to be read, or to be written, counts first."""
        if self._stream is not None and self._session.state < _CLOSED:
            self._on_event(self._stream.in_fd, select.POLLIN | select.POLLOUT)
            self._write()
        self._session.expire()

    def _settle(self) -> None:
        """Send what there is to send, and draw the conclusions from the session's state."""
        if self._is_detached:
            return
        self._write()
        state = self._session.state
        if state == _READY and self._phase == _STARTING:
            self._was_running = True
            self._set_phase(_RUNNING)
        elif state > _READY:
            self._stop()
        if state == _FAILED or (state == _CLOSED and not (self._is_blocked and self._session.output)):
            self._detach()
            return
        self._due = self._session.deadline() if self._stream is not None else math.inf
        if self._stream is not None:
            self._watch(self._stream)

    def _watch(self, stream: _Stream) -> None:
        reading = select.POLLIN if self._session.state < _CLOSED else 0
        writing = select.POLLOUT if self._is_blocked else 0
        if stream.in_fd == stream.out_fd:
            self._loop.watch(self, stream.in_fd, reading | writing)
        else:
            self._loop.watch(self, stream.in_fd, reading)
            self._loop.watch(self, stream.out_fd, writing)

    def _write(self) -> None:
        session, stream = self._session, self._stream
        session.flush_releases()
        budget = _WRITE_BUDGET
        while stream is not None and not self._is_blocked:
            self._send_waiting()
            if not session.output or self._write_error:
                return
            try:
                size = stream.write(list(itertools.islice(session.output, 16)))
            except BlockingIOError:
                size = budget
            except OSError:  # not the end yet: what the peer said before it went is still to be read
                self._write_error = True
                return
            else:
                session.was_sent(size)
            budget -= size
            self._is_blocked = budget <= 0

    def _send_waiting(self) -> None:
        session = self._session
        while self._waiting and session.state == _READY and not session.is_full():
            what = self._waiting[0]
            if isinstance(what, _Call):
                session.call(what)
            elif isinstance(what, _Answer):
                session.answer(what)
            else:
                session.releases += what
                session.flush_releases()
            self._waiting.popleft()  # only now: what could not be sent is given up with the link

    def _stop(self) -> None:
        """No call of ours will have a result any more, and none of the peer's."""
        if self._error is None and not self._is_cancelled and (self._phase < _STOPPING or self._is_closed):
            self._error = self._session.error
        self._set_phase(_STOPPING)
        while self._waiting:
            self._give_up(self._waiting.popleft())
        calls, self._session.calls = self._session.calls, {}
        for call in calls.values():
            if call is not None:
                call.done.open()

    def _detach(self) -> None:
        """Let go of the stream."""
        self._is_detached = True
        self._due = math.inf
        stream = self._stream
        if stream is not None:
            for fd in stream.fds():
                self._loop.watch(self, fd, 0)
            stream.hang_up()
            stream.close()
        self._loop.links.add(self)  # it may end before it began
        self._engine.executor.submit(_Job(self._finish, owner=self, is_ending=True))

    def _set_phase(self, phase: int) -> None:
        if phase > self._phase:
            self._phase = phase
            for passed in range(_RUNNING, phase + 1):
                self._phases[passed].open()


def _run(call: Any) -> Any:
    is_call = isinstance(call, tuple) and len(call) == 3
    if not is_call or not isinstance(call[1], tuple) or not isinstance(call[2], dict):
        raise TypeError('A call must be a tuple of a function, a tuple and a dict')
    return _hooks.run_call(*call)


def _load_error(data: _Bytes) -> BaseException:
    """Make the exception of a record, as far as that is possible."""
    try:
        error: BaseException = _hooks.load_error(pickle.loads(data))
        return error
    except Exception as error:
        why = error
    # Not above: what is being handled there is not the context of what is made here.
    with contextlib.suppress(Exception):  # why it could not be loaded says more
        rescued: BaseException = _hooks.rescue_error(why, data, None)
        return rescued
    raise why


def _make_operation_error(what: str, cause: Exception) -> BaseException:
    error: BaseException = _hooks.OperationError(_hooks.describe_failure(what, cause))
    return error


def _describe(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return 'The call failed, and its exception can be neither pickled nor printed'
