# SPDX-License-Identifier: MIT
"""The exporting side: where the source of a module of this process is found, for a peer that imports it.

Looking a module up runs none of its code, and takes no lock of the import system: a thread that holds one may be
waiting for the peer that asks. (The one exception, nested namespace packages, is named below.)
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

_CONSOLE = '_pyrepl.__main__'  # the main module's spec in the REPL of Python 3.13
_NO_SOURCE = '__main__ cannot be exported: it has no source here, as when it is typed in, or read from standard input'
_TAKE_ARGUMENT = 'cXW'  # options of the interpreter whose argument is the rest of the word, or the next one


class Found(NamedTuple):
    """A module's source, and what it takes to import it elsewhere."""

    source: str
    is_package: bool
    filename: str
    parent: Optional[str] = None  # the package of a `__main__` that runs with -m


def find(fullname: str) -> Optional[Found]:
    """Return a module's source, or None when there is no such module. ImportError when it has no source."""
    if fullname == '__main__':
        return _find_main()
    spec = _find_spec(fullname)
    if spec is None:
        return None
    if _is_namespace(spec):
        return Found('', True, '<namespace>')
    is_package = spec.submodule_search_locations is not None
    return _read(fullname, spec.loader, spec.origin if spec.has_location else None, is_package)


def list_resources(package: str) -> list[str]:
    """Return the names of the files and folders that lie in a package."""
    import importlib.resources

    return [item.name for item in importlib.resources.files(package).iterdir()]


def provide_resource_functions() -> None:
    """Make the functions of importlib.resources available under the names that all versions of Python pickle.

    A peer that imports a package from here asks for `read_binary` and `is_resource` by the name of the module that its
    own version defines them in.
    """
    import importlib.resources

    for name in ('importlib.resources._legacy', 'importlib.resources._functional'):
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = importlib.resources


# ---- specs ----


def _find_spec(fullname: str) -> Optional[importlib.machinery.ModuleSpec]:
    loaded: Any = getattr(sys.modules.get(fullname), '__spec__', None)
    if loaded is not None and loaded.name == fullname:  # else an alias of another module, or something odd
        return loaded  # type: ignore[no-any-return]
    path: Optional[Sequence[str]] = None
    parent = fullname.rpartition('.')[0]
    if parent:
        path = _find_path(parent)
        if path is None:
            return None
    for finder in list(sys.meta_path):
        try:
            spec = finder.find_spec(fullname, path) if hasattr(finder, 'find_spec') else None
        except (KeyError, ModuleNotFoundError) as error:  # the latter since Python 3.15
            if isinstance(error, ModuleNotFoundError) and error.name != parent:
                raise
            # The path of a nested namespace package hangs on its parent, which has to be imported.
            spec = importlib.util.find_spec(fullname)
        if spec is not None:
            return spec
    return None


def _find_path(package: str) -> Optional[Sequence[str]]:
    """Return where the submodules of a package are; None when it is no package."""
    loaded = sys.modules.get(package)
    if loaded is not None:
        return getattr(loaded, '__path__', None)
    spec = _find_spec(package)
    return None if spec is None else spec.submodule_search_locations


def _is_namespace(spec: importlib.machinery.ModuleSpec) -> bool:
    loader_name = type(spec.loader).__name__  # public since 3.11
    return spec.submodule_search_locations is not None and (
        spec.loader is None or loader_name in ('NamespaceLoader', '_NamespaceLoader')
    )


# ---- source ----


def _read(fullname: str, loader: Any, origin: Optional[str], is_package: bool) -> Found:
    get_source = getattr(loader, 'get_source', None)
    source = _read_file(origin) if get_source is None else get_source(fullname)
    if source is None:
        raise ImportError('{} cannot be exported: {}'.format(fullname, _explain(loader, origin)), name=fullname)
    get_filename = getattr(loader, 'get_filename', '<{}>'.format)
    return Found(source, is_package, origin or get_filename(fullname))


def _read_file(filename: Optional[str]) -> Optional[str]:
    """Return the source in a file; None when it is not there, or something else."""
    if filename is None or not filename.endswith(tuple(importlib.machinery.SOURCE_SUFFIXES)):
        return None
    try:
        with open(filename, 'rb') as file:
            return importlib.util.decode_source(file.read())
    except OSError:
        return None


def _explain(loader: Any, origin: Optional[str]) -> str:
    """Return why a loader has no source."""
    if isinstance(loader, importlib.machinery.ExtensionFileLoader):
        return '{} is an extension module, and not Python source'.format(origin)
    if loader in (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter):
        return 'it is part of the interpreter'
    if isinstance(loader, importlib.machinery.SourcelessFileLoader):
        return '{} is compiled, and its source is missing'.format(origin)
    return '{!r} has no source of it'.format(loader)


# ---- the main module ----


def _find_main() -> Found:
    main = sys.modules.get('__main__')
    if main is None:
        raise ImportError('__main__ cannot be exported: this process has none', name='__main__')
    spec = getattr(main, '__spec__', None)
    if spec is not None and spec.name == _CONSOLE:
        raise ImportError(_NO_SOURCE, name='__main__')
    if spec is not None and spec.loader is not None:
        # With -m, it is known to its loader by another name, and in a package there that relative imports start from.
        found = _try_loader(spec.name, spec.loader, spec.origin)
        if found is not None:
            return found._replace(parent=(spec.parent or None) if spec.name != '__main__' else None)
    loader, filename = getattr(main, '__loader__', None), getattr(main, '__file__', None)
    found = _try_loader('__main__', loader, filename) or _read_command()
    if found is None:
        raise ImportError(_NO_SOURCE, name='__main__')
    return found


def _try_loader(name: str, loader: Any, filename: Optional[str]) -> Optional[Found]:
    try:
        return _read(name, loader, filename, False)
    except ImportError:
        source = _read_file(filename)
        return None if source is None or filename is None else Found(source, False, filename)


def _read_command() -> Optional[Found]:
    """Return the source that was given with -c."""
    source = _find_command(_get_interpreter_args()) if sys.argv[:1] == ['-c'] else None
    return None if source is None else Found(source, False, '<string>')


def _get_interpreter_args() -> list[str]:
    """Return all arguments of the interpreter, and not just those of the program."""
    args: Optional[list[str]] = getattr(sys, 'orig_argv', None)  # since 3.10
    if args is None:
        try:
            with open('/proc/self/cmdline', 'rb') as file:
                args = [os.fsdecode(arg) for arg in file.read().split(b'\0')[:-1]]
        except OSError:
            args = []
    return args[1:]


def _find_command(args: list[str]) -> Optional[str]:
    """Return the argument of -c; None when there is none, so that another option decides on the program."""
    words = iter(args)
    for word in words:
        if word.startswith('--'):
            if '=' not in word:
                next(words, None)
            continue
        if not word.startswith('-'):
            return None
        for index, letter in enumerate(word[1:], 2):
            if letter not in _TAKE_ARGUMENT:
                continue
            argument = word[index:] or next(words, None)
            if letter == 'c':
                return argument
            break
    return None
