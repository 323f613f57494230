# SPDX-License-Identifier: MIT
"""The one place that picks the engine: the code that owns streams, threads and object tables.

`across._across` is the native engine, an extension module beside this file or a built-in module of acrossd.
"""

from ._across import Handle, Link, claim, current, install, lookup, name, pickling, register, shut_down, spawn

__all__ = [
    'Handle', 'Link', 'claim', 'current', 'install', 'lookup', 'name', 'pickling', 'register', 'shut_down', 'spawn',
]  # fmt: skip
