# SPDX-License-Identifier: MIT
"""What a peer is told of an object that it gets a proxy for: a label, and the methods that are forwarded.

This runs in the process that has the object. Attributes are looked up on classes, and in the dictionaries and slots of
objects: no property is evaluated, and no `__getattr__` is called, before the other side asks for a name.
"""

from __future__ import annotations

import functools
import keyword
import socket
import types
from typing import Any, Callable

# Special methods that proxies forward. Others are not: a number (__index__) or a path (__fspath__) of one process may
# mean something else in another.
SPECIAL = frozenset(
    '__len__ __contains__ __getitem__ __setitem__ __delitem__ __call__ __iter__ __next__ __enter__ __exit__ '
    '__reversed__ __bool__ __getattr__'.split()
)
LAZY = '__getattr__'  # of an object whose methods are not all known: the proxy asks for a name when it is used
MAX_METHODS = 2000  # of one object; dir() of the largest classes has some hundred, but modules may have more
MAX_NAME = 200  # characters of a method's name
MAX_LABEL = 200  # characters that say what an object is
MAX_TYPES = 256  # classes whose methods are remembered, and classes of proxies
_HEAP_TYPE = 1 << 9  # among the flags of a class: it was made at run time, and may change
_DESCRIPTOR = 'fileno'  # its result means nothing in another process: proxies have it, and refuse to call it
_HIDDEN_OF_SOCKETS = frozenset(['detach'])  # which returns a descriptor, too
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_texts: dict[type, bytes] = {}  # of objects that are all alike: these classes are part of the interpreter
_NEW = frozenset([LAZY, _DESCRIPTOR])  # what a peer that takes no descriptions would forward like any method


def is_forwarded(name: str) -> bool:
    """Whether proxies may forward a method of this name."""
    return name.isidentifier() and (not name.startswith('_') or name in SPECIAL)


def is_public(name: Any) -> bool:
    """Whether objects may have their own methods of this name, beside those of their class."""
    return isinstance(name, str) and name.isidentifier() and not name.startswith('_') and not keyword.iskeyword(name)


def get_methods(obj: Any, is_described: bool) -> list[str]:
    """Return the names that a proxy for an object forwards.

    `is_described` says whether the peer knows what to do with `__getattr__` and `fileno`.
    """
    cls = type(obj)
    names = list(_find_methods_once(cls)) if not cls.__flags__ & _HEAP_TYPE else _find_methods(cls)
    own = _find_own(obj)
    if own:
        names += own.difference(names)
    if _is_lazy(obj) and LAZY not in names:
        names.append(LAZY)
    if len(names) > MAX_METHODS:
        special = [name for name in names if name in SPECIAL and name != LAZY]
        names = [LAZY, *special, *(name for name in names if name not in SPECIAL)][:MAX_METHODS]
    return names if is_described else [name for name in names if name not in _NEW]


def _find_methods(cls: Any) -> list[str]:
    hidden = _HIDDEN_OF_SOCKETS if issubclass(cls, socket.socket) else ()
    return [
        name
        for name in dir(cls)
        if is_forwarded(name) and not keyword.iskeyword(name) and name not in hidden and _has_method(cls, name)
    ]


# Of functions, for one, and what else is part of the interpreter: these classes never change.
_find_methods_once: Callable[[Any], list[str]] = functools.lru_cache(MAX_TYPES)(_find_methods)


def _has_method(cls: type, name: str) -> bool:
    if name.startswith('_'):  # looked up as Python does for instances: the class of the class is not asked
        return callable(next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None))
    try:
        return callable(getattr(cls, name))
    except Exception:  # a descriptor may raise anything when it is looked up on the class
        return False


def _find_own(obj: Any) -> set[str]:
    """Return the public callables of the object itself: functions of modules and classes, attributes of instances."""
    if isinstance(obj, type):
        return {name for name in dir(obj) if is_public(name) and _has_method(obj, name)}
    try:
        attributes = list(object.__getattribute__(obj, '__dict__').items())
    except Exception:  # it has none, or it is no dict
        attributes = []
    own = {name for name, value in attributes if is_public(name) and callable(value)}
    if type(obj).__flags__ & _HEAP_TYPE:
        own.update(name for cls in type(obj).__mro__ for name in _find_slots(cls, obj))
    return own


def _find_slots(cls: type, obj: Any) -> list[str]:
    found = []
    for name, slot in list(vars(cls).items()):
        if type(slot) is types.MemberDescriptorType and is_public(name):
            try:
                value = slot.__get__(obj)
            except AttributeError:  # it is empty
                continue
            if callable(value):
                found.append(name)
    return found


def _is_lazy(obj: Any) -> bool:
    """Whether an object finds attributes by code of its own."""
    if isinstance(obj, types.ModuleType):
        return LAZY in vars(obj)
    cls = type(obj)
    return bool(cls.__flags__ & _HEAP_TYPE) and isinstance(cls.__getattribute__, types.FunctionType)


def has_method(obj: Any, name: str) -> bool:
    """Whether an object has a callable attribute of a public name. A proxy asks, when it was not told of the name."""
    return is_public(name) and callable(getattr(obj, name, None))


has_method.__module__ = 'across._methods'  # the name under which pickles find it


def get_label(obj: Any) -> str:
    """Return what an object is, in a few words: the name of its class, or its own, if it has one."""
    try:
        if isinstance(obj, types.ModuleType):
            label = 'module ' + str(obj.__name__)
        elif isinstance(obj, type):
            label = 'class ' + _get_full_name(obj)
        elif isinstance(obj, _FUNCTIONS):
            label = 'function ' + _get_full_name(obj)
        else:
            label = _get_full_name(type(obj))
    except Exception:  # a class may have anything in the place of its name
        label = 'object'
    return clean_label(label)


def _get_full_name(obj: Any) -> str:
    module = obj.__module__
    return '{}.{}'.format(module, obj.__qualname__) if module else str(obj.__qualname__)


def clean_label(label: str) -> str:
    """Return a label as it may be shown."""
    label = label[:MAX_LABEL]
    return label if label.isprintable() else ascii(label)[1:-1]


def list_methods(obj: Any) -> bytes:
    """Return what a peer is told of an object: names separated by spaces, and in a second line its label."""
    cls = type(obj)
    if cls.__flags__ & _HEAP_TYPE or cls.__dictoffset__ or isinstance(obj, _FUNCTIONS):
        return _list_methods(obj)
    text = _texts.get(cls)
    if text is None:
        text = _texts[cls] = _list_methods(obj)
    return text


def _list_methods(obj: Any) -> bytes:
    return '{}\n{}'.format(' '.join(get_methods(obj, True)), get_label(obj)).encode('utf-8', 'backslashreplace')
