# SPDX-License-Identifier: MIT
"""What the peer may refer to, and in which order it may be dropped."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from .failures import breach
from .hooks import hooks

_MAX_OBJECTS = 1000000  # that one peer holds


class Ticket:
    """The position of a message that is still to be unpickled in the order of the stream."""

    __slots__ = ('doomed',)

    def __init__(self) -> None:
        self.doomed: list[int] = []  # released by the peer after this message, and before the next with a ticket


class Objects:
    """What the peer may refer to, by id.

    Messages are unpickled by many threads, but take effect in the order of the stream: objects that the peer releases
    stay here until all earlier messages are unpickled.

    Any thread may use put(), get() and take(), which are atomic; the others are the loop's.
    """

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}
        self._numbers = itertools.count()
        self._doomed: set[int] = set()
        self._tickets: list[Ticket] = []  # oldest first

    def put(self, value: Any) -> int:
        if len(self._values) >= _MAX_OBJECTS:
            text = 'The peer holds {} objects already, which is the limit'
            raise hooks.OperationError(text.format(_MAX_OBJECTS))
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

    def take_ticket(self) -> Ticket:
        ticket = Ticket()
        self._tickets.append(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> list[Any]:
        """The ticket's message is unpickled. Return what may be dropped now."""
        place = self._tickets.index(ticket)
        del self._tickets[place]
        if place == 0:
            return self._take_doomed(ticket.doomed)
        self._tickets[place - 1].doomed += ticket.doomed  # which delays them, too
        return []

    def doom(self, ids: list[int]) -> list[Any]:
        """The peer has released these. Return what may be dropped now."""
        for id in ids:
            if id not in self._values or id in self._doomed:
                raise breach('Object not found: {}', id)
            self._doomed.add(id)
        if self._tickets:
            self._tickets[-1].doomed += ids
            return []
        return self._take_doomed(ids)

    def _take_doomed(self, ids: list[int]) -> list[Any]:
        self._doomed.difference_update(ids)
        return self.take(ids)
