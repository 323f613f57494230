# SPDX-License-Identifier: MIT
"""Source lines of other processes, where traceback, pytest, IPython and the like look for them: in linecache.

There is one line for each frame of a traceback, and nothing else of its file. A line is kept under the name of its file
as long as that means nothing else in this process. Where there is a file of this name here, and it has this very line,
it is likely to be the same: then it is left to be shown. Otherwise the name of the host is put before the file's.
"""

from __future__ import annotations

import collections
import linecache
import os
import threading
from collections.abc import Iterator

_MAX_FILES = 256  # of which lines are kept; those that were used last
_MAX_ROWS = 1 << 18  # of all files: linecache has lists with a row for each line up to the last that is known
_MAX_LINENO = 1 << 16  # of a line that is kept
_MAX_VERSIONS = 20  # of one file, whose lines were different in each of them
_MAX_SIZE = 4 << 20  # bytes of a local file that is read for comparison

_lock = threading.Lock()
_files: collections.OrderedDict[str, list[str]] = collections.OrderedDict()  # rows by the name that is shown
_rows = 0


def show(host: str, filename: str, lineno: int, line: str, look: bool) -> str:
    """Return the name under which a line of a remote file is shown. `look`: files of this process may be read."""
    if line.startswith('#'):
        line = ''  # a comment is no code, and pytest fails on files that have none
    with _lock:
        if _has(filename, lineno, line):
            return filename
    if look and filename not in _files:
        if _is_line_of(filename, lineno, line):
            return filename
        if _is_taken(filename):
            look = False
    for name in _list_names(host, filename, look):
        if not line or lineno > _MAX_LINENO:
            return name
        with _lock:
            if _has(name, lineno, line) or _put(name, lineno, line):
                return name
    return name


def _list_names(host: str, filename: str, is_free: bool) -> Iterator[str]:
    if is_free:
        yield filename
    yield '{}:{}'.format(host, filename)
    for version in range(2, _MAX_VERSIONS):
        yield '{}#{}:{}'.format(host, version, filename)


def _is_line_of(filename: str, lineno: int, line: str) -> bool:
    """Return whether a file of this process, or what it has executed, has this line in this place."""
    try:
        if filename in linecache.cache:
            linecache.checkcache(filename)
        elif filename.startswith('<') or not os.path.isfile(filename) or os.path.getsize(filename) > _MAX_SIZE:
            return False
        return bool(line) and linecache.getline(filename, lineno).strip() == line
    except Exception:
        return False


def _is_taken(filename: str) -> bool:
    """Return whether a name may mean something else here."""
    if filename in linecache.cache:
        return True
    # linecache searches sys.path for names without a folder.
    return not filename.startswith('<') and (not os.path.isabs(filename) or os.path.lexists(filename))


# ---- with _lock held ----


def _has(name: str, lineno: int, line: str) -> bool:
    rows = _files.get(name)
    if rows is None or not 0 < lineno <= len(rows) or rows[lineno - 1] != line + '\n' or not _is_own(name, rows):
        return False
    _files.move_to_end(name)
    return True


def _is_own(name: str, rows: list[str]) -> bool:
    """Return whether linecache has these rows; it may have been cleared, and then gets them back."""
    entry = linecache.cache.setdefault(name, _make_entry(name, rows))
    return len(entry) == 4 and entry[2] is rows


def _make_entry(name: str, rows: list[str]) -> tuple[int, None, list[str], str]:
    return len(rows), None, rows, name  # no mtime: the entry is never checked against a file


def _put(name: str, lineno: int, line: str) -> bool:
    """Keep a line, unless there is another one in its place."""
    global _rows
    rows = _files.setdefault(name, [])
    if not _is_own(name, rows):
        return False
    missing = lineno - len(rows)
    if missing <= 0 and rows[lineno - 1] != '\n':
        return False
    rows.extend(['\n'] * missing)
    rows[lineno - 1] = line + '\n'
    _rows += max(0, missing)
    _files.move_to_end(name)
    while len(_files) > 1 and (len(_files) > _MAX_FILES or _rows > _MAX_ROWS):
        _drop(*_files.popitem(last=False))
    return True


def _drop(name: str, rows: list[str]) -> None:
    global _rows
    _rows -= len(rows)
    entry = linecache.cache.get(name)
    if entry is not None and len(entry) == 4 and entry[2] is rows:
        linecache.cache.pop(name, None)
