# SPDX-License-Identifier: MIT
"""Uncaught exceptions with remote frames, as Python before 3.13 prints them.

There the interpreter reads source lines from files alone, and even from other files of that name, where the traceback
module looks into linecache. So for such exceptions, and for no others, that module prints in its place.
"""

from __future__ import annotations

import _thread
import sys
import threading
import traceback
from types import FrameType, TracebackType
from typing import Any, Callable, Optional

_MAX_EXCEPTIONS = 100  # of one chain that are looked at

_is_remote: Optional[Callable[[FrameType], bool]] = None  # None: not installed


def install(is_remote: Callable[[FrameType], bool]) -> None:
    """Do it once, and only where the program has not replaced what prints. `is_remote` recognizes remote frames."""
    global _is_remote
    if _is_remote is not None:
        return
    _is_remote = is_remote
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print
    if threading.excepthook is _thread._excepthook:
        threading.excepthook = _print_in_thread


def _print(cls: type[BaseException], exc: BaseException, frames: Optional[TracebackType]) -> None:
    if _has_remote_frames(exc):
        traceback.print_exception(cls, exc, frames)
    else:
        sys.__excepthook__(cls, exc, frames)


def _print_in_thread(args: Any) -> None:
    if args.exc_type is SystemExit or args.exc_value is None or not _has_remote_frames(args.exc_value):
        _thread._excepthook(args)
        return
    name = threading.get_ident() if args.thread is None else args.thread.name
    print('Exception in thread {}:'.format(name), file=sys.stderr, flush=True)
    traceback.print_exception(args.exc_type, args.exc_value, args.exc_traceback)


def _has_remote_frames(exc: BaseException) -> bool:
    left: list[Optional[BaseException]] = [exc]
    for _ in range(_MAX_EXCEPTIONS):
        if not left:
            break
        found = left.pop()
        if found is None:
            continue
        frames = found.__traceback__
        while frames is not None:
            if _is_remote is not None and _is_remote(frames.tb_frame):
                return True
            frames = frames.tb_next
        left += [found.__cause__, found.__context__, *getattr(found, 'exceptions', ())]
    return False
