# SPDX-License-Identifier: MIT
"""Errors that end a connection, and those of single operations."""

from __future__ import annotations

import threading
from typing import Any, Optional

from .hooks import hooks


class Broken(Exception):
    """The peer broke the protocol, or the connection has to end for another reason. `error` is what users see."""

    def __init__(self, error: BaseException, reason: Optional[str] = None) -> None:
        super().__init__(error)
        self.error = error
        self.reason = str(error) if reason is None else reason


def breach(text: str, *values: Any) -> Broken:
    return Broken(hooks.ProtocolError(text.format(*values)))


def make_operation_error(what: str, cause: Exception) -> BaseException:
    error: BaseException = hooks.OperationError(hooks.describe_failure(what, cause))
    return error


def report(error: BaseException) -> None:
    """Report an exception that has no caller to raise it in."""
    thread = threading.current_thread()
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
