# SPDX-License-Identifier: MIT
"""Calls in both directions, and what waits to be sent."""

from __future__ import annotations

from typing import Callable, Optional, Union

from .latch import Latch
from .objects import Ticket
from .wire import Message


class Call:
    """A call of ours."""

    def __init__(self, end: Callable[[Call], object]) -> None:
        """`end`: to be called from any thread, also by the garbage collector, if nobody has said that it is ended."""
        self._end = end
        self.data = b''
        self.ids: list[int] = []
        self.id: Optional[int] = None  # None: not sent
        self.message: Optional[Message] = None  # its result
        self.ticket: Optional[Ticket] = None  # held while there is a message that was not unpickled
        self.done = Latch()  # there is a result, or never will be
        self.is_ended = False  # its caller does not wait for it any more

    def __del__(self) -> None:
        if not self.is_ended:  # its caller was interrupted where it would have said so
            self._end(self)


class Answer:
    """The result of a call of the peer."""

    def __init__(self, call: int, kind: int, data: bytes, ids: list[int]) -> None:
        self.call = call
        self.kind = kind
        self.data = data
        self.ids = ids


Outgoing = Union[Call, Answer, list[int]]  # the last: ids of the peer's objects that are released
