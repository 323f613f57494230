# SPDX-License-Identifier: MIT
"""Exception records: what an exception is on the wire.

A record is None, or a bare exception (the second mention of one), or `(exception, context record, suppress_context,
cause record, hops)`. An exception that cannot travel is replaced: at the top by an OperationError that it caused,
below by a stand-in, a RuntimeError that names it. So the rest of the record still arrives.
"""

from __future__ import annotations

import sys
from typing import Any, Optional

from . import _tracebacks
from ._errors import OperationError
from ._portable import carry

_MAX_EXCEPTIONS = 100  # in one record; records nest, and so do the functions that read and write them


def dump_error(exc: BaseException, from_call: bool = True) -> Any:
    """Return the record of an exception.

    `from_call` says that a called function raised it. An OperationError must not cross then, because the caller would
    take it for one of its own connection.
    """
    if from_call:
        if isinstance(exc, OperationError):
            text = 'Cannot raise {} between processes'.format(type(exc).__name__)
            exc = _caused(RuntimeError(text), exc)
        else:
            trouble = carry(exc)[1]
            if trouble is not None:
                exc = _caused(OperationError(trouble), exc)
    return _Dumper().dump(exc, top=True)


def load_error(record: Any) -> BaseException:
    """Return the exception of a record, ready to be raised."""
    exc = _load(record)
    if exc is None:
        raise TypeError('an exception record without an exception')
    note_handled(exc)
    return exc


def note_handled(exc: BaseException) -> None:
    """What the caller is handling becomes the context, as for any exception that is raised here."""
    if exc.__context__ is None:
        handled = sys.exc_info()[1]
        if handled is not exc:
            BaseException.__setattr__(exc, '__context__', handled)


class _Dumper:
    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}

    def dump(self, exc: Optional[BaseException], top: bool = False) -> Any:
        if exc is None:
            return None
        if id(exc) in self.seen:
            return self.seen[id(exc)]
        if len(self.seen) == _MAX_EXCEPTIONS:
            return RuntimeError('More exceptions are left out'), None, False, None, []
        carried = self.seen[id(exc)] = carry(exc)[0]
        return (
            carried,
            self.dump(exc.__context__),
            exc.__suppress_context__,
            self.dump(exc.__cause__),
            _tracebacks.pack(exc.__traceback__, here=top),
        )


def _load(record: Any) -> Optional[BaseException]:
    if record is None or isinstance(record, BaseException):
        return record
    exc, context, suppress_context, cause, hops = record
    if not isinstance(exc, BaseException):
        raise TypeError('an exception record with a {}'.format(type(exc).__name__))
    # Not by assignment, which a class may refuse: frozen dataclasses do. Setting the cause sets suppress_context too.
    BaseException.__setattr__(exc, '__context__', _load(context))
    BaseException.__setattr__(exc, '__cause__', _load(cause))
    BaseException.__setattr__(exc, '__suppress_context__', bool(suppress_context))
    BaseException.__setattr__(exc, '__traceback__', _tracebacks.unpack(hops))
    return exc


def _caused(exc: BaseException, cause: BaseException) -> BaseException:
    exc.__cause__ = cause
    return exc
