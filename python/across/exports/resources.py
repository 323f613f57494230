# SPDX-License-Identifier: MIT
"""Files that lie in packages which were imported from a peer: read there, when they are asked for.

Beside `pkgutil.get_data`, what is asked of the peer is told in snippets of source. So each version of the package, and
of Python, can be the other side: importlib.resources has other functions in each, and pickles other names for them.
"""

from __future__ import annotations

import io
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any, Optional

_FIND = """
import importlib.resources
place = importlib.resources.files(package)
for name in path:
    place = place.joinpath(name)
"""
_READ = _FIND + 'place.read_bytes()'
_LIST = _FIND + '[item.name for item in place.iterdir()]'
_PROBE = _FIND + '(place.is_dir(), place.is_file())'


def get_data(conn: Any, module: str, folder: str, path: str) -> bytes:
    """Return the content of a file whose path begins with the folder of a module."""
    relative = os.path.relpath(path, folder)
    if relative.split(os.sep)[0] == os.pardir:
        raise FileNotFoundError('{} does not lie in the folder of {}'.format(path, module))
    data: Optional[bytes] = conn._link.apply(pkgutil.get_data, (module, relative.replace(os.sep, '/')), {})
    if data is None:
        raise FileNotFoundError('{} cannot be read where {} was imported from'.format(path, module))
    return data


class Place:
    """A file or folder of a package: what importlib.resources.files() gives (importlib.resources.abc.Traversable)."""

    def __init__(self, conn: Any, package: str, path: tuple[str, ...] = ()) -> None:
        self._conn = conn
        self._package = package
        self._path = path

    @property
    def name(self) -> str:
        return self._path[-1] if self._path else self._package.rpartition('.')[2]

    def _ask(self, snippet: str) -> Any:
        return self._conn.execute(snippet, package=self._package, path=self._path)

    def iterdir(self) -> Iterator[Place]:
        for name in self._ask(_LIST):
            yield self.joinpath(name)

    def is_dir(self) -> bool:
        return bool(self._ask(_PROBE)[0])

    def is_file(self) -> bool:
        return bool(self._ask(_PROBE)[1])

    def joinpath(self, *names: Any) -> Place:
        parts = [part for name in names for part in os.fspath(name).split('/') if part not in ('', '.')]
        return Place(self._conn, self._package, (*self._path, *parts))

    __truediv__ = joinpath

    def read_bytes(self) -> bytes:
        data: bytes = self._ask(_READ)
        return data

    def read_text(self, encoding: Optional[str] = None, errors: Optional[str] = None) -> str:
        with self.open('r', encoding=encoding, errors=errors) as file:
            text: str = file.read()
            return text

    def open(self, mode: str = 'r', *args: Any, **kwargs: Any) -> Any:
        if mode not in ('r', 'rb'):
            raise ValueError('resources are opened in the modes r and rb, not {!r}'.format(mode))
        file = io.BytesIO(self.read_bytes())
        return file if mode == 'rb' else io.TextIOWrapper(file, *args, **kwargs)

    def __repr__(self) -> str:
        return '<{} of an exported package>'.format('/'.join((self._package, *self._path)))


class Reader:
    """What importlib.resources asks a loader for (importlib.resources.abc.TraversableResources)."""

    def __init__(self, conn: Any, package: str) -> None:
        self._place = Place(conn, package)

    def files(self) -> Place:
        return self._place

    def open_resource(self, resource: str) -> Any:
        return self._place.joinpath(resource).open('rb')

    def resource_path(self, resource: Any) -> str:
        raise FileNotFoundError(resource)  # there is no path on this host

    def is_resource(self, path: str) -> bool:
        return self._place.joinpath(path).is_file()

    def contents(self) -> Iterator[str]:
        return (item.name for item in self._place.iterdir())


def patch_files(loader_type: type) -> None:
    """Patch importlib.resources.files() of Python 3.9, which looks for folders, to ask these loaders."""
    if sys.version_info >= (3, 10):
        return
    import importlib._common as common  # type: ignore[import-not-found]

    original = common.from_package
    if hasattr(original, 'is_patched'):
        return

    def from_package(package: Any) -> Any:
        spec = package.__spec__
        if isinstance(spec.loader, loader_type):
            return spec.loader.get_resource_reader(spec.name).files()  # type: ignore[attr-defined]
        return original(package)

    from_package.is_patched = True  # type: ignore[attr-defined]
    common.from_package = from_package
