# SPDX-License-Identifier: MIT
"""Methods of proxies as tools see them: with name, docs and signature, as far as these can be had.

The class of the object may be known in this process, by its name. Then a method is a plain function, which costs
nothing more to call, and has the docs of that class's. Else it is an object that asks the other side when its
docs or signature are read.
"""

from __future__ import annotations

import io
import sys
import types
from typing import TYPE_CHECKING, Any, Callable, Optional

from .methods import has_method
from .snippets import _execute
from .text import clean

if TYPE_CHECKING:
    import inspect

_MAX_PARTS = 16  # of a class's name, which comes from the peer and is looked up for each method
_WITH_DOCS = (types.FunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)

# Any peer can execute a snippet. Docs, and of each parameter: name, kind, default and annotation, as text.
_DESCRIBE = """
import inspect

def show(value, as_text):
    return None if value is inspect.Parameter.empty else str(as_text(value))

method = getattr(obj, name)
shape = None
try:
    found = inspect.signature(method)
    shape = [(p.name, int(p.kind), show(p.default, repr), show(p.annotation, inspect.formatannotation))
             for p in found.parameters.values()], show(found.return_annotation, inspect.formatannotation)
except Exception:
    pass
inspect.getdoc(method), shape
"""


def make_forwarder(forward: types.FunctionType, name: str, label: str) -> Any:
    """Return a method of proxies that does what `forward` does. `label` says what the object is."""
    forward.__name__ = name
    forward.__qualname__ = 'Proxy.' + name
    forward.__module__ = 'across'
    known = _find_known(label, name)
    if known is None and not name.startswith('_') and forward is not refuse_descriptor:
        return _Forwarder(forward)
    _take_docs(forward, known)
    return forward


def _find_known(label: str, name: str) -> Any:
    """Return an attribute of the class that a label names, if this process has it. Nothing is imported or called."""
    parts = label.split('.')
    if len(parts) > _MAX_PARTS:
        return None
    for end in range(len(parts) - 1, 0, -1):
        module = sys.modules.get('.'.join(parts[:end]))
        if isinstance(module, types.ModuleType):
            return _look_up(module, parts[end:], name)
    return None


def _look_up(module: types.ModuleType, path: list[str], name: str) -> Any:
    found: Any = None
    scope = object.__getattribute__(module, '__dict__')
    for part in path:
        found = scope.get(part)
        if not isinstance(found, type):
            return None
        scope = type.__dict__['__dict__'].__get__(found)
    for cls in type.__dict__['__mro__'].__get__(found):
        scope = type.__dict__['__dict__'].__get__(cls)
        if name in scope:
            return scope[name]
    return None


def _take_docs(forward: types.FunctionType, known: Any) -> None:
    method = known.__func__ if isinstance(known, (classmethod, staticmethod)) else known
    if not isinstance(method, _WITH_DOCS):
        return
    doc = method.__doc__
    forward.__doc__ = doc if isinstance(doc, str) else None
    if not isinstance(known, staticmethod):
        forward.__wrapped__ = method  # type: ignore[attr-defined]  # inspect.signature() looks there


def _refuse_descriptor(self: Any, /) -> int:
    raise io.UnsupportedOperation(
        'fileno: the file of {!r} is open in another process, where its descriptor stays: '
        'read or write it by its methods, or pass a file of this process'.format(self)
    )


assert isinstance(_refuse_descriptor, types.FunctionType)
refuse_descriptor: types.FunctionType = _refuse_descriptor


class _Forwarder:
    """A method of proxies, whose docs the other side has."""

    __slots__ = ('forward',)

    def __init__(self, forward: types.FunctionType) -> None:
        self.forward = forward

    def __get__(self, proxy: Any, owner: Optional[type] = None) -> Any:
        return self if proxy is None else BoundForwarder(proxy, self.forward)

    def __call__(self, proxy: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self.forward(proxy, *args, **kwargs)

    @property
    def __name__(self) -> str:
        return self.forward.__name__

    def __repr__(self) -> str:
        return '<method {} of proxies>'.format(self.__name__)


class BoundForwarder:
    """A method of an object in the peer's process."""

    __slots__ = ('__self__', '__func__', '_description')

    def __init__(self, proxy: Any, forward: types.FunctionType) -> None:
        self.__self__ = proxy
        self.__func__ = forward

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    # What has __get__ is a routine to `inspect`, and so to help().
    def __get__(self, obj: Any, owner: Optional[type] = None) -> BoundForwarder:
        return self

    @property
    def __name__(self) -> str:
        return self.__func__.__name__

    @property
    def __signature__(self) -> Optional[inspect.Signature]:
        return self._describe()[1]

    def _describe(self) -> tuple[Optional[str], Optional[inspect.Signature]]:
        """Ask the other side, once. What cannot be had is None."""
        try:
            return self._description  # type: ignore[no-any-return]
        except AttributeError:
            pass
        self._description: Any = None, None
        try:
            self._description = _ask_for_description(self.__self__, self.__name__)
        except Exception:  # reading an attribute is not expected to fail
            pass
        return self._description  # type: ignore[no-any-return]

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, BoundForwarder):
            return NotImplemented
        return self.__self__ is other.__self__ and self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__name__))

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.__name__)

    def __repr__(self) -> str:
        return '<method {} of {!r}>'.format(self.__name__, self.__self__)


# Not by a def in the class, where it would be the class's own docs.
BoundForwarder.__doc__ = property(lambda self: self._describe()[0])  # type: ignore[assignment]


class _Text:
    """Stands in a signature for what only the other side has."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _ask(proxy: Any, func: Callable[..., Any], *args: Any) -> Any:
    return proxy._Proxy__handle.owner._apply(func, args, {})


def _ask_for_description(proxy: Any, name: str) -> tuple[Optional[str], Optional[inspect.Signature]]:
    doc, shape = _ask(proxy, _execute, _DESCRIBE, {'obj': proxy, 'name': name})
    return clean(doc, len(doc), '\n\t') if isinstance(doc, str) else None, shape and _make_signature(shape)


def _make_signature(shape: Any) -> inspect.Signature:
    import inspect

    def take(text: Optional[str]) -> Any:
        return inspect.Parameter.empty if text is None else _Text(clean(text, 200))

    parameters, returned = shape
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect._ParameterKind(kind), default=take(default), annotation=take(annotation))
            for name, kind, default, annotation in parameters
        ],
        return_annotation=take(returned),
    )


def make_lazy_lookup(
    make_method: Callable[[str], types.FunctionType], fail: Callable[[Any, str], Any]
) -> Callable[[Any, str], Any]:
    """Return `__getattr__` for proxies of objects that find methods by code of their own, which is asked."""

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith('_') or not _ask(self, has_method, self, name):
            return fail(self, name)
        forward = refuse_descriptor if name == 'fileno' else make_method(name)
        forward.__name__ = name
        return BoundForwarder(self, forward)

    return __getattr__
