# SPDX-License-Identifier: MIT
"""A name that snippets of other peers import from this module (docs/protocol.md). values/picklers.py defines it."""

from .values.picklers import answer_in_kind

__all__ = ['answer_in_kind']
