# SPDX-License-Identifier: MIT
"""Proxies for objects in the peer's process, the class that marks objects to be passed as proxies, and method calls.

Pickles name `across.ref`, `across._make_proxy`, `across._get_obj`, `across._apply_method` and `across._SELF`,
whatever the version of the peer: these names and parameters are part of the wire protocol (docs/protocol.md).
"""

from __future__ import annotations

import operator
import types
from collections.abc import Collection
from typing import Any, Callable, NoReturn, Optional

from .. import engines
from .._errors import OperationError, RemoteError
from . import methods as _methods
from .exceptions.portable import ConnectionBound, portable
from .forwarding import make_forwarder, make_lazy_lookup, refuse_descriptor
from .methods import LAZY, MAX_LABEL, MAX_METHODS, MAX_NAME, MAX_TYPES, clean_label, get_label, get_methods

_MAX_NAMES = MAX_METHODS * (MAX_NAME + 1) + 4 * MAX_LABEL  # bytes of what a peer tells of an object
_MAX_KEPT_NAMES = 20_000  # of methods in cached classes of proxies: a hostile peer may keep sending new ones
_UNKNOWN = ''  # the label of an object whose process does not tell what it is: plain across


class Proxy(ConnectionBound):
    """Stands for an object in the peer's process, and forwards method calls to it.

    Forwarded are public methods and `__len__`, `__contains__`, `__getitem__`, `__setitem__`, `__delitem__`,
    `__call__`, `__iter__`, `__next__`, `__reversed__`, `__bool__`, `__enter__`, `__exit__`, as far as the object's
    class has them, and public callables of the object itself: functions of a module or a class, attributes of an
    instance. `fileno` is not: it raises io.UnsupportedOperation, for a descriptor means nothing in another process.
    Other attributes are read with `conn.call(getattr, proxy, name)`.

    The object lives at least as long as the proxy. `copy.deepcopy(proxy)` fetches a copy of it. Sent back over its own
    connection, a proxy becomes the object itself; no other connection can send it. `==` tells whether two names mean
    one proxy, and :func:`same_object` whether two proxies mean one object.

    Proxies come from :meth:`Connection.create`, :meth:`Connection.replicate` and :class:`Local`. Iterators, generators
    and views of mappings that a call returns become proxies, too, where pickle can do nothing with them.
    """

    # Both names are mangled: no forwarded method can be called like that.
    __slots__ = ('__handle', '__reach', '__weakref__')

    __handle: engines.Handle
    __reach: Callable[..., Any]  # what methods go through: the handle's invoke, or the connection's apply
    __label = _UNKNOWN  # of the class, in subclasses: what the object is

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError('proxies are made by connections')

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        link = self.__handle.owner._link
        copied = self.__handle.copy() if link.operations else link.apply(_get_obj, (self.__handle.id,), {})
        if isinstance(copied, Proxy):
            raise OperationError('{!r} has no copy: its object cannot be pickled'.format(self))
        return copied

    def __copy__(self) -> NoReturn:
        raise TypeError('a proxy has no shallow copy; copy.deepcopy() fetches a copy of its object')

    def __reduce__(self) -> Any:
        conn = engines.pickling()
        if conn is not self.__handle.owner:
            text = '{!r} can be sent over its own connection alone; copy.deepcopy() fetches a copy that any can send'
            raise RuntimeError(text.format(self))
        return _get_obj, (self.__handle.id,)

    def _can_cross(self, conn: Any) -> bool:
        return self.__handle.owner is conn

    def __repr__(self) -> str:
        what = ' of {},'.format(self.__label) if self.__label else ' for'
        return '<across.Proxy{} object {} of {!r}>'.format(what, self.__handle.id, self.__handle.owner)

    # Called for names that are not forwarded.
    def __getattr__(self, name: str) -> Any:
        raise _no_attribute(self, name, 'to read an attribute, use conn.call(getattr, proxy, {!r})'.format(name))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _no_attribute(self, name, 'to set an attribute, use conn.call(setattr, proxy, {!r}, value)'.format(name))

    def __delattr__(self, name: str) -> None:
        raise _no_attribute(self, name, 'to delete an attribute, use conn.call(delattr, proxy, {!r})'.format(name))


class Local(ConnectionBound):
    """Marks an object that is to be passed to the peer, or returned to it, as a proxy. Alias: `ref`, `Reference`."""

    __slots__ = ('__obj',)

    def __init__(self, obj: Any) -> None:
        _check_object(obj)
        self.__obj = obj

    def __reduce__(self) -> Any:
        conn = engines.pickling()
        if conn is None:
            raise RuntimeError('{!r} can only be pickled by a connection'.format(self))
        if not conn._link.described:
            return _make_proxy, (engines.register(self.__obj), get_methods(self.__obj, False))
        methods = get_methods(self.__obj, True)
        return _make_proxy, (engines.register(self.__obj), methods, get_label(self.__obj))

    def __repr__(self) -> str:
        return 'across.Local({!r})'.format(self.__obj)


def get_proxy_connection(proxy: Proxy) -> Any:
    """Return the connection that a proxy belongs to. TypeError when it is no proxy."""
    if not isinstance(proxy, Proxy):
        raise TypeError('Not a proxy: {!r}'.format(proxy))
    return _get_handle(proxy).owner


def same_object(first: Proxy, second: Proxy) -> bool:
    """Return whether two proxies are of one object. The other side is asked, if they may be.

    TypeError when one of them is no proxy.
    """
    conn = get_proxy_connection(first)
    if first is second or conn is not get_proxy_connection(second):
        return first is second
    return bool(conn._apply(operator.is_, (first, second), {}))


def _no_attribute(proxy: Proxy, name: str, hint: str) -> AttributeError:
    label = proxy._Proxy__label
    of = ' of {}'.format(label) if label else ''
    error = AttributeError(
        "'Proxy' object{} has no attribute {!r}: proxies forward public methods; {}".format(of, name, hint)
    )
    vars(error).update(name=name, obj=proxy)
    return error


def _check_object(obj: Any) -> None:
    if isinstance(obj, (Proxy, Local)):
        raise TypeError('a {} cannot be passed as a proxy: {!r}'.format(type(obj).__name__, obj))


def list_methods(obj: Any) -> bytes:
    """Return what the peer is told of an object that is to get a proxy."""
    _check_object(obj)
    return _methods.list_methods(obj)


def make_proxy(id: int, names: bytes) -> Proxy:
    """Make a proxy for object `id` of the peer's table, with methods as `list_methods` gives them."""
    if len(names) > _MAX_NAMES:
        raise ValueError('invalid methods of a proxy')
    return _new_proxy(id, *_split(names))


def _make_proxy(id: int, methods: list[str], label: str = _UNKNOWN) -> Proxy:
    """Make a proxy for object `id` of the peer's table; what a Local unpickles to."""
    if not isinstance(methods, (list, tuple, set, frozenset)) or not isinstance(label, str):
        raise ValueError('invalid methods of a proxy')
    return _new_proxy(id, _check_methods(methods), clean_label(label))


class _Cache:
    """A cache that is emptied when it has too many values, or these have too many names in all."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._names = 0

    def get(self, key: Any) -> Any:
        return self._values.get(key)

    def put(self, key: Any, value: Any, names: int) -> None:
        if len(self._values) >= MAX_TYPES or self._names + names > _MAX_KEPT_NAMES:
            self._values = {}
            self._names = 0
        self._values[key] = value
        self._names += names


_names_kept = _Cache()
_types_kept = _Cache()


def _split(text: bytes) -> tuple[frozenset[str], str]:
    found: Optional[tuple[frozenset[str], str]] = _names_kept.get(text)
    if found is None:
        names, _, label = text.decode().partition('\n')
        found = _check_methods(names.split()), clean_label(label)
        _names_kept.put(text, found, len(found[0]))
    return found


# The names come from the peer, and are validated before the object is claimed.
def _check_methods(methods: Collection[str]) -> frozenset[str]:
    if len(methods) > MAX_METHODS:
        raise ValueError('invalid methods of a proxy')
    for name in methods:
        if not isinstance(name, str) or len(name) > MAX_NAME or not _methods.is_forwarded(name):
            raise ValueError('invalid method of a proxy: {:.200}'.format(repr(name) if type(name) is str else '…'))
    return frozenset(methods)


def _new_proxy(id: int, methods: frozenset[str], label: str) -> Proxy:
    handle = engines.claim(id)
    conn = handle.owner
    by_name = not conn._link.operations
    proxy: Proxy = object.__new__(_get_proxy_type(methods, by_name, label))
    _set_handle(proxy, handle)
    _set_reach(proxy, conn._apply if by_name else conn._get_invoke(handle))
    return proxy


def _get_proxy_type(methods: frozenset[str], by_name: bool, label: str) -> type[Proxy]:
    key = methods, by_name, label
    cls: Optional[type[Proxy]] = _types_kept.get(key)
    if cls is None:
        cls = _make_proxy_type(*key)
        _types_kept.put(key, cls, len(methods))
    return cls


def _make_proxy_type(methods: frozenset[str], by_name: bool, label: str) -> type[Proxy]:
    make_method = _make_method_by_name if by_name else _make_method
    scope: dict[str, Any] = {
        '__slots__': (), '__module__': 'across', '__doc__': Proxy.__doc__, '_Proxy__label': label,
    }  # fmt: skip
    for name in methods.difference([LAZY]):
        method = refuse_descriptor if name == 'fileno' else make_method(name)
        scope[name] = make_forwarder(_WRAPPERS.get(name, _keep)(method), name, label)
    if LAZY in methods:
        scope[LAZY] = make_lazy_lookup(make_method, Proxy.__getattr__)
    return types.new_class('Proxy', (Proxy,), exec_body=lambda namespace: namespace.update(scope))


def _make_method(name: str) -> types.FunctionType:
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        result = self._Proxy__reach(name, args, kwargs)
        return self if result is _SELF else result

    assert isinstance(method, types.FunctionType)
    return method


def _make_method_by_name(name: str) -> types.FunctionType:
    """The same for a peer without operations on objects: it calls a function by name, which calls the method."""

    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        result = self._Proxy__reach(_apply_method, (self, name, args, kwargs), {})
        return self if result is _SELF else result

    assert isinstance(method, types.FunctionType)
    return method


def _make_next(forward: types.FunctionType) -> types.FunctionType:
    def method(self: Any, /) -> Any:
        try:
            return forward(self)
        except RemoteError as error:
            if error.type_name != 'StopIteration':
                raise
        raise StopIteration

    assert isinstance(method, types.FunctionType)
    return method


def _make_exit(forward: types.FunctionType) -> types.FunctionType:
    # Tracebacks cannot be pickled, and an exception that cannot either must not keep the remote __exit__ from running.
    def method(
        self: Any, exc_type: Optional[type] = None, exc: Optional[BaseException] = None, traceback: Any = None, /
    ) -> Any:
        if exc is not None:
            exc = portable(exc)
            exc_type = type(exc)
        return forward(self, exc_type, exc, None)

    assert isinstance(method, types.FunctionType)
    return method


def _keep(forward: types.FunctionType) -> types.FunctionType:
    return forward


_WRAPPERS = {'__next__': _make_next, '__exit__': _make_exit}  # of methods that need more than forwarding


class _SELF:
    """What a method call returns in place of the object that it was called on."""


def _get_obj(id: int) -> Any:
    """Return an object of this process's own table: what a proxy that is sent back unpickles to."""
    return engines.lookup(id)


def run_method(obj: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a method. Special methods are looked up on the type, so those of a class are its metaclass's."""
    if name[:1] == '_' and isinstance(obj, type):
        return getattr(type(obj), name)(obj, *args, **kwargs)
    return getattr(obj, name)(*args, **kwargs)


def _apply_method(obj: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a method for a proxy."""
    result = run_method(obj, name, args, kwargs)
    if result is obj:
        return _SELF
    if name in ('__iter__', '__reversed__'):
        return Local(result)
    return result


_get_handle: Callable[[Proxy], engines.Handle] = Proxy.__dict__['_Proxy__handle'].__get__
_set_handle: Callable[[Proxy, engines.Handle], None] = Proxy.__dict__['_Proxy__handle'].__set__
_set_reach: Callable[[Proxy, Callable[..., Any]], None] = Proxy.__dict__['_Proxy__reach'].__set__

for _obj in (Proxy, Local, get_proxy_connection, same_object, _make_proxy, _SELF, _get_obj, _apply_method):
    _obj.__module__ = 'across'
del _obj
Local.__qualname__ = 'ref'  # the name under which pickles find it
