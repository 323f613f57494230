# SPDX-License-Identifier: MIT
"""The thread that reads and writes the streams of all connections."""

from __future__ import annotations

import collections
import contextlib
import math
import select
import socket
import threading
from time import monotonic as now
from typing import Any, Callable, Optional, Protocol

from .failures import Broken, report
from .session import Session
from .stream import Stream

_READ_SIZE = 256 << 10


class Driven(Protocol):
    """What the loop drives: a link. All of this is called by the loop's thread."""

    _due: float  # when _on_time() is to be called
    _session: Session
    _stream: Optional[Stream]

    def _on_event(self, fd: int, event: int) -> None: ...

    def _on_time(self) -> None: ...

    def _settle(self) -> None: ...

    def _break(self, broken: Broken) -> bool: ...


class Loop(threading.Thread):
    """The thread that drives all links."""

    def __init__(self) -> None:
        super().__init__(name='across.loop', daemon=True)
        self.links: set[Driven] = set()  # that have started or ended, and not finished
        self.scratch = memoryview(bytearray(_READ_SIZE))
        self._tasks: collections.deque[tuple[Callable[..., object], Any]] = collections.deque()
        self._touched: set[Driven] = set()
        self._fds: dict[int, Driven] = {}
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
        """The same, without waking the loop: the call happens with the next event."""
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
        self._is_awake = False  # only now: a thread that finds it True relies on the tasks being run
        for _ in range(len(self._tasks)):
            func, args = self._tasks.popleft()
            try:
                func(*args)
            except Exception as error:
                report(error)
            del func, args

    def _guard(self, link: Driven, func: Callable[..., object], *args: Any) -> None:
        """Call a function; an exception breaks this link, and no others."""
        try:
            func(*args)
        except Exception as error:
            link._break(Broken(error))
        self._touched.add(link)

    def touch(self, link: Driven) -> None:
        """Note that a link has changed: the loop settles it before it waits."""
        self._touched.add(link)

    def _settle(self) -> None:
        while self._touched:
            link = self._touched.pop()
            try:
                link._settle()
            except Exception as error:
                report(error)
                link._session.drop_output()
                link._break(Broken(error))

    def _get_timeout(self) -> Optional[float]:
        if self._tasks or self._is_over():
            return 0
        due = min((link._due for link in self.links), default=math.inf)
        return None if due == math.inf else max(0, math.ceil((due - now()) * 1000))

    def watch(self, link: Driven, fd: int, events: int) -> None:
        """Poll a descriptor for these events from now on; 0: stop polling it."""
        if events:
            self._poll.register(fd, events)
            self._fds[fd] = link
        elif self._fds.pop(fd, None):
            self._poll.unregister(fd)

    def forget(self) -> None:
        """In a child made by fork(): close its copies of descriptors."""
        for link in self.links:
            if link._stream is not None:
                link._stream.close()
        self._waker.close()
        self._wake.close()
