# SPDX-License-Identifier: MIT
"""Tracebacks that are sent over connections.

On the wire a traceback is a list of hops, one for each process that the exception passed through, outermost first:
`(host name, process id, [(file name, line number, function, source line), ...])`. On arrival each entry becomes a frame
of a new traceback object, behind one that names the process. These frames have never run: they are of code objects with
the file, line and name of the remote ones. sources.py provides the source lines that were sent to whatever shows
tracebacks. The globals of the frames carry the hop, for the next connection that the exception is sent over.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import socket
import sys
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Optional

from . import sources

Entry = tuple[str, int, str, str]
Hop = tuple[str, int, list[Entry]]

_HOP = '__across_hop__'  # a global of the frames of a hop
_REMOTE_CALL = 'remote call'
_MAX_ENTRIES = 2000  # of one hop; enough for the default recursion limit
_MAX_FRAMES = 4000  # of one traceback that arrived; of hops farther out only the process is shown
_MAX_REPEATS = 3  # of one line, as the traceback module does it
_MAX_LINENO = (1 << 31) - 1
_INSTRUCTION = 0  # the frames' last instruction; some tools loop for ever on a traceback without one
_WITHOUT_COLUMNS = bytes([0x80 | 13 << 3 | 7, 0])  # in a line table: the next 8 code units are of the same line


def pack(traceback: Optional[TracebackType], here: bool) -> list[Hop]:
    """Return the hops of a traceback. `here`: this process is one of them, even if the traceback does not say so."""
    places: list[tuple[CodeType, int, dict[str, Any]]] = []
    hops: list[Hop] = []
    here = here or traceback is not None
    while traceback is not None:
        frame = traceback.tb_frame
        hop = frame.f_globals.get(_HOP)
        if hop is not None:
            if not hops or hops[-1] is not hop:  # which all its frames have
                hops.append(hop)
        elif not _is_own(frame):
            places.append((frame.f_code, traceback.tb_lineno or 0, frame.f_globals))
        traceback = traceback.tb_next
    if here:
        hops.insert(0, (socket.gethostname(), os.getpid(), _make_entries(places)))
    return hops


def _is_remote(frame: FrameType) -> bool:
    return _HOP in frame.f_globals


def _is_own(frame: FrameType) -> bool:
    name = frame.f_globals.get('__name__')
    return name == 'across' or (isinstance(name, str) and name.startswith('across.'))


def _make_entries(places: list[tuple[CodeType, int, dict[str, Any]]]) -> list[Entry]:
    left_out = len(places) - _MAX_ENTRIES
    if left_out > 0:
        half = _MAX_ENTRIES // 2
        gap: Entry = ('<{} frames are left out>'.format(left_out), 0, '...', '')
        return [*map(_make_entry, places[:half]), gap, *map(_make_entry, places[-half:])]
    return [*map(_make_entry, places)]


def _make_entry(place: tuple[CodeType, int, dict[str, Any]]) -> Entry:
    code, lineno, scope = place
    return code.co_filename, lineno, code.co_name, _get_line(code.co_filename, lineno, scope)


def _get_line(filename: str, lineno: int, scope: dict[str, Any]) -> str:
    line = linecache.getline(filename, lineno, scope)
    if line or not filename.startswith('<'):
        return line
    # linecache asks no loader about names like '<string>'.
    try:
        name, loader = scope['__name__'], scope['__spec__'].loader
        if loader.get_filename(name) == filename:
            return str(loader.get_source(name).splitlines()[lineno - 1])
    except Exception:
        pass  # it is not the code of a module, or its loader does not tell
    return ''


def unpack(hops: list[Hop], trusted: bool = True) -> Optional[TracebackType]:
    """Return a traceback that shows these hops. Files of a peer that is not `trusted` are not looked for here."""
    if sys.version_info < (3, 13):
        from . import excepthook  # whose interpreter finds no source lines but those in files

        excepthook.install(_is_remote)
    traceback, left = None, _MAX_FRAMES
    for hop in reversed(hops):
        host, _, entries = hop
        scope = {_HOP: hop}
        for filename, lineno, function, source in reversed(entries[-left:] if left > 0 else []):
            lineno = max(1, min(lineno, _MAX_LINENO))
            shown = sources.show(host, filename, lineno, source.strip(), trusted)
            traceback = TracebackType(traceback, _make_frame(shown, lineno, function, scope), _INSTRUCTION, lineno)
        left -= len(entries)
        process = sources.show(host, _name_process(hop), 1, '...  # in that process:', True)
        traceback = TracebackType(traceback, _make_frame(process, 1, _REMOTE_CALL, scope), _INSTRUCTION, 1)
    return traceback


def format_hops(hops: list[Hop]) -> str:
    """Return these hops as text, as tracebacks are printed."""
    lines = []
    for hop in hops:
        lines.append('  File "{}", line 1, in {}'.format(_name_process(hop), _REMOTE_CALL))
        lines += _format(hop[2])
    return ''.join(line + '\n' for line in lines)


def _name_process(hop: Hop) -> str:
    return '<process {} on {}>'.format(hop[1], hop[0])


def _make_frame(filename: str, lineno: int, function: str, scope: dict[str, Any]) -> FrameType:
    # Of a generator that never ran: a frame that did would keep its callers, and through them the exception itself.
    frame: FrameType = FunctionType(_make_code(filename, lineno, function), scope)().gi_frame
    return frame


@functools.lru_cache(512)
def _make_code(filename: str, lineno: int, function: str) -> CodeType:
    code = _generate.__code__
    more: dict[str, Any] = {}
    if sys.version_info >= (3, 11):
        units = len(code.co_code) // 2
        table = _WITHOUT_COLUMNS * (units // 8) + (bytes([0x80 | 13 << 3 | units % 8 - 1, 0]) if units % 8 else b'')
        more = {'co_qualname': function, 'co_linetable': table}
    return code.replace(co_filename=filename, co_name=function, co_firstlineno=lineno, **more)


def _generate() -> Iterator[None]:
    yield


def _format(entries: list[Entry]) -> list[str]:
    lines = []
    for (filename, lineno, function, source), repeats in itertools.groupby(entries):
        count = sum(1 for _ in repeats)
        for _ in range(min(count, _MAX_REPEATS)):
            lines.append('  File "{}", line {}, in {}'.format(filename, lineno, function))
            if source.strip():
                lines.append('    ' + source.strip())
        if count > _MAX_REPEATS:
            more = count - _MAX_REPEATS
            lines.append('  [Previous line repeated {} more time{}]'.format(more, 's' if more > 1 else ''))
    return lines
