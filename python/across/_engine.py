# SPDX-License-Identifier: MIT
"""The one place that picks the engine: the code that owns streams, threads and object tables.

`across._across` is the native engine, an extension module beside this file or a built-in module of acrossd; where it is
missing, `across._pure` does the same in Python. The environment variable ACROSS_ENGINE asks for one of them, by name;
neither acrossd, which has an engine of its own, nor a host that was sent this package has a choice.
"""

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING


def _choose() -> str:
    """Return the name of the engine to use."""
    if 'across._across' in sys.modules:  # acrossd has put it there
        return 'native'
    if hasattr(globals().get('__loader__'), 'sent_files'):  # this host has nothing but what it was sent: see _bios.py
        return 'pure'
    asked = os.environ.get('ACROSS_ENGINE', '')
    if asked not in ('', 'native', 'pure'):
        raise ImportError('ACROSS_ENGINE must be native or pure, not {!r}'.format(asked))
    there = find_spec('across._across') is not None
    if asked == 'native' and not there:
        raise ImportError('ACROSS_ENGINE asks for the native engine, but this package has no extension module _across')
    return asked or ('native' if there else 'pure')


if TYPE_CHECKING or _choose() == 'native':
    from ._across import Handle, Link, claim, current, install, lookup, name, pickling, register, shut_down, spawn
else:
    from ._pure import Handle, Link, claim, current, install, lookup, name, pickling, register, shut_down, spawn

__all__ = [
    'Handle', 'Link', 'claim', 'current', 'install', 'lookup', 'name', 'pickling', 'register', 'shut_down', 'spawn',
]  # fmt: skip
