# SPDX-License-Identifier: MIT
"""What a bare Python is sent when it asks for this package: one line of source.

docs/protocol.md ("A bare Python") describes the conversation. The line holds the package's Python files, compressed,
and statements that unpack them, execute exports/unpack.py, and have it serve the connection.
"""

from __future__ import annotations

import base64
import functools
import pkgutil
import sys
import zlib
from typing import Any, Optional

_PACKAGE = 'across'
_UNPACK = _PACKAGE + '.exports.unpack'  # is executed on the other side, and not imported here
_MAIN = _PACKAGE + '.serving.bootstrapped'  # likewise
_NOT_SENT = frozenset(['across._across', 'across.serving.files', 'across.serving.host'])  # what only native code uses
_LINE = (
    "import base64,sys,zlib;sys.version_info<(3,9)and sys.exit('across: Python 3.9 or later is needed here');"
    "F=eval(zlib.decompress(base64.b64decode('{files}')));N=dict(__name__='{unpack}');exec(F['{unpack}'][0],N);"
    "N['boot'](F,'{main}',ACROSS)\n"
)


@functools.lru_cache(1)
def get_source() -> Optional[bytes]:
    """Return what a bare Python is sent: one line of ASCII source. None where the package has no source files."""
    try:
        files = _read_files()
    except OSError:
        return None
    if not {_PACKAGE, _UNPACK, _MAIN} <= set(files):
        return None
    packed = base64.b64encode(zlib.compress(repr(files).encode(), 1))  # every client makes it, and few send it
    return _LINE.format(files=packed.decode(), unpack=_UNPACK, main=_MAIN).encode()


def _read_files() -> dict[str, tuple[str, bool]]:
    """Return the source of each of the package's modules, and whether it is a package. They may be in an archive."""
    package = sys.modules[_PACKAGE]
    loader: Any = package.__loader__
    if hasattr(loader, 'sent_files'):  # this process was sent the package itself
        return dict(loader.sent_files)
    source = loader.get_source(_PACKAGE)
    if source is None:
        return {}
    files = {_PACKAGE: (source, True)}
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
