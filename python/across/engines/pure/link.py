# SPDX-License-Identifier: MIT
"""One connection, as the package sees it."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import itertools
import math
import pickle
import select
import threading
from collections.abc import Iterable
from time import monotonic as now
from typing import Any, Callable, Optional, Union

from .calls import Answer, Call, Outgoing
from .engine import get_engine
from .executor import Job
from .failures import Broken, make_operation_error, report
from .hooks import hooks
from .latch import Latch
from .objects import Objects, Ticket
from .payloads import dump, load
from .scope import CALL, Scope, local
from .session import CLOSED, CLOSING, FAILED, READY, Session
from .stream import Stream
from .wire import (
    ERROR,
    FEATURE_DESCRIBED,
    FEATURE_DETAILS,
    MAX_MESSAGE,
    MAX_TIMEOUT_MS,
    NEWEST_MINOR,
    OLDEST_MINOR,
    OPERATION_ERROR,
    SUCCESS,
    Message,
)

# Phases of a link, forward only.
_STARTING, _RUNNING, _STOPPING, _FINISHED = range(4)
_READS = 16  # of one stream, before others get their turn
_WRITE_BUDGET = 4 << 20  # the same for writing, in bytes


class Link:
    """One connection, as the engine sees it.

    Attributes that begin with an underscore are the loop's, which others only read; so are methods that do, but for
    those under "in a thread that calls" and "in a thread of the executor".
    """

    operations = False  # of handles: calls and copies of objects are calls of named functions instead

    def __init__(
        self, owner: Any, *, acceptor: bool = False, minor: int = 2, timeout_ms: int = 60000,
        handshake_ms: int = 60000, bootstrap: Optional[bytes] = None, max_message: int = 0,
        refuse_requests: bool = False, max_preamble: int = 0, spin_us: int = 0,
    ) -> None:  # fmt: skip
        del spin_us  # threads that polled would need the GIL for it, and keep it from others
        if not 0 <= timeout_ms <= MAX_TIMEOUT_MS or not (acceptor or OLDEST_MINOR <= minor <= NEWEST_MINOR):
            raise ValueError('timeout_ms must be at most a day, minor 1 or 2')
        self.owner = owner
        self._engine = get_engine()
        self._loop = self._engine.loop
        self._session = Session(
            self, acceptor, minor, timeout_ms / 1000, handshake_ms / 1000, bootstrap, max_message or MAX_MESSAGE,
            refuse_requests, max_preamble,
        )  # fmt: skip
        self._objects = Objects()
        self._stream: Optional[Stream] = None
        self._is_blocked = False  # the stream accepts no bytes for now
        self._write_error = False  # nothing can be sent; there may still be data to read
        self._waiting: collections.deque[Outgoing] = collections.deque()  # to be sent: see _send()
        self._due = math.inf  # when the session's next deadline is
        self._phase = _STARTING
        self._phases = {_RUNNING: Latch(), _STOPPING: Latch(), _FINISHED: Latch()}
        self._was_running = False
        self._is_ending = False  # as soon as the loop comes to it
        self._is_closed = False  # close() was called
        self._is_cancelled = False
        self._error: Optional[BaseException] = None
        self._end_error: Optional[Broken] = None  # what the end of the stream will be due to
        self._is_detached = False
        self._dumps: Callable[..., bytes] = pickle.dumps
        self.loads: Optional[Callable[..., Any]] = None  # what unpickles in place of pickle.loads

    # -- in a thread that calls

    def start(self, in_fd: int, out_fd: int, /) -> None:
        """Begin the handshake over two descriptors, which are duplicated."""
        self._check()
        self._loop.post(self._attach, Stream(in_fd, out_fd))

    def fail(self, exc: BaseException, /) -> None:
        """Break the link because of an exception."""
        self._check()
        if not isinstance(exc, BaseException):
            raise TypeError('fail() takes an exception')
        self._loop.post(self._break, Broken(exc, hooks.describe_error(exc)))

    def fail_at_end(self, exc: BaseException, /) -> None:
        """Say which exception the end of the stream will be due to, when all that came before has been read."""
        self._check()
        if not isinstance(exc, BaseException):
            raise TypeError('fail_at_end() takes an exception')
        self._loop.post(self._note_end, Broken(exc, hooks.describe_error(exc)))

    def apply(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """Run a function at the peer and return its value."""
        if not isinstance(args, tuple) or not (kwargs is None or isinstance(kwargs, dict)):
            raise TypeError('apply() takes a function, a tuple and a dict')
        self._wait_for(_RUNNING)
        if self._phase != _RUNNING:
            raise self._make_disconnect_error()
        call = Call(self._end_call_soon)
        scope = local.scope
        try:
            call.data = dump(self, 'call', (func, args, kwargs or {}), call.ids)
            self._check()  # pickling runs anything, fork() included
            self._loop.post(self._send, call)
            with self._engine.executor.waiting() if local.in_call else contextlib.nullcontext():
                call.done.wait()
            if call.message is None:
                raise self._make_disconnect_error()
            return self._open_result(call.message)
        finally:
            # Also after a KeyboardInterrupt at any point.
            self._loop.post_quietly(self._end_call, call)
            local.scope = scope
            if call.ticket is None or call.ticket.doomed:
                self._loop.wake()
            del call

    def create(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """Run a function at the peer and return a proxy for its value."""
        return self.apply(hooks.create_by_name, (func, args, kwargs), {})

    def replicate(self, obj: Any, /) -> Any:
        """Copy an object to the peer and return a proxy for the copy."""
        return self.apply(hooks.replicate_by_name, (obj,), {})

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
    def is_finished(self) -> bool:
        """Whether the link has ended, and its owner has been told."""
        return self._phase == _FINISHED

    @property
    def has_stopped(self) -> bool:
        """Whether the link has ended or is closing: no call has a result any more."""
        return self._phase >= _STOPPING

    def release(self, id: int) -> None:
        """Release an object of the peer. From any thread, also within the garbage collector: takes no lock."""
        if not self._engine.is_gone and not self.has_stopped:
            self._loop.post(self._release, (id,))

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
        return self._was_running and bool(self._session.features & FEATURE_DESCRIBED)

    @property
    def details(self) -> bool:
        """Whether exceptions may carry details."""
        return self._was_running and self._session.features & FEATURE_DETAILS != 0

    @property
    def dumps(self) -> Optional[Callable[..., bytes]]:
        """What pickles in place of pickle.dumps, or None."""
        return None if self._dumps is pickle.dumps else self._dumps

    @dumps.setter
    def dumps(self, func: Optional[Callable[..., bytes]]) -> None:
        self._dumps = pickle.dumps if func is None else func

    def _check(self) -> None:
        if self._engine.is_gone:
            raise hooks.DisconnectError('The connection belongs to the process that this one was forked from')

    def _wait_for(self, phase: int) -> None:
        self._check()
        if threading.get_ident() == self._loop.ident:  # the garbage collector runs finalizers where it pleases
            raise hooks.OperationError('A finalizer that runs in a thread of the engine cannot wait for a connection')
        if self._phase < phase:
            self._phases[phase].wait()

    def _make_disconnect_error(self) -> BaseException:
        if self._is_closed:
            text = 'Connection is closed'
        elif self._is_cancelled:
            text = 'Connection was cancelled'
        elif self._error is not None:
            text = 'Connection was aborted due to {}'.format(hooks.describe_error(self._error))
        else:
            reason = self._session.reason
            text = 'Connection was remotely closed{}{}'.format(': ' if reason else '', reason)
        error: BaseException = hooks.DisconnectError(text)
        return error

    def _open_result(self, message: Message) -> Any:
        if message.kind == OPERATION_ERROR:
            raise hooks.OperationError(message.text)
        value = load(self, message)
        if message.kind == SUCCESS:
            return value
        context = value.__context__
        try:
            raise value
        finally:
            # The record says what its context is, whatever is handled here; a class may refuse assignment.
            BaseException.__setattr__(value, '__context__', context)
            del value, context  # a traceback refers to this frame

    # -- in a thread of the executor

    def _serve(self, message: Message, ticket: Ticket) -> None:
        """Run a call of the peer, and answer it."""
        executor = self._engine.executor
        from_call = False
        try:
            try:
                call = load(self, message)
            finally:
                self._loop.post_quietly(self._give_back, ticket)
                if ticket.doomed:
                    self._loop.wake()
            executor.end_if_forked()
            message.buffers = []
            from_call = True
            with Scope(self, CALL):
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
        """Answer with an exception, or with a text if the exception cannot be pickled."""
        try:
            answer = self._make_error_answer(call, error, from_call)
        except BaseException as dump_error:
            try:
                answer = self._make_error_answer(call, dump_error, False)
            except BaseException:
                self._loop.post(self._refuse, call, _describe(dump_error))
                return
        self._loop.post(self._send, answer)

    def _make_value_answer(self, call: int, value: object) -> Answer:
        try:
            return self._make_answer(call, SUCCESS, value)
        except hooks.OperationError:
            lent = hooks.lend(value)
            if lent is value:
                raise
        return self._make_answer(call, SUCCESS, lent)

    def _make_answer(self, call: int, kind: int, value: object) -> Answer:
        ids: list[int] = []
        return Answer(call, kind, dump(self, 'result', value, ids), ids)

    def _make_error_answer(self, call: int, error: BaseException, from_call: bool) -> Answer:
        try:
            with Scope(self, CALL):
                record = hooks.dump_error(error, from_call)
        except Exception as dump_error:
            raise make_operation_error('Pickling', dump_error) from dump_error
        return self._make_answer(call, ERROR, record)

    def _finish(self) -> None:
        """The stream is closed, and no message will come."""
        try:
            self.owner._link_finished()
        except BaseException as error:
            report(error)
        self._objects.take_all()
        self._loop.post(self._set_finished)

    # -- tasks of the loop

    def _attach(self, stream: Stream) -> None:
        if self._phase >= _STOPPING:
            stream.close()
            return
        self._stream = stream
        self._session.received_at = self._session.sent_at = now()
        self._loop.links.add(self)
        self._loop.watch(self, stream.in_fd, select.POLLIN)
        self._loop.touch(self)

    def _send(self, what: Union[Call, Answer]) -> None:
        """Send when there is room. The order stays: a pickle may mention objects that are released after it."""
        if self._session.state == READY:
            self._waiting.append(what)
        else:
            self._give_up(what)
        self._loop.touch(self)

    def _give_up(self, what: Outgoing) -> None:
        """Drop what can no longer be sent."""
        if isinstance(what, list):
            return
        self._drop(self._objects.take(what.ids))
        if isinstance(what, Call):
            what.done.open()

    def _end_call(self, call: Call) -> None:
        """The caller no longer waits, with a result or without."""
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

    def _end_call_soon(self, call: Call) -> None:
        self._loop.post(self._end_call, call)

    def _give_back(self, ticket: Ticket) -> None:
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
        self._is_cancelled = self._break(Broken(ConnectionAbortedError(reason), reason)) or self._is_cancelled

    def _break(self, broken: Broken) -> bool:
        """End now; return whether `broken` is why: not when both sides have said GOODBYE, or the session has failed."""
        self._loop.touch(self)
        if self._session.state == CLOSED:
            self._session.drop_output()  # it would be waited for
        if self._session.state >= CLOSED:
            return False
        self._session.fail(broken)
        return True

    def _note_end(self, broken: Broken) -> None:
        self._end_error = self._end_error or broken

    def _set_finished(self) -> None:
        self._loop.links.discard(self)
        self._set_phase(_FINISHED)
        self._engine.executor.disown(self)

    def _drop(self, objects: list[Any]) -> None:
        """Drop objects, in another thread: their finalizers may run anything."""
        if objects:
            self._engine.executor.submit(Job(objects.clear, is_service=True, owner=self))

    # -- events of the session

    def _on_call(self, message: Message) -> None:
        ticket = self._objects.take_ticket()

        def refuse() -> None:
            self._loop.post(self._release, message.ids)
            self._loop.post(self._give_back, ticket)
            self._loop.post(self._refuse, message.call, text)

        text = 'Too many calls: all threads that run calls are in use, and no more can wait for one'
        # Each call has a context of its own: what it sets of context variables ends with it, whichever thread runs it.
        context = contextvars.Context()
        self._engine.executor.submit(Job(lambda: context.run(self._serve, message, ticket), refuse=refuse, owner=self))

    def _on_result(self, call: Call, message: Message) -> None:
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
            # While closing, or where the end has a reason already, a reset counts as the end of the stream.
            if self._session.state == CLOSING or self._end_error is not None:
                self._end_input()
            else:
                self._session.fail(Broken(error, error.strerror))
            return False
        if size == 0:
            self._end_input()
            return False
        self._session.feed(scratch[:size])
        return size == len(scratch) and self._session.state < CLOSED

    def _end_input(self) -> None:
        if self._end_error is not None and self._session.state < CLOSED:
            self._session.fail(self._end_error)
        else:
            self._session.feed_end()

    def _on_time(self) -> None:
        """A deadline has passed. As the process may have been suspended, read and write first."""
        if self._stream is not None and self._session.state < CLOSED:
            self._on_event(self._stream.in_fd, select.POLLIN | select.POLLOUT)
            self._write()
        self._session.expire()

    def _settle(self) -> None:
        """Send what is queued, and follow the session's state."""
        if self._is_detached:
            return
        self._write()
        state = self._session.state
        if state == READY and self._phase == _STARTING:
            self._was_running = True
            self._set_phase(_RUNNING)
        elif state > READY:
            self._stop()
        if state == FAILED or (state == CLOSED and not (self._is_blocked and self._session.output)):
            self._detach()
            return
        self._due = self._session.deadline() if self._stream is not None else math.inf
        if self._stream is not None:
            self._watch(self._stream)

    def _watch(self, stream: Stream) -> None:
        reading = select.POLLIN if self._session.state < CLOSED else 0
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
            except OSError:  # not the end yet: data that the peer sent before is still to be read
                self._write_error = True
                return
            else:
                session.was_sent(size)
            budget -= size
            self._is_blocked = budget <= 0

    def _send_waiting(self) -> None:
        session = self._session
        while self._waiting and session.state == READY and not session.is_full():
            what = self._waiting[0]
            if isinstance(what, Call):
                session.call(what)
            elif isinstance(what, Answer):
                session.answer(what)
            else:
                session.releases += what
                session.flush_releases()
            self._waiting.popleft()  # only now: what could not be sent is dropped with the link

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
        """Close the stream."""
        self._is_detached = True
        self._due = math.inf
        stream = self._stream
        if stream is not None:
            for fd in stream.fds():
                self._loop.watch(self, fd, 0)
            stream.hang_up()
            stream.close()
        self._loop.links.add(self)  # it may end before it began
        self._engine.executor.submit(Job(self._finish, owner=self, is_ending=True))

    def _set_phase(self, phase: int) -> None:
        if phase > self._phase:
            self._phase = phase
            for passed in range(_RUNNING, phase + 1):
                self._phases[passed].open()


def _run(call: Any) -> Any:
    is_call = isinstance(call, tuple) and len(call) == 3
    if not is_call or not isinstance(call[1], tuple) or not isinstance(call[2], dict):
        raise TypeError('A call must be a tuple of a function, a tuple and a dict')
    return hooks.run_call(*call)


def _describe(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return 'The call failed, and its exception can be neither pickled nor printed'
