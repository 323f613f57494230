# SPDX-License-Identifier: MIT
"""A host that has nothing but Python becomes a peer: what it runs to ask for this package, and what it is sent.

docs/protocol.md ("A bare Python") describes the conversation. What is sent is one line: the package's Python files,
compressed, behind some words that unpack them and call `boot` of this very file. It runs on the other side before
there is a package, so nothing but the standard library is imported here from the beginning.
"""

from __future__ import annotations

import base64
import functools
import importlib
import importlib.machinery
import importlib.util
import pkgutil
import sys
import zlib
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any, Optional

_PACKAGE = __name__.partition('.')[0]
_NOT_SENT = frozenset(['across._across', 'across.serving.files', 'across.serving.host'])  # what only native code uses
_UNPACK = (
    "import base64,sys,zlib;sys.version_info<(3,9)and sys.exit('across: Python 3.9 or later is needed here');"
    "F=eval(zlib.decompress(base64.b64decode('{}')));exec(F['{}'][0],dict(__name__='{}',FILES=F,ACROSS=ACROSS))\n"
)
_BOOT = '\nboot(FILES, ACROSS)\n'

# Without double quotes, dollars and the like, so that a shell does no harm to it. It reads no more than it is meant to.
_BIOS = (
    "import os;ACROSS='stdio',;exec('def read(size):\\n data = bytes()\\n while len(data) < size: data += "
    'os.read(0, size - len(data)) or os._exit(1)\\n return data\\n'
    'os.write(1, bytes([229, 78, 109, 1, 0, 1] + [0] * 10))\\n'
    "exec(read(int(read(20)[16:].hex(), 16)))')"
)


def get_bios() -> str:
    """Return source for a bare Python: a line to be run as `python3 -c SOURCE` on a host with Python 3.9 or later.

    It asks the other end of its standard input and output for this package, and serves a connection there: exported
    modules are accepted. Nothing is written to the host's disk. For example:

        Connection.from_command(['ssh', host, 'python3', '-c', shlex.quote(get_bios())])
    """
    return _BIOS


get_bios.__module__ = _PACKAGE


@functools.lru_cache(1)
def get_source() -> Optional[bytes]:
    """Return what a bare Python is sent: one line of ASCII source. None where the package has no source files."""
    try:
        files = _read_files()
    except OSError:
        return None
    if __name__ not in files:
        return None
    boot = __name__ + '.boot'
    files[boot] = files[__name__][0] + _BOOT, False
    packed = base64.b64encode(zlib.compress(repr(files).encode(), 1))  # every client makes it, and few send it
    return _UNPACK.format(packed.decode(), boot, __name__).encode()


def _read_files() -> dict[str, tuple[str, bool]]:
    """Return the source of each of the package's modules, and whether it is a package. They may be in an archive."""
    package = sys.modules[_PACKAGE]
    loader: Any = package.__loader__
    if hasattr(loader, 'sent_files'):  # this process was sent the package itself
        return dict(loader.sent_files)
    files = {_PACKAGE: (loader.get_source(_PACKAGE) or '', True)}
    _add_files(files, _PACKAGE, package.__path__)
    return files


def _add_files(files: dict[str, tuple[str, bool]], package: str, path: Any) -> None:
    for info in pkgutil.iter_modules(path, package + '.'):
        if info.name in _NOT_SENT:
            continue
        spec = info.module_finder.find_spec(info.name, None)
        source = spec.loader.get_source(info.name) if spec is not None else None  # type: ignore[union-attr]
        if source is None:
            continue
        files[info.name] = source, info.ispkg
        if info.ispkg:
            _add_files(files, info.name, spec.submodule_search_locations)  # type: ignore[union-attr]


# ---- on the other side ----


class _Loader:
    """Finds and loads the modules of the package that was sent.

    Without the base classes of importlib.abc, which takes more time to import than the rest of this file.
    """

    def __init__(self, files: dict[str, tuple[str, bool]]) -> None:
        self.sent_files = files

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if fullname not in self.sent_files:
            return None
        loader: Any = self
        spec = importlib.util.spec_from_loader(fullname, loader, origin=self.get_filename(fullname))
        if spec is not None:
            spec.has_location = True  # the module gets a __file__
        return spec

    def get_filename(self, fullname: str) -> str:
        """Return a name that no file has; linecache then asks for the source."""
        return '<bootstrap>/{}{}.py'.format(
            fullname.replace('.', '/'), '/__init__' if self.is_package(fullname) else ''
        )

    def get_source(self, fullname: str) -> str:
        return self.sent_files[fullname][0]

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.get_source(fullname), self.get_filename(fullname), 'exec', dont_inherit=True)
        return code

    def is_package(self, fullname: str) -> bool:
        return self.sent_files[fullname][1]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave that to the interpreter."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)


def boot(files: dict[str, tuple[str, bool]], how: Any) -> None:
    """Make the package importable, and serve a connection. Returns when that has ended."""
    files = {name: file for name, file in files.items() if not name.endswith('.boot')}
    sys.meta_path.insert(0, _Loader(files))
    serve = importlib.import_module(__name__).serve
    serve(how)


def serve(how: Any) -> None:
    """Serve a connection over `('stdio',)` or `('socket', sock)`."""
    from .._connection import Connection
    from .._errors import describe_error
    from .._options import Options

    class BootstrappedConnection(Connection):
        __slots__ = ()

        _is_acceptor = True  # the other side has spoken already, and decided on the version

    options = Options(accept_exported_modules=True)
    if how[0] == 'stdio':
        conn = BootstrappedConnection.from_stdio(options=options)
    else:
        conn = BootstrappedConnection.from_socket(how[1], options=options)
    try:
        conn.wait()
        conn.close()
    except Exception as error:
        sys.exit('across: the connection broke: ' + describe_error(error))
