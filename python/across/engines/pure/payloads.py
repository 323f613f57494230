# SPDX-License-Identifier: MIT
"""Pickling and unpickling of what a link sends and receives. In any thread but the loop's."""

from __future__ import annotations

import contextlib
import pickle
from typing import Any

from .failures import make_operation_error
from .hooks import hooks
from .scope import PICKLE, UNPICKLE, Scope
from .wire import ERROR, Bytes, Message


def dump(link: Any, what: str, value: object, ids: list[int]) -> bytes:
    """Pickle what goes into a message, and append the ids of the objects that are registered."""
    data = _pickle(link, value, ids)
    try:
        link._session.check_size(what, ids, data)
    except BaseException:
        link._objects.take(ids)
        raise
    return data


def _pickle(link: Any, value: object, ids: list[int]) -> bytes:
    try:
        with Scope(link, PICKLE, ids):
            data = link._dumps(value, protocol=4)
            if not isinstance(data, bytes):
                raise TypeError('The pickler returned {}, not bytes'.format(type(data).__name__))
            return data
    except BaseException as error:
        link._objects.take(ids)
        if isinstance(error, hooks.DisconnectError) and link.has_stopped:
            raise link._make_disconnect_error() from None
        if isinstance(error, Exception):
            raise make_operation_error('Pickling', error) from error
        raise


def load(link: Any, message: Message) -> Any:
    """Unpickle; return the value or, from an exception record, the exception."""
    scope = Scope(link, UNPICKLE)
    try:
        with scope:
            is_error = message.kind == ERROR
            if link.loads is not None:
                return link.loads(message.buffers[0], is_error)
            if not is_error:
                return pickle.loads(message.buffers[0])
            return _load_error(message.buffers[0])
    except Exception as error:
        if isinstance(error, hooks.DisconnectError) and link.has_stopped:
            raise link._make_disconnect_error() from None
        raise make_operation_error('Unpickling', error) from error
    finally:
        unclaimed = set(message.ids).difference(scope.ids)
        message.ids = []
        if unclaimed:
            link._loop.post(link._release, unclaimed)


def _load_error(data: Bytes) -> BaseException:
    """Make the exception of a record, as far as that is possible."""
    try:
        error: BaseException = hooks.load_error(pickle.loads(data))
        return error
    except Exception as error:
        why = error
    # Outside of the handler, so that its exception does not become the context of the new one.
    with contextlib.suppress(Exception):  # why it could not be loaded says more
        rescued: BaseException = hooks.rescue_error(why, data, None)
        return rescued
    raise why
