# SPDX-License-Identifier: MIT
"""Names that pickles look up in this module (docs/protocol.md, section 5). exports/importer.py defines them."""

from ._log import set_debug_level as set_debug_level  # plain across defines it here
from .exports.importer import AcrossLoader, _contents, _find_across_loader

__all__ = ['AcrossLoader', '_contents', '_find_across_loader', 'set_debug_level']
