# SPDX-License-Identifier: MIT
"""One end of a connection as the wire sees it. No thread, and no stream: bytes in, bytes out."""

from __future__ import annotations

import collections
import errno
import itertools
import math
import struct
from collections.abc import Generator, Iterator
from time import monotonic as now
from typing import Optional, Protocol

from . import wire
from .calls import Answer, Call
from .failures import Broken, breach
from .hooks import hooks
from .wire import Bytes, Message

# States of a session, forward only.
SUPERBLOCK, GREET, READY, CLOSING, CLOSED, FAILED = range(6)
_MAX_HEARD = 64  # bytes that are enough to recognize another protocol
_MAX_CALLS = 1024
_MAX_QUEUED = 16 << 20
_IDLE_FLOOR = 0.05  # seconds between two IDLE messages
_CLOSE_PATIENCE = 60.0  # seconds for the peer's GOODBYE, when there is no timeout
_IDS_IN_MESSAGE = 1024
_COPIED = 4096  # bytes of a payload that is sent in one piece with its head
_Receiver = Generator[int, bytearray, None]


class Events(Protocol):
    """What a session calls when messages have come. Implemented by its link."""

    def _on_call(self, message: Message) -> None: ...

    def _on_result(self, call: Call, message: Message) -> None: ...

    def _on_release(self, ids: list[int]) -> None: ...


class Session:
    """One end of a connection, as the wire sees it: handshake, messages, limits, liveness and closing.

    SUPERBLOCK  waits for the peer's superblock; an opener has sent its own
    GREET       waits for the peer's GREETING
    READY       calls and results flow
    CLOSING     we said GOODBYE and wait for the peer's; what comes until then is dropped
    CLOSED      both have said GOODBYE: what is queued is sent, then the stream is closed
    FAILED      broken, because of `error`
    """

    def __init__(
        self, events: Events, acceptor: bool, minor: int, timeout: float, handshake: float, bootstrap: Optional[bytes],
        max_message: int, refuse_requests: bool, max_preamble: int,
    ) -> None:  # fmt: skip
        self.state = SUPERBLOCK
        self.error: Optional[BaseException] = None  # of FAILED
        self.reason = ''  # of FAILED, or the peer's of CLOSED
        self.features = 0  # that both sides announced
        self.output: collections.deque[Bytes] = collections.deque()
        self.output_size = 0
        self.releases: list[int] = []  # ids for the next DEL_OBJS
        self.calls: dict[int, Optional[Call]] = {}  # ours; None: abandoned, its result is dropped
        self.received_at = self.sent_at = now()  # sent_at: or when something had to be sent at last
        self.preamble = bytearray()  # what came before the peer's superblock
        self._heard = b''  # what came in its place
        self._max_preamble = max_preamble
        self._events = events
        self._is_opener = not acceptor
        self._bootstrap = bootstrap
        self.minor = wire.NEWEST_MINOR if acceptor else minor
        self._has_spoken = not acceptor  # our superblock was sent, and with it the version
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
            while data and self.state < CLOSED:
                part = data[: self._missing]
                self._piece += part  # grows as bytes arrive, whatever length was announced
                self._missing -= len(part)
                data = data[len(part) :]
                self._hand_over()
        except Broken as broken:
            self.fail(broken)
        except MemoryError:
            self.fail(Broken(MemoryError('Out of memory')))

    def _hand_over(self) -> None:
        while self._missing == 0 and self._receiver is not None and self.state < CLOSED:
            piece, self._piece = self._piece, bytearray()
            self._missing = self._receiver.send(piece)

    def feed_end(self) -> None:
        """The stream has ended."""
        if self.state < CLOSING:
            self.fail(Broken(EOFError(self._end_means)))
        elif self.state == CLOSING:  # a peer need not answer our GOODBYE
            self.state = CLOSED

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
            if magic == wire.MAGIC:
                break
            if magic != wire.MAGIC_BOOTSTRAP:
                raise breach('Invalid magic: 0x{:x}', magic)
            if bootstrapped:
                raise breach('The peer asks to be bootstrapped a second time')
            self._send_bootstrap((major, minor, patch))
            bootstrapped = True
        if not self._has_spoken:
            if major == 0 and wire.OLDEST_MINOR <= minor <= wire.NEWEST_MINOR:
                self.minor = minor
            self._queue_superblock()
        if (major, minor) != (0, self.minor):
            text = 'Local across 0.{}.0 is not compatible with remote {}.{}.{}'
            raise breach(text, self.minor, major, minor, patch)
        self.features = features & wire.FEATURES if level else 0
        limits = (0, 0, self._max_message, wire.MAX_HEAD, wire.MAX_IDS) if self.features & wire.FEATURE_LIMITS else ()
        self._queue(wire.put_uints(wire.GREETING, round(self._timeout * 1000), *limits))
        self.state = GREET

    def _find_superblock(self) -> Generator[int, bytearray, bytearray]:
        """Return the 16 bytes of a superblock, or what is in its place. What comes before it may have to be skipped."""
        if not self._max_preamble:
            block = yield 16
            self._heard = bytes(block)
            return block
        block = bytearray()
        while len(block) < 16:
            block += yield 1
            while not wire.may_begin_superblock(block):
                if len(self.preamble) == self._max_preamble:
                    return self.preamble[:16]
                self.preamble.append(block.pop(0))
        return block

    def _send_bootstrap(self, needed: tuple[int, int, int]) -> None:
        if self._bootstrap is None:
            raise breach('The peer asks to be bootstrapped, which is not allowed here')
        if needed > (0, self.minor, 0):
            raise breach('At least across {}.{}.{} is needed to bootstrap connection', *needed)
        if not self._has_spoken:
            self._queue_superblock()
        self._send(struct.pack('>I', len(self._bootstrap)), self._bootstrap)
        self._queue_superblock()

    def _receive_message(self) -> Generator[int, bytearray, Message]:
        message = None
        more, size = True, 0
        for count in itertools.count(1):
            self._end_means = 'Incomplete frame size'
            length, more = divmod(struct.unpack('>Q', (yield 8))[0], 2)
            size += length
            if count > wire.MAX_FRAMES:
                raise breach('Message of {} frames is longer than the limit of {}', count, wire.MAX_FRAMES)
            if count == 1 and length > wire.MAX_HEAD:
                raise breach('Message head of {} bytes is larger than the limit of {}', length, wire.MAX_HEAD)
            if size > self._max_message:
                raise breach('Message of {} bytes is larger than the limit of {}', size, self._max_message)
            self._end_means = 'Incomplete frame'
            body = yield length
            if message is None:
                message = Message(body)
                self._check_head(message)
            else:
                message.buffers.append(body)
            if not more:
                break
        assert message is not None
        return message

    def _check_head(self, message: Message) -> None:
        """Refuse a message for what its head says, before its buffers are received."""
        if self.state == GREET and message.type != wire.GREETING:
            raise breach('Invalid message in greeting state: {}', message.type)
        if self.state == READY and not wire.GREETING < message.type <= wire.IDLE:
            raise breach('Invalid message in ready state: {}', message.type)
        if self.state == CLOSING:
            return
        count, size = message.ids_announced, message.ids_size
        if count > wire.MAX_IDS:
            raise breach('List of {} ids is longer than the limit of {}', count, wire.MAX_IDS)
        if count > size:
            raise breach('List of {} ids does not fit into the {} bytes of its head', count, size)

    def _act_on(self, message: Message) -> None:
        if message.type == wire.GOODBYE:
            self._on_goodbye(message)
        elif self.state == CLOSING or message.type == wire.IDLE:
            pass
        elif message.type == wire.GREETING:
            self._peer_timeout = min(message.timeout, wire.MAX_TIMEOUT_MS) / 1000
            self._handshake_due = math.inf
            self._note_limits(message)
            self.state = READY
        elif message.type == wire.APPLY:
            self._on_apply(message)
        elif message.type == wire.RESULT:
            self._on_result(message)
        else:
            self._events._on_release(message.ids)

    def _note_limits(self, greeting: Message) -> None:
        """Plain peers have no limits. Older releases of ours do not send theirs, and have the default ones."""
        limits = (
            greeting.limits
            if self.features & wire.FEATURE_LIMITS
            else [0, wire.MAX_HEAD, wire.MAX_IDS]
            if self.features
            else [0] * 3
        )
        self.peer_max_message, self.peer_max_head, self.peer_max_ids = (limit or math.inf for limit in limits)

    def _on_apply(self, message: Message) -> None:
        if not message.buffers:
            raise breach('Call {} has no buffer', message.call)
        self._admit_request(message)

    def _admit_request(self, message: Message) -> None:
        """Accept a message that asks for something to be run here, or refuse it."""
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
        self._events._on_call(message)

    def _on_result(self, message: Message) -> None:
        if message.call not in self.calls:
            raise breach('Call not found: {}', message.call)
        if message.kind not in (wire.SUCCESS, wire.ERROR, wire.OPERATION_ERROR):
            raise breach('Result of call {} has an unknown kind: {}', message.call, message.kind)
        if message.kind != wire.OPERATION_ERROR and not message.buffers:
            raise breach('Result of call {} has no buffer', message.call)
        call = self.calls.pop(message.call)
        if call is None:
            self.releases += message.ids
        else:
            self._events._on_result(call, message)

    def _on_goodbye(self, message: Message) -> None:
        if self.features & wire.FEATURE_REASON:
            self.reason = wire.clean_reason(message.text)
        if self.state == READY:
            self._queue_goodbye('')
        self._start_closing(CLOSED)

    # -- output

    def _send(self, *parts: Bytes) -> None:
        if not self.output_size:
            self.sent_at = now()
        self.output.extend(parts)
        self.output_size += sum(map(len, parts))

    def _queue(self, head: bytes) -> None:
        self._send(wire.put_frame_header(len(head)) + head)

    def _queue_superblock(self) -> None:
        self._has_spoken = True
        self._send(struct.pack('>IBBBBII', wire.MAGIC, 0, self.minor, 0, wire.LEVEL, wire.FEATURES, 0))

    def _queue_goodbye(self, reason: str) -> None:
        data = reason.encode() if self.features & wire.FEATURE_REASON else b''
        self._queue(wire.put_uint(wire.GOODBYE) + (wire.put_uint(len(data)) + data if data else b''))

    def _queue_refusal(self, call: int, text: str) -> None:
        if self.output_size > 2 * _MAX_QUEUED:
            raise breach('The peer lets its results pile up: {} bytes wait', self.output_size)
        data = text.encode('utf-8', 'replace')[: wire.MAX_TEXT].decode('utf-8', 'ignore').encode()
        self._queue(wire.put_uints(wire.RESULT, call, wire.OPERATION_ERROR, len(data)) + data)

    def _queue_pickle(self, head: bytes, data: bytes) -> None:
        start = wire.put_frame_header(len(head), True) + head + wire.put_frame_header(len(data))
        if len(data) <= _COPIED:
            self._send(start + data)
        else:
            self._send(start, memoryview(data))

    def is_full(self) -> bool:
        return self.output_size >= _MAX_QUEUED

    def check_size(self, what: str, ids: list[int], data: bytes) -> None:
        """Raise OperationError if the peer would end the connection for a message of this size. Any thread."""
        head = 27 + (sum(len(wire.put_uint(id)) for id in ids) if len(ids) > 1000 else 9 * len(ids))
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
        raise hooks.OperationError(text)

    def call(self, call: Call) -> None:
        """Send an APPLY. Only when READY and not full."""
        call.id = next(self._numbers)
        self.calls[call.id] = call
        self._queue_pickle(wire.put_uints(wire.APPLY, call.id) + wire.put_ids(call.ids), call.data)

    def forget(self, call: Call) -> None:
        """Abandon a call: its result will be dropped."""
        if call.id in self.calls:
            self.calls[call.id] = None

    def answer(self, answer: Answer) -> None:
        """Send a RESULT. Only when READY and not full."""
        self._calls_in_progress -= 1
        head = wire.put_uints(wire.RESULT, answer.call, answer.kind) + wire.put_ids(answer.ids)
        self._queue_pickle(head, answer.data)

    def refuse(self, call: int, text: str) -> None:
        """Send an operation error: a RESULT that consists of a text."""
        if self.state == READY:
            self._calls_in_progress -= 1
            try:
                self._queue_refusal(call, text)
            except Broken as broken:
                self.fail(broken)

    def flush_releases(self) -> None:
        """Send a DEL_OBJS, or several, for what has been gathered."""
        ids, self.releases = self.releases, []
        for first in range(0, len(ids) if self.state == READY else 0, _IDS_IN_MESSAGE):
            self._queue(wire.put_uint(wire.DEL_OBJS) + wire.put_ids(ids[first : first + _IDS_IN_MESSAGE]))

    def was_sent(self, size: int) -> None:
        """So many bytes of the output were sent."""
        self.output_size -= size
        self.sent_at = now()
        while size:
            first = self.output.popleft()
            if size < len(first):
                self.output.appendleft(memoryview(first)[size:])
                return
            size -= len(first)

    def drop_output(self) -> None:
        """Drop what is queued."""
        self.output.clear()
        self.output_size = 0

    # -- ends

    def close(self) -> None:
        """Say GOODBYE."""
        if self.state > READY:
            return
        if self.state != SUPERBLOCK:  # before our GREETING, the end of the stream has to say it
            self._queue_goodbye('')
        self._start_closing(CLOSING if self.state == READY else CLOSED)

    def _start_closing(self, state: int) -> None:
        if self._closing_due == math.inf:
            self._closing_due = now() + (self._timeout or _CLOSE_PATIENCE)
        self.state = state

    def _advise(self, broken: Broken) -> BaseException:
        """Return the error with a hint, if the package has one for these bytes of the peer."""
        error, text = broken.error, str(broken.error)
        if type(error) not in (EOFError, hooks.ProtocolError) or broken.reason != text:
            return error
        heard = bytes(self.preamble[:_MAX_HEARD]) or self._heard or bytes(self._piece)
        advised: BaseException = type(error)(hooks.advise(text, heard, self._is_opener))
        return advised

    def fail(self, broken: Broken) -> None:
        """Break. The first reason stays."""
        if self.state == FAILED:
            return
        self.error = self._advise(broken)
        self.reason = self.reason or wire.clean_reason(broken.reason)
        if self.state in (GREET, READY) and self.features & wire.FEATURE_REASON:
            self._queue_goodbye(self.reason)
        self.state = FAILED
        self._receiver = None
        self._piece = bytearray()

    # -- time

    def _deadlines(self) -> Iterator[tuple[float, str, float]]:
        """Deadlines: time, reason for which the session fails then, and timeout; without a reason an IDLE is due."""
        is_sending = self.output_size > 0
        if self.state <= READY:
            yield self._handshake_due, 'The handshake was not finished within {} ms', self._handshake
            if self._timeout:
                yield self.received_at + self._timeout, 'Nothing was received for {} ms', self._timeout
                if is_sending:
                    yield self.sent_at + self._timeout, 'Nothing could be sent for {} ms', self._timeout
        elif self.state == CLOSING or (self.state == CLOSED and is_sending):
            yield self._closing_due, 'The peer did not close within {} ms', self._timeout or _CLOSE_PATIENCE
        if self.state == READY and self._peer_timeout and not is_sending:
            yield self.sent_at + max(self._peer_timeout / 2, _IDLE_FLOOR), '', 0

    def deadline(self) -> float:
        """When expire() is to be called next."""
        return min((due for due, _, _ in self._deadlines()), default=math.inf)

    def expire(self) -> None:
        """Act on what is due."""
        moment = now()
        for due, reason, seconds in self._deadlines():
            if moment < due:
                continue
            if reason:
                text = reason.format(round(seconds * 1000))
                self.fail(Broken(OSError(errno.ETIMEDOUT, text), text))
            else:
                self._queue(wire.put_uint(wire.IDLE))
            return
