# SPDX-License-Identifier: MIT
"""Exception records that pickle could not load: what can be made of them is made, the rest is described.

A record is loaded as a whole or not at all, so that one class which exists in the other process alone would cost all
that the record says. It is read once more here, by the unpickler of Options(trust='data'): whatever cannot be found or
made becomes a Placeholder, and an exception that is one, or holds one, becomes an UnknownExceptionError.
The others are made as usual. Where the class of the exception itself is here, and fails to make it, the call fails with
an OperationError that is caused by that.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Iterable
from typing import Any, Optional

from ..._errors import OperationError, RemoteError, UnknownExceptionError, describe_error
from .. import proxies
from ..text import make_name
from ..unpickler import Unpickler
from .context import note_handled
from .portable import pop_details, without_details
from .remote_errors import Placeholder, Reader, name_called

_MAX_DEPTH = 20  # of collections that are searched for placeholders
_GROUP: Any = getattr(builtins, 'BaseExceptionGroup', ())


def load_error(why: Exception, data: Any, buffers: Iterable[Any]) -> BaseException:
    """Return the exception of a record that could not be loaded because of `why`."""
    reader = _RescueReader(describe_error(why))
    record = _TolerantUnpickler(data, buffers, reader).load()
    error = reader.read(record)
    if error is None:
        raise TypeError('an exception record without an exception')
    if reader.is_broken(error):
        error = _blame(error)
    note_handled(error)
    return error


def _blame(error: BaseException) -> BaseException:
    """Return what an exception causes whose class is here, and fails to make it: unpickling failed."""
    reason = getattr(error, 'reason', '')
    text = 'Unpickling failed due to {}; what was raised is {}'.format(reason, RemoteError._describe(error))  # type: ignore
    blame = OperationError(text)
    blame.__cause__ = error
    return blame


class _TolerantUnpickler(Unpickler):
    """Makes what it can, as pickle does, and placeholders for the rest."""

    __slots__ = ('_reader',)

    def __init__(self, data: Any, buffers: Iterable[Any], reader: _RescueReader) -> None:
        super().__init__(data, buffers)
        self._reader = reader

    def find(self, module: str, name: str) -> Any:
        try:
            found: Any = importlib.import_module(module)
            for part in name.split('.'):
                found = getattr(found, part)
        except _FATAL:
            raise
        except Exception as error:
            return self._reader.note(Placeholder(make_name(module, name)), error, is_missing=True)
        # The peer's objects were claimed by the first attempt, which has given them back.
        return Placeholder('across.Proxy') if found is proxies._make_proxy else found

    def call(self, func: Any, args: tuple[Any, ...]) -> Any:
        if type(func) is Placeholder:
            return self._reader.pass_on(Placeholder(name_called(func), args), func)
        if (
            isinstance(func, type)
            and issubclass(func, _GROUP)
            and len(args) == 2
            and isinstance(args[1], (list, tuple))
        ):
            args = args[0], [self._reader.take_member(member) for member in args[1]]
        return self._make_of(func, args, {}, func)

    def make(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(cls) is Placeholder:
            return self._reader.pass_on(Placeholder(name_called(cls), args), cls)
        return self._make_of(cls, (cls, *args), kwargs, getattr(cls, '__new__', cls))

    def _make_of(self, named: Any, args: tuple[Any, ...], kwargs: dict[str, Any], func: Any) -> Any:
        name = make_name(getattr(named, '__module__', None) or '?', getattr(named, '__qualname__', '?'))
        placeholder = _find_placeholder(args, _MAX_DEPTH)
        if placeholder is not None:
            return self._reader.pass_on(Placeholder(name, args), placeholder)
        try:
            return func(*args, **kwargs)
        except _FATAL:
            raise
        except Exception as error:
            return self._reader.note(Placeholder(name, args), error)

    def set_state(self, obj: Any, state: Any) -> None:
        if type(obj) is Placeholder:
            obj.state = state
            return
        if isinstance(obj, BaseException):
            placeholder = _find_placeholder(without_details(state), _MAX_DEPTH)
            if placeholder is not None:
                self._reader.spoil(obj, state, placeholder, None)
                return
        try:
            _set_state(obj, state)
        except _FATAL:
            raise
        except Exception as error:
            if not isinstance(obj, BaseException):
                raise
            self._reader.spoil(obj, state, None, error)

    def extend(self, obj: Any, items: list[Any]) -> None:
        if type(obj) is not Placeholder:
            for item in items:
                obj.append(item)

    def add(self, obj: Any, items: list[Any]) -> None:
        if type(obj) is not Placeholder:
            for item in items:
                obj.add(item)

    def update(self, obj: Any, keys: list[Any], values: list[Any]) -> None:
        if type(obj) is not Placeholder:
            for key, value in zip(keys, values):
                obj[key] = value


_FATAL = (MemoryError, RecursionError)


def _set_state(obj: Any, state: Any) -> None:
    """Give an object its state as pickle does."""
    setstate = getattr(obj, '__setstate__', None)
    if setstate is not None:
        setstate(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        vars(obj).update(state)
    for name, value in (slots or {}).items():
        setattr(obj, name, value)


def _find_placeholder(value: Any, depth: int) -> Optional[Placeholder]:
    """Return a placeholder in a value, or None if there is none."""
    if type(value) is Placeholder:
        return value
    if depth == 0:
        return None
    items: Iterable[Any] = ()
    if isinstance(value, (list, tuple, set, frozenset)):
        items = value
    elif isinstance(value, dict):
        items = [*value, *value.values()]
    return next(filter(None, (_find_placeholder(item, depth - 1) for item in items)), None)


class _RescueReader(Reader):
    """Makes exceptions of a record of which some are made already."""

    _is_trusted = True

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why
        self._reasons: dict[
            int, tuple[str, bool]
        ] = {}  # why placeholders are such, and whether a name is missing; by id()
        self._broken: set[int] = set()  # ids of errors of which all names were found
        self._spoiled: dict[int, Placeholder] = {}  # in the place of exceptions that hold placeholders, by id()
        self._kept: list[Any] = []  # what ids are of

    # -- for the unpickler

    def note(self, placeholder: Placeholder, error: Exception, is_missing: bool = False) -> Placeholder:
        self._reasons[id(placeholder)] = describe_error(error), is_missing
        self._kept.append(placeholder)
        return placeholder

    def pass_on(self, placeholder: Placeholder, origin: Placeholder) -> Placeholder:
        """Return `placeholder`, which is one because of `origin`."""
        self._reasons[id(placeholder)] = self._reasons.get(id(origin), (self._why, True))
        self._kept.append(placeholder)
        return placeholder

    def spoil(self, exc: BaseException, state: Any, origin: Optional[Placeholder], error: Optional[Exception]) -> None:
        """An exception that was made already is replaced."""
        cls = type(exc)
        placeholder = Placeholder(make_name(cls.__module__, cls.__qualname__), exc.args)
        placeholder.state = state
        self._spoiled[id(exc)] = placeholder
        self._kept.append(exc)
        if error is not None:
            self.note(placeholder, error)
        elif origin is not None:
            self.pass_on(placeholder, origin)

    def take_member(self, member: Any) -> Any:
        """Return what can be a member of a group."""
        if type(member) is not Placeholder or member.args is None:
            return member
        return self._adopt(member)

    def is_broken(self, error: BaseException) -> bool:
        """Return whether an exception could not be made although all that it names is here."""
        return id(error) in self._broken

    # -- for the reader

    def _is_exception(self, thing: Any) -> bool:
        return isinstance(thing, BaseException) or super()._is_exception(thing)

    def _adopt(self, thing: Any) -> BaseException:
        if not isinstance(thing, BaseException):
            return super()._adopt(thing)
        placeholder = self._spoiled.get(id(thing))
        if placeholder is not None:
            return super()._adopt(placeholder)
        self._seen[id(thing)] = thing
        for record in pop_details(thing)[1]:
            self.read(record)
        return thing

    def _make(self, placeholder: Placeholder, type_name: str, text: str) -> BaseException:
        error = UnknownExceptionError(type_name, text)
        error.reason, is_missing = self._reasons.get(id(placeholder), (self._why, True))
        if not is_missing:
            self._broken.add(id(error))
        return error
