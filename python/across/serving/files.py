# SPDX-License-Identifier: MIT
"""Files that are still open when a worker of acrossd ends.

An interpreter that is finalized destroys its objects, and so flushes and closes files. Workers are not finalized. They
look for open files among the objects that the garbage collector tracks, and close them. Writing may block or fail:
regular files come first, and daemon/worker/drain.c bounds the time for all.
"""

from __future__ import annotations

import _io
import contextlib
import gc
import os
import stat
import sys
import weakref
from typing import Any

from .._errors import describe_error

# Not of the module io, but written or removed when they are dropped: module and class.
_OTHERS = (('tempfile', '_TemporaryFileWrapper'), ('zipfile', 'ZipFile'), ('shelve', 'Shelf'))
_BUFFERED = (_io.BufferedWriter, _io.BufferedRandom, _io.BufferedRWPair)
_WITHOUT_FILE = (_io._RawIOBase, _io.BufferedReader, _io.BytesIO, _io.StringIO)  # or without anything to write

_before_forks: list[weakref.ref[Any]] = []  # files that were open then: gc lists no frozen objects


def _rank(kind: type) -> int:
    """Where a file comes in the order of closing: before those that it writes to. 0: it is none."""
    bases = set(kind.__mro__)
    if any(getattr(sys.modules.get(module), name, None) in bases for module, name in _OTHERS):
        return 1
    if _io.TextIOWrapper in bases:
        return 2
    if not bases.isdisjoint(_BUFFERED):
        return 4
    if _io._IOBase in bases and bases.isdisjoint(_WITHOUT_FILE):
        return 3  # compresses what it writes to another one, for instance
    return 0


def _standard() -> set[int]:
    """The ids of the standard streams and their layers, which are flushed elsewhere."""
    found: set[int] = set()
    for name in ('stdin', 'stdout', 'stderr'):
        for stream in (getattr(sys, name), getattr(sys, '__{}__'.format(name))):
            buffer = getattr(stream, 'buffer', None)
            found.update(map(id, (stream, buffer, getattr(buffer, 'raw', None))))
    return found


def _find() -> list[tuple[bool, int, Any]]:
    """Open files: whether writing may block, rank, and file."""
    found = []
    ranks: dict[type, int] = {}
    seen = _standard()
    for obj in [*(reference() for reference in _before_forks), *gc.get_objects()]:
        kind = type(obj)
        rank = ranks.get(kind)
        if rank is None:
            rank = ranks[kind] = _rank(kind)
        if rank and id(obj) not in seen:
            seen.add(id(obj))
            found.append((_may_block(obj), rank, obj))
    return found


def _may_block(file: Any) -> bool:
    try:
        mode = os.fstat(file.fileno()).st_mode
    except Exception:
        return False
    return not stat.S_ISREG(mode)


def prepare_to_fork() -> None:
    """Flush buffers, which each fork would write again, and remember the files."""
    for _, _, file in sorted(_find(), key=lambda item: item[:2]):
        with contextlib.suppress(Exception):
            file.flush()
        with contextlib.suppress(TypeError):
            _before_forks.append(weakref.ref(file))


def close_all() -> None:
    """Close all files, as the finalization of an interpreter does; report those that could not be written."""
    for _, _, file in sorted(_find(), key=lambda item: item[:2]):
        try:
            file.close()
        except BaseException as error:
            print('Exception ignored while closing {!r}: {}'.format(file, describe_error(error)), file=sys.stderr)
