# SPDX-License-Identifier: MIT
"""The package's own logger, and how to see it without configuring logging."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from typing import Any, Optional, TextIO

logger = logging.getLogger('across')
logger.addHandler(logging.NullHandler())


class _StderrHandler(logging.StreamHandler[TextIO] if sys.version_info >= (3, 11) else logging.StreamHandler):  # type: ignore
    """Writes to whatever sys.stderr is at the moment of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)


class RateLimitedErrors:
    """Logs errors that a peer can cause, at a limited rate: a burst of `at_once`, then one every `every` seconds.

    The next one that is logged says how many were not. Methods may be called from any thread.
    """

    def __init__(self, at_once: int, every: float) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._span = (at_once - 1) * every
        self._every = every
        self._spent_until = 0.0  # when the burst is available again in full
        self._omitted = 0

    def is_exhausted(self) -> bool:
        """Whether the next error would not be logged."""
        with self._lock:
            return self._spent_until - time.monotonic() > self._span

    def error(self, text: str, *args: Any) -> None:
        """As the logger's method."""
        with self._lock:
            now = time.monotonic()
            spent_until = max(now, self._spent_until)
            if spent_until - now > self._span:
                self._omitted += 1
                return
            self._spent_until = spent_until + self._every
            omitted, self._omitted = self._omitted, 0
        if omitted:
            logger.error(text + '; %d errors before it were not logged', *args, omitted)
        else:
            logger.error(text, *args)


served_errors = RateLimitedErrors(100, 1.0)  # of connections that this process accepts
_handler: Optional[logging.Handler] = None
_level = 0


def set_debug_level(level: int) -> None:
    """Say how much the package logs to standard error.

    0: nothing, 1: connections that start and end, and why; 2: everything.
    """
    global _handler, _level
    if level not in (0, 1, 2):
        raise ValueError('debug level must be 0, 1 or 2, not {!r}'.format(level))
    _level = level
    if _handler is not None:
        logger.removeHandler(_handler)
        logger.setLevel(logging.NOTSET)
        _handler = None
    if level:
        handler = _StderrHandler()
        host = socket.gethostname().replace('%', '%%')
        formatter = logging.Formatter(
            '%(asctime)s %(levelname)-5s {}/%(process)d %(message)s'.format(host), datefmt='%Y-%m-%d %H:%M:%S'
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if level == 1 else logging.DEBUG)
        _handler = handler


def get_debug_level() -> int:
    """Return what set_debug_level() was given last."""
    return _level


set_debug_level.__module__ = 'across'
