# SPDX-License-Identifier: MIT
"""Whether an exception can be pickled for another process and unpickled there, and what to send instead if not.

Found out by trying: an exception is pickled here before it is sent. That costs some microseconds, for which the caller
learns what was raised, in place of only learning that it could not be pickled. For peers that describe an exception
which they cannot make (docs/protocol.md, section 6, details) that is all; for others it is unpickled here, too.
"""

from __future__ import annotations

import builtins
import copyreg
import io
import pickle
import sys
import types
from collections.abc import Sequence
from typing import Any, Optional

from ... import engines
from ..._errors import describe_error

_PROTOCOL = 4
_SAFE_TYPES = frozenset([  # exceptions with no state but their args and attributes
    ArithmeticError, AssertionError, AttributeError, EOFError, Exception, IndexError, KeyError, LookupError, NameError,
    NotImplementedError, OverflowError, RecursionError, RuntimeError, StopIteration, TypeError, ValueError,
    ZeroDivisionError,
])  # fmt: skip
_SAFE_ARGS = frozenset([str, int, float, bool, bytes, type(None)])
_DETAILS = '__across_details__'  # an attribute that exceptions have in pickles only
_MAX_TEXT = 64 << 10  # characters of a text in the details
_CO_VARARGS = 4


class ConnectionBound:
    """Base of what only a connection can pickle."""

    __slots__ = ()

    def _can_cross(self, conn: Any) -> bool:
        """Return whether this connection can pickle it."""
        return True


def portable(exc: BaseException) -> BaseException:
    """Return the exception, or a stand-in when it could not be unpickled in another process."""
    carried, trouble = carry(exc)
    return exc if trouble is None else carried


def carry(exc: BaseException) -> tuple[Any, Optional[str]]:
    """Return what to pickle in place of an exception, and why it cannot be sent itself, or None."""
    if _is_safe(exc):
        return exc, None
    copied, trouble = _try(exc)
    notes = _get_notes(exc)
    if notes and trouble is None and _get_notes(copied) != notes:
        carrier = _NotesCarrier(exc, notes)
        if _try(carrier)[1] is None:
            return carrier, None
    return (exc, None) if trouble is None else (_make_stand_in(exc, trouble), trouble)


def carry_with_details(exc: BaseException) -> tuple[Any, Optional[str]]:
    """The same for a peer that takes details. Nothing is unpickled: what that runs is meant for the other side.

    The first of what is returned is a Carrier if details are to be sent. To one that has members, they must be added.
    """
    if _is_safe(exc):
        return exc, None
    carrier, trouble = _make_carrier(exc)
    for candidate in (carrier, exc):
        if candidate is not None and trouble is None:
            trouble = _try_to_pickle(candidate)[1]
            if trouble is None:
                return candidate, None
            trouble = trouble if candidate is exc else None
    assert trouble is not None
    return _make_stand_in(exc, trouble), trouble


def get_members(exc: BaseException) -> Sequence[BaseException]:
    """Return the exceptions in an exception group; nothing if it is none."""
    cls: Any = getattr(builtins, 'BaseExceptionGroup', None)
    if cls is None:  # before Python 3.11: the package of that name has them
        cls = getattr(sys.modules.get('exceptiongroup'), 'BaseExceptionGroup', ())
    members: Sequence[BaseException] = exc.exceptions if isinstance(exc, cls) else ()
    return members


def pop_details(exc: BaseException) -> tuple[Optional[str], list[Any]]:
    """Return the details that an exception came with, text and the records of its members, and remove them."""
    return split_details(vars(exc).pop(_DETAILS, None))


def split_details(details: Any) -> tuple[Optional[str], list[Any]]:
    """Return the text and the records of members in details; a peer may send anything in their place."""
    if type(details) is not tuple or len(details) != 2:
        return None, []
    text, records = details
    return text if type(text) is str else None, records if type(records) is list else []


def get_details(state: Any) -> tuple[Optional[str], list[Any]]:
    """Return the details in the state of an exception that is not made."""
    return split_details(state.get(_DETAILS) if type(state) is dict else None)


def without_details(state: Any) -> Any:
    """Return the state of an exception without its details."""
    return {name: value for name, value in state.items() if name != _DETAILS} if type(state) is dict else state


def _is_safe(exc: BaseException) -> bool:
    return type(exc) in _SAFE_TYPES and not exc.__dict__ and all(type(arg) in _SAFE_ARGS for arg in exc.args)


def _make_carrier(exc: BaseException) -> tuple[Optional[Carrier], Optional[str]]:
    """Return what pickles as an exception with its notes and details, or None; and why it cannot be sent, or None."""
    cls = type(exc)
    if cls in copyreg.dispatch_table:
        return None, None
    try:
        reduced: Any = exc.__reduce_ex__(_PROTOCOL)
    except Exception as error:
        return None, 'Pickling failed due to {}'.format(describe_error(error))
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 3 or type(reduced[1]) is not tuple:
        return None, None
    func, args, state = reduced if len(reduced) == 3 else (*reduced, None)
    mismatch = _find_mismatch(cls, args) if func is cls else None
    if mismatch is not None:
        return None, 'Unpickling failed due to TypeError: {}'.format(mismatch)
    # A class's own __setstate__ or __setattr__ may not accept attributes that it does not know.
    takes_more = cls.__setstate__ is BaseException.__setstate__ and cls.__setattr__ is BaseException.__setattr__
    if not takes_more or not (state is None or type(state) is dict):
        return None, None
    carrier = Carrier(func, args, dict(state or {}))
    notes = _get_notes(exc)
    if notes and '__notes__' not in carrier.state:
        carrier.state['__notes__'] = notes
    text = _get_text(exc, args)
    has_members = func is cls and len(args) == 2 and len(get_members(exc)) > 0
    if text is not None or has_members:
        carrier.state[_DETAILS] = text, []
    carrier.has_members = has_members
    if has_members:  # they are added later, and each is tried by itself
        carrier.args = args[0], []
    return (carrier if has_members or carrier.state != (state or {}) else None), None


def _find_mismatch(cls: type, args: tuple[Any, ...]) -> Optional[str]:
    """Return why a class cannot be called with these arguments, as far as that can be told without calling it."""
    for name in ('__new__', '__init__'):
        func = getattr(cls, name)
        if isinstance(func, types.FunctionType) and not _takes(func, len(args)):
            text = '{}.{}() cannot be called with the {} argument{} that pickle has of it'
            return text.format(cls.__name__, name, len(args), '' if len(args) == 1 else 's')
    return None


def _takes(func: types.FunctionType, count: int) -> bool:
    """Return whether a function takes so many arguments besides the first."""
    code = func.__code__
    most = code.co_argcount - 1
    least = most - len(func.__defaults__ or ())
    named = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    has_defaults = set(named) <= set(func.__kwdefaults__ or ())
    return least <= count and (count <= most or bool(code.co_flags & _CO_VARARGS)) and has_defaults


def _get_text(exc: BaseException, args: tuple[Any, ...]) -> Optional[str]:
    """Return what str() makes of an exception, or None if its arguments tell that to a peer without its class."""
    if type(exc).__module__ == 'builtins':
        return None
    try:
        text = str(exc)
    except Exception:
        return None
    guess = '' if not args else args[0] if len(args) == 1 and type(args[0]) is str else None
    return None if text == guess else text[:_MAX_TEXT]


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
    pickled, trouble = _try_to_pickle(obj)
    if trouble is not None:
        return None, trouble
    file, kept = pickled
    file.seek(0)
    try:
        copied = _TrialUnpickler(file, kept).load()
    except Exception as error:
        return None, 'Unpickling failed due to {}'.format(describe_error(error))
    if not isinstance(copied, BaseException):
        return None, 'Unpickling failed due to a {} in place of an exception'.format(type(copied).__name__)
    return copied, None


def _try_to_pickle(obj: Any) -> tuple[Any, Optional[str]]:
    """Pickle an exception; return the file and the objects kept apart, and what went wrong."""
    file = io.BytesIO()
    pickler = _make_trial_pickler(file)
    try:
        pickler.dump(obj)
    except Exception as error:
        return None, 'Pickling failed due to {}'.format(describe_error(error))
    return (file, pickler.kept), None


class _KeepsAside:
    """Part of a pickler: keeps apart what only a connection can pickle."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, _PROTOCOL)  # type: ignore[call-arg]
        self.kept: list[Any] = []
        self.conn = engines.current()

    def persistent_id(self, obj: Any) -> Optional[int]:
        if not isinstance(obj, ConnectionBound) or (self.conn is not None and not obj._can_cross(self.conn)):
            return None
        self.kept.append(obj)
        return len(self.kept) - 1


class _TrialPickler(_KeepsAside, pickle.Pickler):
    """Pickles as a connection does."""


def _make_trial_pickler(file: io.BytesIO) -> Any:
    """Return a pickler like that of the connection which this thread works for."""
    conn = engines.current()
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


class Carrier:
    """Pickles as an exception with more in its state than its class puts there."""

    def __init__(self, func: Any, args: tuple[Any, ...], state: dict[str, Any]) -> None:
        self.func = func
        self.args = args
        self.state = state
        self.has_members = False

    def add_members(self, members: list[Any], records: list[Any]) -> None:
        """Say what to pickle in place of the members of a group, and the records of some of them."""
        self.args = self.args[0], members
        self.state[_DETAILS] = self.state[_DETAILS][0], records

    def __reduce__(self) -> Any:
        return self.func, self.args, self.state
