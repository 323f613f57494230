# SPDX-License-Identifier: MIT
"""Exception records: what an exception is on the wire.

A record is None, or a bare exception (the second mention of one), or `(exception, context record, suppress_context,
cause record, hops)`. An exception that cannot be pickled is replaced: at the top by an OperationError that it caused,
below by a stand-in, a RuntimeError that names it. So the rest of the record still arrives.
"""

from __future__ import annotations

from typing import Any, Optional

from ... import engines
from ..._errors import DisconnectError, OperationError, UnknownExceptionError, describe_error
from . import tracebacks
from .context import note_handled
from .portable import Carrier, carry, carry_with_details, get_members, pop_details

_MAX_EXCEPTIONS = 100  # in one record; records nest, and so do the functions that read and write them


def dump_error(exc: BaseException, from_call: bool = True) -> Any:
    """Return the record of an exception.

    `from_call` says that a called function raised it. An OperationError must not be sent then, because the
    caller would take it for one of its own connection.
    """
    conn = engines.current()
    dumper = _Dumper(conn is not None and conn._link.details)
    return dumper.dump(dumper.check(exc) if from_call else exc, top=True)


def load_error(record: Any) -> BaseException:
    """Return the exception of a record, ready to be raised."""
    exc = _load(record)
    if exc is None:
        raise TypeError('an exception record without an exception')
    note_handled(exc)
    return exc


def rescue_error(why: Exception, data: Any, buffers: Any) -> BaseException:
    """Return the exception of a record that could not be loaded because of `why`: what cannot be made is described."""
    if isinstance(why, (DisconnectError, MemoryError, RecursionError)):
        raise why
    from . import rescue  # slow to import, and rarely needed

    return rescue.load_error(why, data, buffers or ())


class _Dumper:
    def __init__(self, with_details: bool) -> None:
        self.seen: dict[int, Any] = {}
        self._with_details = with_details
        self._carry = carry_with_details if with_details else carry

    def check(self, exc: BaseException) -> BaseException:
        """Return an exception that a called function raised, or what is to be sent as caused by it."""
        if isinstance(exc, OperationError):
            if type(exc) is UnknownExceptionError and self._with_details:
                return exc  # raised by a call of the peer to a third process
            text = 'Cannot raise {} between processes'.format(type(exc).__name__)
            return _caused(RuntimeError(text), exc)
        trouble = self._carry(exc)[1]
        if trouble is None:
            return exc
        if self._with_details:
            trouble = '{}; what was raised is {}'.format(trouble, describe_error(exc))
        return _caused(OperationError(trouble), exc)

    def dump(self, exc: Optional[BaseException], top: bool = False) -> Any:
        if exc is None:
            return None
        if id(exc) in self.seen:
            return self.seen[id(exc)]
        if len(self.seen) == _MAX_EXCEPTIONS:
            return RuntimeError('More exceptions are left out'), None, False, None, []
        carried = self.seen[id(exc)] = self._carry(exc)[0]
        if type(carried) is Carrier and carried.has_members:
            self._add_members(carried, exc)
        return (
            carried,
            self.dump(exc.__context__),
            exc.__suppress_context__,
            self.dump(exc.__cause__),
            tracebacks.pack(exc.__traceback__, here=top),
        )

    def _add_members(self, carrier: Carrier, exc: BaseException) -> None:
        members, records = [], []
        for member in get_members(exc):
            if id(member) not in self.seen:
                if len(self.seen) == _MAX_EXCEPTIONS:
                    members.append(carry(member)[0])
                    continue
                records.append(self.dump(member))
            members.append(self.seen[id(member)])
        carrier.add_members(members, records)


def _load(record: Any) -> Optional[BaseException]:
    if record is None or isinstance(record, BaseException):
        return record
    exc, context, suppress_context, cause, hops = record
    if not isinstance(exc, BaseException):
        raise TypeError('an exception record with a {}'.format(type(exc).__name__))
    for member in pop_details(exc)[1]:
        _load(member)
    # Not by assignment, which a class may refuse: frozen dataclasses do. Setting the cause sets suppress_context too.
    BaseException.__setattr__(exc, '__context__', _load(context))
    BaseException.__setattr__(exc, '__cause__', _load(cause))
    BaseException.__setattr__(exc, '__suppress_context__', bool(suppress_context))
    BaseException.__setattr__(exc, '__traceback__', tracebacks.unpack(hops))
    return exc


def _caused(exc: BaseException, cause: BaseException) -> BaseException:
    exc.__cause__ = cause
    return exc
