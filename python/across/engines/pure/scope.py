# SPDX-License-Identifier: MIT
"""Which connection a thread works for, and what pickles may ask of it."""

from __future__ import annotations

import threading
from typing import Any, NoReturn, Optional

from .wire import MAX_ID

CALL, PICKLE, UNPICKLE = range(3)


class Scope:
    """A link at work in this thread: it runs a call, pickles or unpickles. Scopes nest."""

    def __init__(self, link: Any, mode: int, ids: Optional[list[int]] = None) -> None:
        self.link = link
        self.mode = mode
        self.ids: list[int] = [] if ids is None else ids  # that were registered, or claimed

    def __enter__(self) -> Scope:
        self._outer = local.scope
        local.scope = self
        return self

    def __exit__(self, *exc_info: Any) -> None:
        local.scope = self._outer


class _Local(threading.local):
    scope: Optional[Scope] = None  # the innermost
    in_call = False  # this is a thread of the executor that may run a call


local = _Local()


def _get_scope(where: str, *modes: int) -> Scope:
    scope = local.scope
    if scope is None or scope.mode not in modes:
        raise RuntimeError('Only possible while a connection {}'.format(where))
    return scope


def current() -> Any:
    """Return the connection that this thread works for, or None."""
    return None if local.scope is None else local.scope.link.owner


def pickling() -> Any:
    """Return the connection that this thread pickles for, or None."""
    return current() if local.scope is not None and local.scope.mode == PICKLE else None


def register(obj: object, /) -> int:
    """Enter an object into the table of the connection that pickles."""
    scope = _get_scope('pickles', PICKLE)
    id: int = scope.link._objects.put(obj)
    scope.ids.append(id)
    return id


def lookup(id: int, /) -> Any:
    """Return an object of the table."""
    link = _get_scope('is in use by this thread', CALL, PICKLE, UNPICKLE).link
    try:
        return link._objects.get(id)
    except KeyError:
        if not link.has_stopped:
            raise
        raise link._make_disconnect_error() from None  # they all are gone


def claim(id: int, /) -> Handle:
    """Take responsibility for an object of the peer."""
    scope = _get_scope('unpickles', UNPICKLE)
    if not isinstance(id, int) or not 0 <= id <= MAX_ID:
        raise TypeError('the peer has no object {!r}'.format(id))
    handle = Handle.__new__(Handle)
    handle._link = scope.link
    handle._id = id
    scope.ids.append(id)
    return handle


class Handle:
    """One object of the peer, which is released when its handle is dropped."""

    __slots__ = ('_link', '_id')

    _link: Any
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
        if link is not None:
            link.release(self._id)
