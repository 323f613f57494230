# SPDX-License-Identifier: MIT
"""A name that pickles look up in this module (docs/protocol.md, section 6). values/methods.py defines it."""

from .values.methods import has_method

__all__ = ['has_method']
