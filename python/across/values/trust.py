# SPDX-License-Identifier: MIT
"""What a connection with Options(trust='data') takes from its peer: data, by a list, and nothing that is not on it.

docs/trust.md says what that protects from. Each entry of the list is a type whose making runs no code of the peer's
choice; the arguments are checked before it is made. What else the user trusts is called, made and filled as pickle does
it, but only that: an object that was not made by this very pickle is never changed by it, be it a class, a function, a
proxy, or an object of this process that came home. What all of this may cost is charged to the pickle's budget.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pickle import UnpicklingError
from typing import Any, Callable

from . import proxies, trust_numpy
from .exceptions.remote_errors import load_error
from .rules import Rules, add_containers, add_scalars, charge_args, check, fill_dict, is_record
from .text import make_name
from .unpickler import Unpickler

_MAX_ID = (1 << 64) - 1


def _refuse_name(module: str, name: str) -> UnpicklingError:
    text = "trust='data' does not allow {}; Options(trusted_types=...) says what it allows besides plain data"
    return UnpicklingError(text.format(make_name(module, name)))


def _make_proxy(m: Any, args: tuple[Any, ...]) -> Any:
    is_right = len(args) == 2 or (len(args) == 3 and type(args[2]) is str)
    check(proxies.Proxy, is_right and type(args[0]) is int and 0 <= args[0] <= _MAX_ID)
    check(proxies.Proxy, type(args[1]) in (list, tuple, set, frozenset))
    m.budget.spend(len(args[1]))
    check(proxies.Proxy, all(type(name) is str for name in args[1]))
    m.budget.spend_class(frozenset(args[1]), args[2] if len(args) == 3 else '')
    proxy = proxies._make_proxy(*args)
    m._foreign[id(proxy)] = proxy
    return proxy


def _get_obj(m: Any, args: tuple[Any, ...]) -> Any:
    check(proxies.Proxy, len(args) == 1 and type(args[0]) is int)
    obj = proxies._get_obj(*args)
    m._foreign[id(obj)] = obj
    return obj


def make_rules(trusted_types: Iterable[Any]) -> Rules:
    """Return what a connection allows whose user trusts these types and functions."""
    rules = Rules()
    add_scalars(rules)
    add_containers(rules)
    rules.allow(proxies._make_proxy, _make_proxy)
    rules.allow(proxies._get_obj, _get_obj)
    rules.allow(proxies._SELF)
    for obj in trusted_types:
        if trust_numpy.is_array_type(obj):
            trust_numpy.allow_arrays(rules)
        else:
            rules.allow_type(obj)
    return rules


# ---- values ----


class _ValueUnpickler(Unpickler):
    """Makes what the rules allow."""

    __slots__ = ('_rules', '_made')

    def __init__(self, data: Any, buffers: Iterable[Any], rules: Rules) -> None:
        super().__init__(data, buffers, rules.classes)
        self._rules = rules
        self._made: dict[int, Any] = {}  # by id(): what may be filled

    def find(self, module: str, name: str) -> Any:
        try:
            return self._rules.names[module, name]
        except KeyError:
            raise _refuse_name(module, name) from None

    def call(self, func: Any, args: tuple[Any, ...]) -> Any:
        maker = self._rules.makers.get(id(func))
        if maker is None:
            raise UnpicklingError("The pickle calls what trust='data' does not allow to be called")
        self.budget.spend(len(args))
        return self._note(maker(self, args))

    def make(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(cls) not in self._rules.classes:
            raise UnpicklingError("The pickle makes an instance of what trust='data' does not allow to be made")
        if cls is uuid.UUID:
            check(cls, not args and not kwargs)
        charge_args(self, args, not is_record(cls))
        charge_args(self, tuple(kwargs.values()), not is_record(cls))
        return self._note(cls.__new__(cls, *args, **kwargs))

    def _note(self, obj: Any) -> Any:
        """Remember what was made here: this, and nothing else, may be filled."""
        cls = id(type(obj))
        self.budget.note_fragile(obj)
        if id(obj) not in self._foreign and (cls in self._rules.containers or cls in self._rules.setters):
            self._made[id(obj)] = obj
        elif type(obj) in (list, dict, set):  # a function's, which may keep it
            self._foreign[id(obj)] = obj
        return obj

    def set_state(self, obj: Any, state: Any) -> None:
        setter = self._rules.setters.get(id(type(obj)))
        if setter is None or self._made.pop(id(obj), None) is None:
            raise UnpicklingError("The pickle sets a state that trust='data' does not allow to be set")
        setter(self, obj, state)

    def _check_filling(self, obj: Any) -> None:
        if id(obj) not in self._made or id(type(obj)) not in self._rules.containers:
            raise UnpicklingError("The pickle fills what trust='data' does not allow to be filled")

    def extend(self, obj: Any, items: list[Any]) -> None:
        self._check_filling(obj)
        if hasattr(type(obj), 'extend'):
            obj.extend(items)
        else:
            for item in items:
                obj.append(item)

    def add(self, obj: Any, items: list[Any]) -> None:
        self._check_filling(obj)

        def put(start: int, end: int) -> None:
            for item in items[start:end]:
                obj.add(item)

        self.budget.fill(obj, items, put)

    def update(self, obj: Any, keys: list[Any], values: list[Any]) -> None:
        self._check_filling(obj)
        fill_dict(self, obj, keys, values)


def make_loads(trusted_types: Iterable[Any]) -> Callable[..., Any]:
    """Return what unpickles for a connection: values, and exceptions of exception records."""
    rules = make_rules(trusted_types)

    def loads(data: Any, is_error: bool, *, buffers: Iterable[Any] = ()) -> Any:
        return load_error(data, buffers) if is_error else _ValueUnpickler(data, buffers, rules).load()

    return loads
