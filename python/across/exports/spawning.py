# SPDX-License-Identifier: MIT
"""Makes modules that a peer has exported importable in processes that multiprocessing starts.

A call may use a pool, and name functions of the exported module that it belongs to. Children that are forked have that
module. Those of the start methods `spawn` and `forkserver` import it, and have no connection to ask for it. So what was
imported here from peers is put into an archive, which stands on their sys.path. What was not imported here yet is not
in it: there the import fails in the child, as that of any module does that does not exist.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
import threading
from types import ModuleType
from typing import Any

MODULE = 'multiprocessing.spawn'

_lock = threading.Lock()
_archives: dict[frozenset[str], str] = {}  # by the modules in them; they last as long as the process


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()  # in a forked child: a thread of the parent may have held the old one


os.register_at_fork(after_in_child=_renew_lock)


def patch(spawn: ModuleType, loader_type: type) -> None:
    """Have multiprocessing.spawn tell its children where modules are that `loader_type` has loaded."""
    original = spawn.get_preparation_data
    if getattr(original, '_knows_exports', False):
        return

    def get_preparation_data(name: str) -> Any:
        data = original(name)
        loaders = _find(loader_type)
        if not loaders:
            return data
        archive = _get_archive(loaders)
        data['sys_path'] = [archive, *data.get('sys_path', sys.path)]
        if '__main__' in loaders:
            data.pop('init_main_from_name', None)
            data['init_main_from_path'] = archive
        return data

    get_preparation_data._knows_exports = True  # type: ignore[attr-defined]
    spawn.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]


def patch_later(spec: Any, loader_type: type) -> None:
    """The same for a module that is about to be loaded."""
    load = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        patch(module, loader_type)

    spec.loader.exec_module = exec_module


def _find(loader_type: type) -> dict[str, Any]:
    """The loaders of modules that came from peers, by the modules' names."""
    found = {}
    for name, module in list(sys.modules.items()):
        loader = getattr(getattr(module, '__spec__', None), 'loader', None)
        if isinstance(loader, loader_type):
            found[name] = loader
    return found


def _get_archive(loaders: dict[str, Any]) -> str:
    """The path of an archive that has these modules."""
    names = frozenset(loaders)
    with _lock:
        path = _archives.get(names)
        if path is None:
            path = _archives[names] = _keep(_pack(loaders))
        return path


def _pack(loaders: dict[str, Any]) -> bytes:
    import zipfile  # rarely needed, as below

    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as archive:
        for name, loader in loaders.items():
            path = name.replace('.', '/') + ('/__init__.py' if loader.is_package(name) else '.py')
            archive.writestr(path, _encode(loader.get_source(name)))
    return data.getvalue()


def _encode(source: str) -> bytes:
    """Encode source as in a file: in the encoding that it declares."""
    import tokenize

    encoded = source.encode('utf-8')
    with contextlib.suppress(SyntaxError, LookupError, UnicodeError):
        return source.encode(tokenize.detect_encoding(io.BytesIO(encoded).readline)[0])
    return encoded


def _keep(data: bytes) -> str:
    """Store data where children of this process can read it until it exits; return the path."""
    # /proc/PID of a process that has changed its user is not accessible, not even to its children.
    if hasattr(os, 'memfd_create') and os.stat('/proc/self').st_uid == os.geteuid():
        fd = os.memfd_create('across-exported', os.MFD_CLOEXEC)
        path = '/proc/{}/fd/{}'.format(os.getpid(), fd)
    else:
        import tempfile

        fd, path = tempfile.mkstemp('.zip', 'across-exported-')
        atexit.register(_remove, path, os.getpid())
    with open(fd, 'wb', closefd=False) as file:
        file.write(data)
    return path


def _remove(path: str, pid: int) -> None:
    if os.getpid() == pid:
        with contextlib.suppress(OSError):
            os.unlink(path)
