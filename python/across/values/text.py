# SPDX-License-Identifier: MIT
"""Sanitizing of text that a peer has sent, for errors, tracebacks and docs."""

from __future__ import annotations

import re

MAX_NAME = 200  # characters of a name in an error's text
_ESCAPED = re.compile(r"\\([\\'nt])")


def clean(text: str, limit: int, keep: str = '') -> str:
    """Return text of the peer for display: truncated, with control characters escaped."""
    cut = text if len(text) <= limit else text[:limit] + '…'
    if cut.isprintable():
        return cut
    # repr() escapes what is not printable. It also escapes backslashes and, as both quotes are in it, one of these.
    escaped = repr('\'"' + cut)[4:-1]

    def restore(match: re.Match[str]) -> str:
        char = match[1]
        if char in "\\'":
            return char
        kept = '\n' if char == 'n' else '\t'
        return kept if kept in keep else match[0]

    return _ESCAPED.sub(restore, escaped)


def make_name(module: str, name: str) -> str:
    """Return a qualified name that the peer has sent, for display."""
    module, name = module[: MAX_NAME + 1], name[: MAX_NAME + 1]  # one name can be mentioned any number of times
    return clean(name if module == 'builtins' else '{}.{}'.format(module, name), MAX_NAME)
