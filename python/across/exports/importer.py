# SPDX-License-Identifier: MIT
"""The importing side: modules that a peer exports are imported from there.

Pickles name `across._importer._find_across_loader`, `_contents` and `AcrossLoader`, whatever the version of the peer:
these names and parameters are part of the wire protocol (docs/protocol.md).

No lock is held while the peer is asked. The import system holds that of the module which is being imported; threads
that want another one go on, and the peer may call this process in the meantime.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any, Optional

from .. import engines
from .._errors import OperationError, describe_error
from . import exporter, resources, spawning
from .main_module import compile_main

_MARK = '*'  # appended to the names of exported files, so that they are not taken for files of this host


def _find_across_loader(fullname: str) -> Optional[AcrossLoader]:
    """Return a loader for a module of this process, or None: the importing side calls this."""
    found = exporter.find(fullname)
    if found is None:
        return None
    return AcrossLoader(found.source, found.is_package, _mark(found.filename), found.parent, None)


def _contents(fullname: str) -> list[str]:
    """Return the names of the files and folders in a package: the importing side calls this."""
    return exporter.list_resources(fullname)


def accept(modules: Sequence[str], conn: Any) -> None:
    """From now on, import these top-level modules over `conn`."""
    _finder.accept(modules, conn)


def _mark(filename: str) -> str:
    is_file = not (filename.startswith('<') and filename.endswith('>'))  # '<string>' is no file
    return filename + _MARK if is_file and not filename.endswith(_MARK) else filename


class AcrossLoader:
    """Loads one module, whose source came from a peer. The finder has to say from which, and under what name."""

    def __init__(self, source: str, is_package: bool, filename: str, *more: Any) -> None:
        # A peer of version 0.1 sends (source, is_package, filename, code), and leaves it to us to mark the file's name.
        if len(more) == 1:
            filename = _mark(filename)
        self._source = source
        self._is_package = is_package
        self._filename = filename
        self._parent: Optional[str] = more[0] if len(more) == 2 else None
        self._conn: Any = None  # a weak reference
        self._name = ''

    def bind(self, fullname: str, conn: weakref.ref[Any]) -> None:
        """Say which module it is for, and over which connection it came."""
        self._name = fullname
        self._conn = conn

    def make_spec(self, fullname: str) -> importlib.machinery.ModuleSpec:
        """Return the spec for the import system."""
        is_namespace = self._is_package and not self._source and self._filename.startswith('<')
        origin = None if is_namespace else self._filename
        spec = _Spec(fullname, self, origin=origin, is_package=self._is_package)  # type: ignore[arg-type]
        spec.has_location = not is_namespace
        spec.parent_override = self._parent
        if self._is_package:
            spec.submodule_search_locations = [_mark(os.path.dirname(self._filename))]  # there is no such folder
        return spec

    # What the import system, linecache, inspect and pkgutil call.

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave it to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, fullname: str) -> CodeType:
        if fullname == '__main__':
            return compile_main(self._source, self._filename)
        return compile(self._source, self._filename, 'exec', dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_filename(self, fullname: str) -> str:
        return self._filename

    def is_package(self, fullname: str) -> bool:
        return self._is_package

    def get_data(self, path: str) -> bytes:
        """Return the content of a file of the package, or beside the module: what pkgutil.get_data() calls."""
        return resources.get_data(self._get_connection(), self._name, os.path.dirname(self._filename), path)

    def get_resource_reader(self, fullname: str) -> resources.Reader:
        return resources.Reader(self._get_connection(), fullname)

    def _get_connection(self) -> Any:
        conn = None if self._conn is None else self._conn()
        if conn is None:
            raise OSError('the connection over which {} was imported is closed'.format(self._name or 'this module'))
        return conn

    def __reduce__(self) -> Any:
        conn = engines.pickling()
        if conn is not None and conn._link.minor == 1:
            return AcrossLoader, (self._source, self._is_package, self._filename.rstrip(_MARK), None)
        return AcrossLoader, (self._source, self._is_package, self._filename, self._parent, None)

    def __repr__(self) -> str:
        return '<across loader for {!r}>'.format(self._filename)


class _Spec(importlib.machinery.ModuleSpec):
    """Knows the package that a `__main__` belongs to: its name does not say it."""

    parent_override: Optional[str] = None

    @property
    def parent(self) -> Any:
        return super().parent if self.parent_override is None else self.parent_override


class _Finder:
    """First on sys.meta_path once a peer exports modules, which take precedence over local ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _exports against other threads that accept modules
        self._exports: dict[str, weakref.ref[Any]] = {}  # top-level names, and who exports them
        self._packages: set[str] = set()  # that came from peers: their submodules are there, too
        self._displaced: list[ModuleType] = []  # keeps this process's own main module alive

    def accept(self, modules: Sequence[str], conn: Any) -> None:
        with self._lock:
            for name in modules:
                self._check(name, conn)
            for name in modules:
                self._exports[name] = weakref.ref(conn)
                self._displace(name)
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)
                resources.patch_files(AcrossLoader)
                if spawning.MODULE in sys.modules:
                    spawning.patch(sys.modules[spawning.MODULE], AcrossLoader)

    def _check(self, name: Any, conn: Any) -> None:
        if not isinstance(name, str):
            raise TypeError('the name of a module must be a str, not {}'.format(type(name).__name__))
        if not name or '.' in name:
            raise ValueError('Not a top-level module: {!r}'.format(name))
        exporter = self._exports.get(name)
        other = None if exporter is None else exporter()
        if other is conn:
            return
        if other is not None and other.is_connected():
            raise ValueError('Cannot export module {}: another connection exports one of that name'.format(name))
        loaded = sys.modules.get(name)
        if name in sys.modules and (name != '__main__' or isinstance(_get_loader(loaded), AcrossLoader)):
            raise ValueError('Cannot export module {}: it is already imported'.format(name))

    def _displace(self, name: str) -> None:
        loaded = sys.modules.get(name)
        if name == '__main__' and loaded is not None and not isinstance(_get_loader(loaded), AcrossLoader):
            self._displaced.append(sys.modules.pop(name))

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """Ask the peer that exports the module; None when it has none of that name, or no peer exports it."""
        if fullname == spawning.MODULE:
            spec = self._ask_others(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spawning.patch_later(spec, AcrossLoader)
            return spec
        top, dot, _ = fullname.partition('.')
        exporter = self._exports.get(top)
        if exporter is None or (dot and fullname.rpartition('.')[0] not in self._packages):
            return None
        try:
            loader = _fetch(fullname, exporter())
        except ImportError:
            # Packages may have finders for some submodules, which is why there is no source of those to be had.
            spec = self._ask_others(fullname, path, target) if dot else None
            if spec is None:
                raise
            return spec
        if loader is None:
            return None
        loader.bind(fullname, exporter)
        if loader.is_package(fullname):
            self._packages.add(fullname)
        return loader.make_spec(fullname)

    def _ask_others(self, fullname: str, path: Any, target: Any) -> Optional[importlib.machinery.ModuleSpec]:
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                return spec
        return None


_finder = _Finder()

for _obj in (_find_across_loader, _contents, AcrossLoader):
    _obj.__module__ = 'across._importer'  # the name under which pickles find them
del _obj


def _get_loader(module: Any) -> Any:
    return getattr(getattr(module, '__spec__', None), 'loader', None)


def _fetch(fullname: str, conn: Any) -> Optional[AcrossLoader]:
    """Ask the exporting side for a loader."""
    if conn is None:
        raise ImportError('{} was exported over a connection that is closed'.format(fullname), name=fullname)
    try:
        loader = conn._link.apply(_find_across_loader, (fullname,), {})
    except ImportError:
        raise
    except OperationError as error:
        text = '{} is exported by a peer, and could not be fetched: {}'.format(fullname, error)
        raise ImportError(text, name=fullname) from error
    except Exception as error:
        text = '{} is exported by a peer, which could not provide it: {}'.format(fullname, describe_error(error))
        raise ImportError(text, name=fullname) from error
    if loader is not None and not isinstance(loader, AcrossLoader):
        raise ImportError('a peer sent no loader for {}: {!r}'.format(fullname, loader), name=fullname)
    return loader
