# SPDX-License-Identifier: MIT
"""The context of exceptions that were made from records."""

from __future__ import annotations

import sys


def note_handled(exc: BaseException) -> None:
    """Make the exception that the caller is handling the context, as for any exception that is raised here."""
    if exc.__context__ is None:
        handled = sys.exc_info()[1]
        if handled is not exc:
            BaseException.__setattr__(exc, '__context__', handled)
