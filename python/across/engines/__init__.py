# SPDX-License-Identifier: MIT
"""Selects the engine: the code that owns streams, threads and object tables.

`across._across` is the native engine: an extension module of the package, or a built-in module of acrossd. Where it is
missing, `across.engines.pure` does the same in Python. The environment variable ACROSS_ENGINE selects one of them, by
name; it is ignored in acrossd, which has the native engine built in, and on a host that was sent this package.
"""

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING


def _choose() -> str:
    """Return the name of the engine to use."""
    if 'across._across' in sys.modules:  # this is acrossd
        return 'native'
    if hasattr(globals().get('__loader__'), 'sent_files'):  # this host was sent this package: exports/bootstrap.py
        return 'pure'
    asked = os.environ.get('ACROSS_ENGINE', '')
    if asked not in ('', 'native', 'pure'):
        raise ImportError('ACROSS_ENGINE must be native or pure, not {!r}'.format(asked))
    there = find_spec('across._across') is not None
    if asked == 'native' and not there:
        raise ImportError('ACROSS_ENGINE asks for the native engine, but this package has no extension module _across')
    return asked or ('native' if there else 'pure')


if TYPE_CHECKING or _choose() == 'native':
    from .._across import Handle, Link, claim, current, install, lookup, name, pickling, register, shut_down, spawn
else:
    from .pure import Handle, Link, claim, current, install, lookup, name, pickling, register, shut_down, spawn

__all__ = [
    'Handle', 'Link', 'claim', 'current', 'install', 'lookup', 'name', 'pickling', 'register', 'shut_down', 'spawn',
]  # fmt: skip
