# SPDX-License-Identifier: MIT
"""Exception records as text, for a connection with Options(trust='data').

A record names classes that this side need not have, and must not call if it has them. So every name in it becomes a
Placeholder, which records the name and the arguments. RemoteErrors are made from these.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Iterable
from typing import Any, Callable, Optional

from ..._errors import OperationError, RemoteError
from ..rules import Rules, add_scalars
from ..text import MAX_NAME, clean, make_name
from ..unpickler import Unpickler
from . import tracebacks
from .context import note_handled
from .portable import get_details

_MAX_EXCEPTIONS = 100  # of one record; those behind it are left out
_MAX_NOTES = 100  # of one exception
_MAX_HOPS = 100  # of one traceback
_MAX_ENTRIES = 2001  # of one hop: what tracebacks.py sends at most, with the gap
_MAX_LINENO = 1 << 16  # of a line that is kept to be shown
_MAX_TEXT = 64 << 10  # characters of a text
_MAX_WORD = 1000  # characters of a name, a line of source, or a value in a text
_BASE_BUDGET = 64 << 10  # characters of all texts of the smallest record: a pickle may repeat a text without limit
_BUDGET_PER_BYTE = 24  # and so many more for each byte; a traceback of a recursion mentions each line often
_MAX_BUDGET = 2 << 20  # of any record
_COST_OF_TEXT = 16  # which a text takes besides its characters, so that empty ones count
_COST_OF_FRAME = 256  # which an exception, or a hop of its traceback, takes
_COST_OF_ENTRY = 64  # which each frame of a hop takes
_MAX_BITS = 10000  # of a number: the time to write one out grows faster than it does
_MAX_ITEMS = 10  # of a collection in a text
_MAX_DEPTH = 3  # of collections in a text

_GROUPS = frozenset(['ExceptionGroup', 'BaseExceptionGroup'])
_CLASS_BY_VALUE = 'cloudpickle.cloudpickle._make_skeleton_class'
_SIMPLE = (type(None), bool, int, float, str, bytes)
_BUILT_IN = {
    name: cls for name, cls in vars(builtins).items() if isinstance(cls, type) and issubclass(cls, BaseException)
}


class Placeholder:
    """Something that a record has named, or what was made by calling it."""

    __slots__ = ('name', 'args', 'state')

    def __init__(self, name: str, args: Optional[tuple[Any, ...]] = None) -> None:
        self.name = name
        self.args = args  # None: it was not called
        self.state: Any = None


def name_called(func: Placeholder) -> str:
    """Return the name of what is called. It may be a placeholder itself: a class that was pickled by value is."""
    if func.args is None:
        return func.name
    if func.name == _CLASS_BY_VALUE and len(func.args) > 1 and type(func.args[1]) is str:
        return make_name('builtins', func.args[1])
    return func.name if len(func.name) > MAX_NAME else '{}(...)'.format(func.name)


class _RecordUnpickler(Unpickler):
    """Calls nothing but the makers of simple values."""

    __slots__ = ()

    def find(self, module: str, name: str) -> Any:
        return _rules.names.get((module, name)) or Placeholder(make_name(module, name))

    def call(self, func: Any, args: tuple[Any, ...]) -> Any:
        self.budget.spend(len(args))
        maker = _rules.makers.get(id(func))
        if maker is not None:
            return Placeholder(func.__name__, args) if any(map(_is_long, args)) else maker(self, args)
        if type(func) is not Placeholder:
            raise TypeError('an exception record that calls a {}'.format(type(func).__name__))
        return Placeholder(name_called(func), args)

    def make(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(cls) is not Placeholder:
            return Placeholder(getattr(cls, '__name__', '?'), args)
        return self.call(cls, args)

    def set_state(self, obj: Any, state: Any) -> None:
        if type(obj) is Placeholder:
            obj.state = state

    def extend(self, obj: Any, items: list[Any]) -> None:
        pass  # what a placeholder holds besides its arguments is not shown

    def add(self, obj: Any, items: list[Any]) -> None:
        pass

    def update(self, obj: Any, keys: list[Any], values: list[Any]) -> None:
        pass


_rules = Rules()
add_scalars(_rules)


def load_error(data: Any, buffers: Iterable[Any]) -> BaseException:
    """Return the exception of a pickled record, ready to be raised."""
    record = _RecordUnpickler(data, buffers).load()
    error = Reader(memoryview(data).nbytes).read(record)
    if error is None:
        raise TypeError('an exception record without an exception')
    note_handled(error)
    return error


class Reader:
    """Makes the exceptions of one record."""

    _is_trusted = False  # the peer, as far as files of this process go

    def __init__(self, size: Optional[int] = None) -> None:
        """`size`: of the pickle that the record came in, in bytes, if the budget for its texts depends on that."""
        self._count = 0
        self._budget = _MAX_BUDGET if size is None else min(_BASE_BUDGET + _BUDGET_PER_BYTE * size, _MAX_BUDGET)
        self._seen: dict[int, BaseException] = {}  # by id() of what stands for it in the record

    def read(self, record: Any) -> Optional[BaseException]:
        """Return the exception of a record, which may be None. TypeError when the record is malformed."""
        if record is None:
            return None
        if self._count == _MAX_EXCEPTIONS:
            return RemoteError('RuntimeError', 'More exceptions are left out')
        self._count += 1
        self._budget -= _COST_OF_FRAME
        if self._is_exception(record):
            return self._seen.get(id(record)) or self._adopt(record)
        if type(record) is not tuple or len(record) != 5 or not self._is_exception(record[0]):
            raise TypeError('an exception record with a {}'.format(type(record).__name__))
        thing, context, suppress_context, cause, hops = record
        hops = self._take_hops(hops)
        error = self._seen.get(id(thing)) or self._adopt(thing)
        # Not by assignment, which a class may refuse.
        BaseException.__setattr__(error, '__context__', self.read(context))
        BaseException.__setattr__(error, '__cause__', self.read(cause))
        BaseException.__setattr__(error, '__suppress_context__', bool(suppress_context))
        frames = tracebacks.unpack(hops, self._is_trusted)
        if isinstance(error, RemoteError):
            error.remote_traceback += tracebacks.format_hops(hops)
            error.args = error.type_name, error.text, error.remote_traceback
        BaseException.__setattr__(error, '__traceback__', frames)
        return error

    def _is_exception(self, thing: Any) -> bool:
        return type(thing) is Placeholder

    def _adopt(self, placeholder: Placeholder) -> BaseException:
        """Make an exception, of which nothing is known yet but itself."""
        if placeholder.args is None:
            raise TypeError('an exception record with a name in place of an exception')
        said, records = get_details(placeholder.state)
        members = _get_members(placeholder)
        if self._budget <= 0:
            said = '…'
        elif said is None:
            said = _Writer(self._budget).describe(placeholder) if members is None else _make_group_text(placeholder)
        text = self._clean(said, _MAX_TEXT, keep='\n\t')
        if placeholder.name == 'across.OperationError':  # the other side's, about the call itself
            return self._note(placeholder, OperationError(text))
        error = self._note(placeholder, self._make_named(placeholder, text))
        notes = placeholder.state.get('__notes__') if type(placeholder.state) is dict else None
        if type(notes) is list and notes:
            texts = (note for note in notes[:_MAX_NOTES] if type(note) is str)
            vars(error)['__notes__'] = [self._clean(note, _MAX_TEXT, keep='\n\t') for note in texts]
        if isinstance(error, RemoteError) and members is not None:
            for record in records[:_MAX_EXCEPTIONS]:
                self.read(record)
            error.exceptions = tuple(filter(None, (self._read_member(member) for member in members)))
        return error

    def _note(self, placeholder: Placeholder, error: BaseException) -> BaseException:
        self._seen[id(placeholder)] = error
        return error

    def _read_member(self, member: Any) -> Optional[BaseException]:
        return self._seen.get(id(member)) or (self.read(member) if self._count < _MAX_EXCEPTIONS else None)

    def _make_named(self, placeholder: Placeholder, text: str) -> BaseException:
        args = placeholder.args or ()
        if (
            placeholder.name == 'across.UnknownExceptionError'
            and len(args) == 3
            and all(type(arg) is str for arg in args)
        ):
            error = self._make(
                placeholder, self._clean(args[0], _MAX_WORD), self._clean(args[1], _MAX_TEXT, keep='\n\t')
            )
            if isinstance(error, RemoteError):
                error.remote_traceback = self._clean(args[2], _MAX_TEXT, keep='\n\t')
            return error
        name = placeholder.name
        if args and type(args[0]) is Placeholder and args[0].args is None and _is_name_of_function(name):
            name = args[0].name  # of the class, which a function of this name makes an instance of
        return self._make(placeholder, name, text)

    def _make(self, placeholder: Placeholder, type_name: str, text: str) -> BaseException:
        return RemoteError(type_name, text)

    def _clean(self, text: str, limit: int, keep: str = '') -> str:
        """Return text that may be shown. A pickle can mention one text any number of times: all have a common limit."""
        shown = clean(text, max(0, min(limit, self._budget)), keep)
        self._budget -= len(shown) + _COST_OF_TEXT
        return shown

    def _take_hops(self, hops: Any) -> list[tracebacks.Hop]:
        if type(hops) is not list:
            raise TypeError('an exception record with a traceback that is none')
        taken: list[tracebacks.Hop] = []
        for host, pid, entries in hops[:_MAX_HOPS]:
            self._budget -= _COST_OF_FRAME
            if self._budget <= 0:
                break
            taken.append((self._take(host), self._take_number(pid), self._take_entries(entries)))
        return taken

    def _take_entries(self, entries: Any) -> list[tracebacks.Entry]:
        if type(entries) is not list:
            raise TypeError('an exception record with a traceback that is none')
        taken: list[tracebacks.Entry] = []
        for filename, lineno, function, source in itertools.islice(entries, _MAX_ENTRIES):
            if self._budget <= 0:
                break
            lineno = self._take_number(lineno)
            self._budget -= _COST_OF_ENTRY + (min(max(0, lineno), _MAX_LINENO) >> 6)  # lines up to there are made, too
            taken.append((self._take(filename), lineno, self._take(function), self._take(source)))
        return taken

    def _take(self, value: Any) -> str:
        if type(value) is not str:
            raise TypeError('an exception record with a {} in its traceback'.format(type(value).__name__))
        return self._clean(value[: 2 * _MAX_WORD].strip(), _MAX_WORD)

    def _take_number(self, value: Any) -> int:
        if type(value) is not int:
            raise TypeError('an exception record with a {} in its traceback'.format(type(value).__name__))
        return value if value.bit_length() < 64 else 0


# ---- groups ----


def _get_members(placeholder: Placeholder) -> Optional[list[Any]]:
    """Return what an exception group holds; None when it is none."""
    args = placeholder.args or ()
    if len(args) != 2 or type(args[0]) is not str or type(args[1]) not in (list, tuple) or not args[1]:
        return None
    is_group = placeholder.name.rpartition('.')[2] in _GROUPS or get_details(placeholder.state)[1]
    members = [*args[1][:_MAX_EXCEPTIONS]]
    is_right = all(isinstance(member, BaseException) or type(member) is Placeholder for member in members)
    return members if is_group and is_right else None


def _make_group_text(placeholder: Placeholder) -> str:
    message, members = placeholder.args or ('', ())
    return '{} ({} sub-exception{})'.format(message[:_MAX_TEXT], len(members), '' if len(members) == 1 else 's')


def _is_name_of_function(name: str) -> bool:
    return name.rpartition('.')[2].lstrip('_')[:1].islower()


# ---- text ----


def _is_huge(value: Any) -> bool:
    """Whether it takes long to write this out. A pickle can mention it any number of times."""
    if type(value) is int:
        return value.bit_length() > _MAX_BITS
    return type(value) in (str, bytes) and len(value) > _MAX_TEXT


def _is_long(value: Any) -> bool:
    """Whether something that is made of this would be too long to be written out as a part of a text."""
    return _is_huge(value) or (type(value) in (str, bytes) and len(value) > _MAX_WORD)


def _is_simple(value: Any) -> bool:
    return type(value) in _SIMPLE and not _is_huge(value)


def _is_error(name: str, base: type[BaseException]) -> bool:
    return name in _BUILT_IN and issubclass(_BUILT_IN[name], base)


class _Writer:
    """Writes what str() probably says about an exception. No class of one is called: some read memory as they are told
    to. `budget`: how many characters may be written, roughly."""

    def __init__(self, budget: int) -> None:
        self._budget = min(budget, _MAX_TEXT)

    def describe(self, placeholder: Placeholder) -> str:
        args = placeholder.args or ()
        if not args or self._budget <= 0:
            return '…' if args else ''
        if len(args) <= 5 and all(map(_is_simple, args)):
            text = _describe_system_error(placeholder.name, args) or _describe_unicode_error(placeholder.name, args)
            if text:
                return text
        if len(args) > 1:
            return self._render(args, _MAX_DEPTH)
        if type(args[0]) is str and not _is_error(placeholder.name, KeyError):
            return args[0][: _MAX_TEXT + 1]
        return self._render(args[0], _MAX_DEPTH)

    def _render(self, value: Any, depth: int) -> str:
        if self._budget <= 0:
            return '…'
        cls = type(value)
        if cls is Placeholder:
            text = self._write(value.name)
            return text if value.args is None else text + self._render_items('({})', value.args, depth)
        if cls is tuple:
            return self._render_items('({},)' if len(value) == 1 else '({})', value, depth)
        if cls is list:
            return self._render_items('[{}]', value, depth)
        if cls is set or cls is frozenset:
            return self._render_items('{{{}}}' if value else 'set()', value, depth)
        if cls is dict:
            return self._render_items('{{{}}}', value.items(), depth, self._render_pair)
        return self._write(_render_scalar(value))

    def _write(self, text: str) -> str:
        self._budget -= len(text) + _COST_OF_TEXT
        return text

    def _render_pair(self, pair: tuple[Any, Any], depth: int) -> str:
        return '{}: {}'.format(self._render(pair[0], depth), self._render(pair[1], depth))

    def _render_items(
        self, form: str, items: Any, depth: int, render: Optional[Callable[[Any, int], str]] = None
    ) -> str:
        if depth == 0:
            return form.format('…')
        words = [(render or self._render)(item, depth - 1) for item in itertools.islice(items, _MAX_ITEMS)]
        return form.format(', '.join([*words, '…'] if len(items) > _MAX_ITEMS else words))


def _render_scalar(value: Any) -> str:
    cls = type(value)
    if cls is str or cls is bytes:
        return repr(value[:_MAX_WORD]) + ('…' if len(value) > _MAX_WORD else '')
    if cls is int and _is_huge(value):
        return '<a number of {} bits>'.format(value.bit_length())
    if id(cls) in _rules.makers or cls in _SIMPLE:
        return repr(value)[:_MAX_WORD]
    return '<{}>'.format(cls.__name__)


def _describe_system_error(name: str, args: tuple[Any, ...]) -> Optional[str]:
    if len(args) < 2 or not _is_error(name, OSError):
        return None
    text = '[Errno {}] {}'.format(*args)
    if len(args) > 2 and args[2] is not None:
        text += ': ' + _render_scalar(args[2])
        if len(args) == 5 and args[4] is not None:
            text += ' -> ' + _render_scalar(args[4])
    return text


def _describe_unicode_error(name: str, args: tuple[Any, ...]) -> Optional[str]:
    shapes = {
        'UnicodeDecodeError': (str, bytes, int, int, str),
        'UnicodeEncodeError': (str, str, int, int, str),
        'UnicodeTranslateError': (str, int, int, str),
    }
    if tuple(map(type, args)) != shapes.get(name):
        return None
    codec = '' if len(args) == 4 else "'{}' codec ".format(args[0])
    verb = name[len('Unicode') : -len('Error')].lower()
    value, start, end, reason = args[-4:]
    kind = 'byte' if type(value) is bytes else 'character'
    if end == start + 1 and 0 <= start < len(value):
        what = '{} {}'.format(kind, _render_unit(value[start]))
        return "{}can't {} {} in position {}: {}".format(codec, verb, what, start, reason)
    return "{}can't {} {}s in position {}-{}: {}".format(codec, verb, kind, start, end - 1, reason)


def _render_unit(unit: Any) -> str:
    """Return how errors show a byte, or a character."""
    if type(unit) is int:
        return '0x{:02x}'.format(unit)
    code = ord(unit)
    form = 'x{:02x}' if code < 1 << 8 else 'u{:04x}' if code < 1 << 16 else 'U{:08x}'
    return "'\\{}'".format(form.format(code))
