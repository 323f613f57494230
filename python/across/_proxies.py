# SPDX-License-Identifier: MIT
"""Proxies for objects in the peer's process, the marker that makes them, and what a method call applies over there.

Pickles name `across.ref`, `across._make_proxy`, `across._get_obj`, `across._apply_method` and `across._SELF`,
whatever the version of the peer: these names and parameters are part of the wire protocol (docs/protocol.md).
"""

from __future__ import annotations

import functools
import keyword
import types
from collections.abc import Collection
from typing import Any, Callable, NoReturn, Optional

from . import _engine
from ._errors import RemoteError
from ._portable import ConnectionBound, portable

# Special methods that cross a connection. All other names with a leading underscore stay local.
_SPECIAL = frozenset(
    '__len__ __contains__ __getitem__ __setitem__ __delitem__ __call__ __iter__ __next__ __enter__ __exit__'.split()
)
_MAX_METHODS = 2000  # of one object; dir() of the largest classes has some hundred
_MAX_NAME = 200  # characters of a method's name
_MAX_NAMES = _MAX_METHODS * (_MAX_NAME + 1)  # bytes of all names of one object, with spaces between them
_HEAP_TYPE = 1 << 9  # among the flags of a class: it was made at run time, and may change
_MAX_TYPES = 256  # proxy types that are kept for reuse; a hostile peer could otherwise add them without end


class Proxy(ConnectionBound):
    """Stands for an object in the peer's process, and forwards method calls to it.

    Forwarded are public methods and `__len__`, `__contains__`, `__getitem__`, `__setitem__`, `__delitem__`,
    `__call__`, `__iter__`, `__next__`, `__enter__`, `__exit__`, as far as the object's class has them. The object
    lives at least as long as the proxy. `copy.deepcopy(proxy)` fetches a copy of it. Sent back over its own
    connection, a proxy becomes the object itself; no other connection can send it.

    Proxies come from :meth:`Connection.create`, :meth:`Connection.replicate` and :class:`Local`.
    """

    # Both names are mangled: no forwarded method can be called like that.
    __slots__ = ('__handle', '__reach', '__weakref__')

    __handle: _engine.Handle
    __reach: Callable[..., Any]  # what methods go through: the handle's invoke, or the connection's apply

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError('proxies are made by connections')

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        link = self.__handle.owner._link
        return self.__handle.copy() if link.operations else link.apply(_get_obj, (self.__handle.id,), {})

    def __copy__(self) -> NoReturn:
        raise TypeError('a proxy has no shallow copy; copy.deepcopy() fetches a copy of its object')

    def __reduce__(self) -> Any:
        conn = _engine.pickling()
        if conn is not self.__handle.owner:
            raise RuntimeError('{!r} can be sent over its own connection alone'.format(self))
        return _get_obj, (self.__handle.id,)

    def __repr__(self) -> str:
        return '<across.Proxy for object {} of {!r}>'.format(self.__handle.id, self.__handle.owner)


class Local(ConnectionBound):
    """Marks an object that is to be passed to the peer, or returned to it, as a proxy. Alias: `ref`, `Reference`."""

    __slots__ = ('__obj',)

    def __init__(self, obj: Any) -> None:
        _check_object(obj)
        self.__obj = obj

    def __reduce__(self) -> Any:
        if _engine.pickling() is None:
            raise RuntimeError('{!r} can only be pickled by a connection'.format(self))
        methods = get_methods(type(self.__obj))
        return _make_proxy, (_engine.register(self.__obj), methods)

    def __repr__(self) -> str:
        return 'across.Local({!r})'.format(self.__obj)


def get_proxy_connection(proxy: Proxy) -> Any:
    """Return the connection that a proxy belongs to. TypeError when it is no proxy."""
    if not isinstance(proxy, Proxy):
        raise TypeError('Not a proxy: {!r}'.format(proxy))
    return _get_handle(proxy).owner


def _check_object(obj: Any) -> None:
    if isinstance(obj, (Proxy, Local)):
        raise TypeError('a {} cannot be passed as a proxy: {!r}'.format(type(obj).__name__, obj))


def get_methods(cls: type) -> list[str]:
    """Return the names that a proxy for an instance of `cls` forwards."""
    return _find_methods(cls) if cls.__flags__ & _HEAP_TYPE else list(_find_methods_once(cls))


def _find_methods(cls: type) -> list[str]:
    return [name for name in dir(cls) if _is_forwarded(name) and not keyword.iskeyword(name) and _has_method(cls, name)]


# Of functions, for one, and what else is part of the interpreter: these classes never change.
_find_methods_once = functools.lru_cache(_MAX_TYPES)(_find_methods)


def _is_forwarded(name: str) -> bool:
    return name.isidentifier() and (not name.startswith('_') or name in _SPECIAL)


def _has_method(cls: type, name: str) -> bool:
    try:
        return callable(getattr(cls, name))
    except Exception:  # a descriptor may raise anything when it is looked up on the class
        return False


def list_methods(obj: Any) -> bytes:
    """Return what `get_methods` does for the type of an object that is to get a proxy, separated by spaces."""
    _check_object(obj)
    return ' '.join(get_methods(type(obj))).encode()


def make_proxy(id: int, names: bytes) -> Proxy:
    """Make a proxy for object `id` of the peer's table, with methods as `list_methods` gives them."""
    if len(names) > _MAX_NAMES:
        raise ValueError('invalid methods of a proxy')
    return _new_proxy(id, _split_names(names))


def _make_proxy(id: int, methods: list[str]) -> Proxy:
    """Make a proxy for object `id` of the peer's table; what a Local unpickles to."""
    if not isinstance(methods, (list, tuple, set, frozenset)):
        raise ValueError('invalid methods of a proxy')
    return _new_proxy(id, _check_methods(methods))


@functools.lru_cache(_MAX_TYPES)
def _split_names(names: bytes) -> frozenset[str]:
    return _check_methods(names.decode().split())


# The names come from the peer. Nothing is claimed before they are known to be harmless.
def _check_methods(methods: Collection[str]) -> frozenset[str]:
    if len(methods) > _MAX_METHODS:
        raise ValueError('invalid methods of a proxy')
    for name in methods:
        if not isinstance(name, str) or len(name) > _MAX_NAME or not _is_forwarded(name):
            raise ValueError('invalid method of a proxy: {!r:.200}'.format(name))
    return frozenset(methods)


def _new_proxy(id: int, methods: frozenset[str]) -> Proxy:
    handle = _engine.claim(id)
    conn = handle.owner
    by_name = not conn._link.operations
    proxy: Proxy = object.__new__(_get_proxy_type(methods, by_name))
    _set_handle(proxy, handle)
    _set_reach(proxy, conn._apply if by_name else conn._get_invoke(handle))
    return proxy


@functools.lru_cache(_MAX_TYPES)
def _get_proxy_type(methods: frozenset[str], by_name: bool) -> type[Proxy]:
    make_method = _make_method_by_name if by_name else _make_method
    scope: dict[str, Any] = {'__slots__': (), '__module__': 'across', '__doc__': Proxy.__doc__}
    for name in methods:
        method = make_method(name)
        if name in _WRAPPERS:
            method = _WRAPPERS[name](method)
        method.__name__ = name
        method.__qualname__ = 'Proxy.' + name
        method.__module__ = 'across'
        scope[name] = method
    return types.new_class('Proxy', (Proxy,), exec_body=lambda namespace: namespace.update(scope))


def _make_method(name: str) -> types.FunctionType:
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        result = self._Proxy__reach(name, args, kwargs)
        return self if result is _SELF else result

    assert isinstance(method, types.FunctionType)
    return method


def _make_method_by_name(name: str) -> types.FunctionType:
    """The same for a peer that knows no operations on objects: a function that it finds by name calls the method."""

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


_WRAPPERS = {'__next__': _make_next, '__exit__': _make_exit}  # of methods that need more than forwarding


class _SELF:
    """What a method call returns in place of the object that it was called on."""


def _get_obj(id: int) -> Any:
    """Return an object of this process's own table: a proxy that came home."""
    return _engine.lookup(id)


def _apply_method(obj: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a method for a proxy."""
    result = getattr(obj, name)(*args, **kwargs)
    if result is obj:
        return _SELF
    if name == '__iter__':
        return Local(result)
    return result


_get_handle: Callable[[Proxy], _engine.Handle] = Proxy.__dict__['_Proxy__handle'].__get__
_set_handle: Callable[[Proxy, _engine.Handle], None] = Proxy.__dict__['_Proxy__handle'].__set__
_set_reach: Callable[[Proxy, Callable[..., Any]], None] = Proxy.__dict__['_Proxy__reach'].__set__

for _obj in (Proxy, Local, get_proxy_connection, _make_proxy, _SELF, _get_obj, _apply_method):
    _obj.__module__ = 'across'
del _obj
Local.__qualname__ = 'ref'  # the name under which pickles find it
