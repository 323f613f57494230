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
        """`end` is called if the call is dropped before it has ended: in any thread, also by the garbage collector."""
        self._end = end
        self.data = b''
        self.ids: list[int] = []
        self.id: Optional[int] = None  # None: not sent
        self.message: Optional[Message] = None  # its result
        self.ticket: Optional[Ticket] = None  # held while there is a message that was not unpickled
        self.done = Latch()  # there is a result, or there will be none
        self.is_ended = False  # its caller no longer waits for it

    def __del__(self) -> None:
        if not self.is_ended:  # its caller was interrupted before it could end the call
            self._end(self)


class Answer:
    """The result of a call of the peer."""

    def __init__(self, call: int, kind: int, data: bytes, ids: list[int]) -> None:
        self.call = call
        self.kind = kind
        self.data = data
        self.ids = ids


Outgoing = Union[Call, Answer, list[int]]  # the last: ids of the peer's objects that are released
