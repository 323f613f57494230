# SPDX-License-Identifier: MIT
"""Rules of what may be unpickled on a connection with Options(trust='data').

Each rule is for a type whose construction runs no code of the peer's choice: a maker checks the arguments, charges what
it costs to the pickle's budget, and makes the instance. Types that the user trusts are called, made and filled as
pickle does it.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import functools
import pathlib
import types
import uuid
from pickle import UnpicklingError
from typing import Any, Callable, Optional

from .text import make_name

_Maker = Callable[[Any, tuple[Any, ...]], Any]

_SCALARS = (type(None), bool, int, float, str, bytes)
_FACTORIES = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset)  # of defaultdicts
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)  # what a call can copy
_MAX_RANGE_BITS = 1024  # of a range's numbers: it divides them


def check(cls: type, is_right: bool) -> None:
    if not is_right:
        raise UnpicklingError('The pickle makes a {} of what it is not made of'.format(cls.__name__))


def _of(cls: Any, *shapes: tuple[tuple[type, ...], ...]) -> _Maker:
    """Make the maker of a type that is called with arguments of exactly these types; there may be several shapes."""

    def make(m: Any, args: tuple[Any, ...]) -> Any:
        check(cls, any(len(shape) == len(args) and all(map(_is_one_of, args, shape)) for shape in shapes))
        m.budget.spend_bytes(sum(len(arg) for arg in args if hasattr(arg, '__len__')))  # what is copied
        return cls(*args)

    return make


def _is_one_of(value: Any, allowed: tuple[type, ...]) -> bool:
    return type(value) in allowed


def _of_bytes(cls: Any, with_zone: bool) -> _Maker:
    """Make the maker of a date or a time. Their constructors do not check the bytes."""

    def make(m: Any, args: tuple[Any, ...]) -> Any:
        is_right = len(args) == 1 or (with_zone and len(args) == 2 and isinstance(args[1], datetime.tzinfo))
        check(cls, is_right and type(args[0]) is bytes)
        return cls(*args).replace()

    return make


def _of_items(cls: Any) -> _Maker:
    """Make the maker of a set from a list, as in protocol 3."""

    def make(m: Any, args: tuple[Any, ...]) -> Any:
        check(cls, len(args) == 1 and type(args[0]) is list)
        m.budget.spend_copy(len(args[0]))
        return m.budget.make_set(cls, args[0], is_copy=True)

    return make


def _of_words(cls: Any) -> _Maker:
    def make(m: Any, args: tuple[Any, ...]) -> Any:
        check(cls, all(type(arg) is str for arg in args))
        text = '/'.join(args)
        parts = 1 + text.count('/') + text.count('\\')
        m.budget.spend(8 * parts + (len(text) >> 4), 100 * parts + 4 * len(text))
        return cls(*args)

    return make


def _make_range(m: Any, args: tuple[Any, ...]) -> Any:
    check(range, len(args) == 3 and all(type(arg) is int and arg.bit_length() <= _MAX_RANGE_BITS for arg in args))
    return range(*args)


def _make_counter(m: Any, args: tuple[Any, ...]) -> Any:
    check(collections.Counter, not args or (len(args) == 1 and type(args[0]) is dict))
    counter: collections.Counter[Any] = collections.Counter()
    if args:
        m.budget.spend_copy(len(args[0]))
        fill_dict(m, counter, [*args[0]], [*args[0].values()], is_copy=True)
    return counter


def fill_dict(m: Any, target: Any, keys: list[Any], values: list[Any], is_copy: bool = False) -> None:
    def put(start: int, end: int) -> None:
        for key, value in zip(keys[start:end], values[start:end]):
            target[key] = value

    m.budget.fill(target, keys, put, is_copy)


def _make_deque(m: Any, args: tuple[Any, ...]) -> Any:
    is_bounded = len(args) == 2 and type(args[0]) is tuple and not args[0] and type(args[1]) is int
    check(collections.deque, not args or is_bounded)
    return collections.deque(*args)


def _make_defaultdict(m: Any, args: tuple[Any, ...]) -> Any:
    factory = args[0] if args else None
    check(collections.defaultdict, len(args) <= 1 and (factory is None or any(factory is cls for cls in _FACTORIES)))
    return collections.defaultdict(*args)


def _set_uuid(m: Any, obj: Any, state: Any) -> None:
    number = state.get('int') if type(state) is dict else None
    check(uuid.UUID, type(number) is int and 0 <= number < 1 << 128)
    obj.__setstate__({'int': number})


def _get_member(m: Any, args: tuple[Any, ...]) -> Any:
    """A member of an enumeration, as Python 3.11 pickles it."""
    cls: Any = args[0] if len(args) == 2 else None
    check(enum.Enum, isinstance(cls, enum.EnumMeta) and id(cls) in m._rules.enums and type(args[1]) is str)
    return cls.__members__[args[1]]


def _find_member(cls: Any, m: Any, args: tuple[Any, ...]) -> Any:
    """A member of an enumeration by its value, which is hashed, compared, and printed when there is no such member."""
    check(cls, len(args) == 1)
    if isinstance(args[0], int):
        check(cls, int.bit_length(args[0]) <= _count_bits(cls))  # a Flag may make a member for each bit
    m.budget.spend_value(args[0])
    return cls(args[0])


@functools.lru_cache
def _count_bits(cls: Any) -> int:
    values = (member.value for member in cls.__members__.values())
    return max(64, *(value.bit_length() for value in values if isinstance(value, int)), 0)


def _join_flags(m: Any, args: tuple[Any, ...]) -> Any:
    """Several members of an enumeration in one, as Python 3.11 pickles it."""
    is_right = len(args) == 2 and isinstance(args[0], enum.Flag) and type(args[0]) is type(args[1])
    check(enum.Flag, is_right and id(type(args[0])) in m._rules.enums)
    return args[0] | args[1]


class Rules:
    """What one connection allows."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, str], Any] = {}
        # By id(), as objects may define __eq__ and __hash__; `names` keeps them alive.
        self.makers: dict[int, _Maker] = {}
        self.classes: dict[int, Any] = {}  # that NEWOBJ may make an instance of
        self.enums: dict[int, Any] = {}
        self.setters: dict[int, Callable[[Any, Any, Any], None]] = {}  # of the state of an instance
        self.containers: set[int] = set()  # whose instances are filled after they have been made

    def allow(self, obj: Any, maker: Optional[_Maker] = None, *modules: str) -> None:
        """Allow the name of a type or function, under its own module's name and others that it has elsewhere."""
        for module in (obj.__module__, *modules):
            self.names[module, obj.__qualname__] = obj
        if maker is not None:
            self.makers[id(obj)] = maker

    def stand_in(self, module: str, name: str, maker: _Maker) -> None:
        """Allow a name, but have it mean a maker that does much less than the function of that name."""
        self.names[module, name] = maker
        self.makers[id(maker)] = maker

    def allow_type(self, cls: Any) -> None:
        """Allow all that pickles do with a type that the user trusts, or with a function."""
        if self.names.get((cls.__module__, cls.__qualname__)) is cls:
            return  # it is data anyway, and checked
        if isinstance(cls, enum.EnumMeta):  # members are looked up, and neither made nor changed
            self.allow(cls, functools.partial(_find_member, cls))
            self.enums[id(cls)] = cls
            self.stand_in('builtins', 'getattr', _get_member)
            self.stand_in('_operator', 'or_', _join_flags)
            return
        copies = not is_record(cls)
        self.allow(cls, lambda m, args: cls(*charge_args(m, args, copies)))
        if isinstance(cls, type):
            self.classes[id(cls)] = cls
            self.containers.add(id(cls))
            self.setters[id(cls)] = _set_state


def add_scalars(rules: Rules) -> None:
    """Allow values that consist of nothing but numbers and text."""
    number = (int,)
    rules.allow(complex, _of(complex, ((float,), (float,))))
    rules.allow(decimal.Decimal, _of(decimal.Decimal, ((str,),)))
    rules.allow(datetime.date, _of_bytes(datetime.date, False))
    rules.allow(datetime.time, _of_bytes(datetime.time, True))
    rules.allow(datetime.datetime, _of_bytes(datetime.datetime, True))
    rules.allow(datetime.timedelta, _of(datetime.timedelta, (number, number, number)))
    zone = (datetime.timedelta,)
    rules.allow(datetime.timezone, _of(datetime.timezone, (zone,), (zone, (str,))))
    for path in (pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath):
        rules.allow(path, _of_words(path), 'pathlib', 'pathlib._local')  # the latter is Python 3.13's
    rules.allow(uuid.UUID)
    rules.classes[id(uuid.UUID)] = uuid.UUID
    rules.setters[id(uuid.UUID)] = _set_uuid


def add_containers(rules: Rules) -> None:
    """Allow collections, and the built-in types as values."""
    for cls in _FACTORIES:
        rules.allow(cls)
    rules.names['builtins', 'Ellipsis'] = ...
    rules.allow(bytearray, _of(bytearray, (), ((bytes,),)))
    rules.allow(range, _make_range)
    rules.allow(slice, _of(slice, (_SCALARS, _SCALARS, _SCALARS)))
    rules.allow(set, _of_items(set))
    rules.allow(frozenset, _of_items(frozenset))
    rules.allow(collections.OrderedDict, _of(collections.OrderedDict, ()))
    rules.allow(collections.Counter, _make_counter)
    rules.allow(collections.deque, _make_deque)
    rules.allow(collections.defaultdict, _make_defaultdict)
    for container in (collections.OrderedDict, collections.Counter, collections.deque, collections.defaultdict):
        rules.containers.add(id(container))


# ---- the state of what the user trusts ----


def is_record(cls: Any) -> bool:
    """Whether making one only keeps the arguments: a dataclass, or a named tuple."""
    return isinstance(cls, type) and (hasattr(cls, '__dataclass_fields__') or hasattr(cls, '_fields'))


def charge_args(m: Any, args: tuple[Any, ...], copies: bool) -> tuple[Any, ...]:
    m.budget.spend_bytes(8 * len(args))
    for arg in args if copies else ():
        if type(arg) in (str, bytes, bytearray):
            m.budget.spend_bytes(len(arg))
        elif type(arg) in _SIZED:
            m.budget.spend_copy(len(arg))
    return args


def _set_state(m: Any, obj: Any, state: Any) -> None:
    """Set the state of an object as pickle does, except attributes that would hide a method."""
    cls = type(obj)
    if hasattr(cls, '__setstate__'):
        # That of dataclasses with slots iterates over it, whatever it is: a proxy would call the peer.
        if hasattr(cls, '__dataclass_fields__') and type(state) not in _SIZED:
            raise UnpicklingError('The pickle has a state that is none')
        charge_args(m, (state,), True)
        obj.__setstate__(state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    for attributes in (state, slots):
        if type(attributes) is dict:
            m.budget.spend_copy(len(attributes))
            m.budget.spend(8 * len(attributes))  # each name is looked up in the class
        if attributes is not None and not (type(attributes) is dict and all(type(name) is str for name in attributes)):
            raise UnpicklingError('The pickle has a state that is none')
    for name in state or ():
        if _is_method(_look_up(cls, name)):
            raise UnpicklingError('The pickle replaces a method: {}'.format(make_name(cls.__name__, name)))
    if state:
        vars(obj).update(state)
    for name, value in (slots or {}).items():
        slot = _look_up(cls, name)
        if type(slot) is not types.MemberDescriptorType:
            raise UnpicklingError('The pickle sets what is no slot: {}'.format(make_name(cls.__name__, name)))
        slot.__set__(obj, value)


def _look_up(cls: type, name: str) -> Any:
    """Return an attribute of a class without invoking descriptors."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _is_method(attribute: Any) -> bool:
    """Whether something of a class may be called on its instances, or does something when it is looked up on them.

    Not if it is a value, such as the default of a field; nor if an instance cannot hide it; nor if it is meant to be
    hidden by the value that it has computed.
    """
    cls = type(attribute)
    if hasattr(cls, '__set__') or isinstance(attribute, functools.cached_property):
        return False
    return callable(attribute) or hasattr(cls, '__get__')
