# SPDX-License-Identifier: MIT
"""Functions that run at the other end of a connection.

Pickles name them as `across.<name>`, whatever the version of the peer: their names and parameters are part of the wire
protocol (docs/protocol.md).
"""

from __future__ import annotations

from typing import Any, Callable

from . import engines
from .values.proxies import Local


def run_call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function for the peer: the engine calls this, so that the function has a Python frame below it."""
    return func(*args, **kwargs)


def _apply_ref(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Local:
    """Call a function and keep its result here."""
    return Local(func(*args, **kwargs))


def _export(modules: tuple[str, ...]) -> None:
    """Import these top-level modules from the peer from now on."""
    conn = engines.current()
    if conn is None or not conn._accepts_exports:
        raise ValueError('Exporting modules is not allowed')
    from .exports import importer  # slow to import, and most clients do not need it

    importer.accept(modules, conn)


for _obj in (_apply_ref, _export):
    _obj.__module__ = 'across'
del _obj
