# SPDX-License-Identifier: MIT
"""The loop and the executor of this process."""

from __future__ import annotations

import os
import threading
from typing import Callable, Optional

from .executor import Executor, Job
from .loop import Loop


class _Engine:
    """The loop and the executor of this process."""

    def __init__(self) -> None:
        self.is_gone = False  # this process is a fork of the one that it belongs to
        self.executor = Executor()
        self.loop = Loop()
        self.executor.start()
        self.loop.start()

    def submit(self, job: Job) -> None:
        self.loop.post(self.executor.submit, job)

    def stop(self) -> None:
        self.loop.stop()
        self.executor.stop()


_engine: Optional[_Engine] = None
_engine_lock = threading.Lock()


def get_engine() -> _Engine:
    global _engine
    with _engine_lock:
        if _engine is None:
            _engine = _Engine()
        return _engine


def _after_fork() -> None:
    global _engine, _engine_lock
    _engine_lock = threading.Lock()
    engine, _engine = _engine, None
    if engine is not None:
        engine.is_gone = True
        engine.loop.forget()


os.register_at_fork(after_in_child=_after_fork)


def spawn(func: Callable[[], object], /) -> None:
    """Run a function in the background."""
    get_engine().submit(Job(func))


def shut_down() -> None:
    """Have idle threads end: the interpreter is about to exit."""
    global _engine
    engine, _engine = _engine, None
    if engine is not None:
        engine.loop.post(engine.stop)
        engine.executor.wait_for_end(1.0)
        if not engine.loop.links:
            engine.loop.join(1.0)
