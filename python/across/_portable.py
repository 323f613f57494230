# SPDX-License-Identifier: MIT
"""Whether an exception will arrive at another process, and what to send in its place if it will not.

Found out by trying: an exception is pickled and unpickled here before it is sent. That costs some microseconds, for
which the caller learns what was raised, in place of only learning that it could not be pickled.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any, Optional

from . import _engine
from ._errors import describe_error

_PROTOCOL = 4
_SAFE_TYPES = frozenset([  # exceptions with no state but their args and attributes
    ArithmeticError, AssertionError, AttributeError, EOFError, Exception, IndexError, KeyError, LookupError, NameError,
    NotImplementedError, OverflowError, RecursionError, RuntimeError, StopIteration, TypeError, ValueError,
    ZeroDivisionError,
])  # fmt: skip
_SAFE_ARGS = frozenset([str, int, float, bool, bytes, type(None)])


class ConnectionBound:
    """Base of what only a connection can pickle."""

    __slots__ = ()


def portable(exc: BaseException) -> BaseException:
    """Return the exception, or a stand-in when it would not arrive at another process."""
    carried, trouble = carry(exc)
    return exc if trouble is None else carried


def carry(exc: BaseException) -> tuple[Any, Optional[str]]:
    """Return what to pickle in place of an exception, and what keeps it from arriving itself, if anything does."""
    if type(exc) in _SAFE_TYPES and not exc.__dict__ and all(type(arg) in _SAFE_ARGS for arg in exc.args):
        return exc, None
    copied, trouble = _try(exc)
    notes = _get_notes(exc)
    if notes and trouble is None and _get_notes(copied) != notes:
        carrier = _NotesCarrier(exc, notes)
        if _try(carrier)[1] is None:
            return carrier, None
    return (exc, None) if trouble is None else (_make_stand_in(exc, trouble), trouble)


def _make_stand_in(exc: BaseException, trouble: str) -> BaseException:
    stand_in = RuntimeError('{} ({})'.format(describe_error(exc), trouble))
    notes = _get_notes(exc)
    if notes:
        vars(stand_in)['__notes__'] = notes  # as add_note() does, which 3.9 lacks
    return stand_in


def _get_notes(exc: BaseException) -> list[str]:
    notes = getattr(exc, '__notes__', None)
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, (list, tuple)) else []


def _try(obj: Any) -> tuple[Any, Optional[str]]:
    """Pickle and unpickle an exception; return the copy, and what went wrong."""
    file = io.BytesIO()
    pickler = _make_trial_pickler(file)
    try:
        pickler.dump(obj)
    except Exception as error:
        return None, 'Pickling failed due to {}'.format(describe_error(error))
    file.seek(0)
    try:
        copied = _TrialUnpickler(file, pickler.kept).load()
    except Exception as error:
        return None, 'Unpickling failed due to {}'.format(describe_error(error))
    if not isinstance(copied, BaseException):
        return None, 'Unpickling failed due to a {} in place of an exception'.format(type(copied).__name__)
    return copied, None


class _KeepsAside:
    """Part of a pickler: keeps what only a connection can pickle aside."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, _PROTOCOL)  # type: ignore[call-arg]
        self.kept: list[Any] = []

    def persistent_id(self, obj: Any) -> Optional[int]:
        if not isinstance(obj, ConnectionBound):
            return None
        self.kept.append(obj)
        return len(self.kept) - 1


class _TrialPickler(_KeepsAside, pickle.Pickler):
    """Pickles as a connection does."""


def _make_trial_pickler(file: io.BytesIO) -> Any:
    """Return a pickler like that of the connection which this thread works for."""
    conn = _engine.current()
    by_value = sys.modules.get('cloudpickle')
    if conn is None or by_value is None or conn._link.dumps is not by_value.dumps:
        return _TrialPickler(file)
    return type('_TrialPickler', (_KeepsAside, by_value.Pickler), {})(file)


class _TrialUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self.kept = kept

    def persistent_load(self, pid: Any) -> Any:
        return self.kept[pid]


class _NotesCarrier:
    """Pickles as an exception with its notes, for a class whose own way of pickling drops them."""

    def __init__(self, exc: BaseException, notes: list[str]) -> None:
        self.exc = exc
        self.notes = notes

    def __reduce__(self) -> Any:
        reduced: Any = self.exc.__reduce_ex__(_PROTOCOL)
        state = reduced[2] if len(reduced) > 2 else None
        return reduced[0], reduced[1], {**(state or {}), '__notes__': self.notes}
