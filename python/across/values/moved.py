# SPDX-License-Identifier: MIT
"""Names of the standard library that other versions of Python pickle, and that this one has elsewhere.

A pickle names a class or function by the module that defines it, which is an internal one at times: Python 3.13 says
`pathlib._local.PosixPath` where others say `pathlib.PosixPath`. So that all versions find what one of them has pickled,
such names are made known here: modules that are missing as aliases of public ones, which are not imported before they
are needed, and a few names in modules that are loaded anyway.
"""

from __future__ import annotations

import _thread
import importlib
import posixpath
import re
import sys
from types import ModuleType
from typing import Any

_ALWAYS = (3, 9)
_NEVER = (99,)

# An internal module, the first version that has it, the first that has it no more, and the public module.
_MODULES: list[tuple[str, tuple[int, ...], tuple[int, ...], str]] = [
    ('_py_warnings', (3, 14), _NEVER, 'warnings'),
    ('importlib._abc', (3, 10), _NEVER, 'importlib.abc'),
    ('importlib._common', _ALWAYS, (3, 11), 'importlib.resources'),
    ('importlib.resources._common', (3, 11), _NEVER, 'importlib.resources'),
    ('importlib.resources._functional', (3, 13), _NEVER, 'importlib.resources'),
    ('importlib.resources._legacy', (3, 11), (3, 13), 'importlib.resources'),
    ('importlib.resources.abc', (3, 11), _NEVER, 'importlib.abc'),
    ('math.integer', (3, 15), _NEVER, 'math'),
    ('pathlib._abc', (3, 13), (3, 14), 'pathlib'),
    ('pathlib._local', (3, 13), _NEVER, 'pathlib'),
    ('zipfile._path', (3, 12), _NEVER, 'zipfile'),
]


class _Alias(ModuleType):
    """Stands for a module that this version does not have."""

    def __init__(self, name: str, public: str) -> None:
        super().__init__(name, 'What other versions of Python have here; see {}.'.format(public))
        self.__dict__['_public'] = public

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__dict__['_public']), name)


def provide() -> None:
    """Make them known, once."""
    for name, first, end, public in _MODULES:
        if not first <= sys.version_info < end:
            sys.modules.setdefault(name, _Alias(name, public))
    for module, name, value in _list_names():
        if not hasattr(module, name):
            setattr(module, name, value)


def _list_names() -> list[tuple[ModuleType, str, Any]]:
    names: list[tuple[ModuleType, str, Any]] = [
        (re, 'PatternError', re.error),  # since 3.13
        (re, 'prefixmatch', re.match),  # since 3.15
        (_thread, 'lock', _thread.allocate_lock),  # what threading.Lock is since 3.13
    ]
    posix = sys.modules.get('posix')
    if posix is not None:
        names.append((posix, '_path_normpath', posixpath.normpath))  # what that is since 3.13
        if hasattr(posixpath, 'splitroot'):
            names.append((posix, '_path_splitroot_ex', posixpath.splitroot))
    return names
