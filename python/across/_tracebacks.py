# SPDX-License-Identifier: MIT
"""Tracebacks that cross connections.

On the wire a traceback is a list of hops, one for each process that the exception passed through, outermost first:
`(host name, process id, [(file name, line number, function, source line), ...])`. On arrival each hop becomes one
frame of a new traceback object. The name of that frame's code carries the hop as text, so that it shows wherever
tracebacks are shown, with the source lines of the other host: code that prints tracebacks would look the lines up
among local files. The frame's globals carry the hop itself, for the next connection that the exception crosses.
"""

from __future__ import annotations

import itertools
import linecache
import os
import socket
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Optional

Entry = tuple[str, int, str, str]
Hop = tuple[str, int, list[Entry]]

_HOP = '__across_hop__'
_MAX_ENTRIES = 2000  # of one hop; enough for the default recursion limit
_MAX_REPEATS = 3  # of one line, as the traceback module does it


def pack(traceback: Optional[TracebackType], here: bool) -> list[Hop]:
    """Return the hops of a traceback. `here`: this process is one of them, even if the traceback does not say so."""
    places: list[tuple[CodeType, int, dict[str, Any]]] = []
    hops: list[Hop] = []
    here = here or traceback is not None
    while traceback is not None:
        frame = traceback.tb_frame
        hop = frame.f_globals.get(_HOP)
        if hop is not None:
            hops.append(hop)
        elif not _is_own(frame):
            places.append((frame.f_code, traceback.tb_lineno or 0, frame.f_globals))
        traceback = traceback.tb_next
    if here:
        hops.insert(0, (socket.gethostname(), os.getpid(), _make_entries(places)))
    return hops


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
    return code.co_filename, lineno, code.co_name, linecache.getline(code.co_filename, lineno, scope)


def unpack(hops: list[Hop]) -> Optional[TracebackType]:
    """Return a traceback that shows these hops."""
    traceback = None
    for hop in reversed(hops):
        traceback = TracebackType(traceback, _make_frame(hop), -1, 1)
    return traceback


def _make_frame(hop: Hop) -> FrameType:
    host, pid, entries = hop
    code = _generate.__code__.replace(
        co_filename='<process {} on {}>'.format(pid, host), co_name='\n'.join(['remote call', *_format(entries)])
    )
    # Of a generator that never ran: a frame that did would keep its callers, and through them the exception itself.
    frame: FrameType = FunctionType(code, {_HOP: hop})().gi_frame
    return frame


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
