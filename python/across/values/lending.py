# SPDX-License-Identifier: MIT
"""Results that cannot be pickled but can be used through a proxy: iterators, and views of mappings."""

from __future__ import annotations

import pickle
import types
from collections.abc import Iterator, MappingView
from typing import Any

from .proxies import Local

_MAX_DEPTH = 20  # of containers in containers; also where they contain themselves
_KINDS = (Iterator, MappingView, types.MappingProxyType)


def lend(value: Any) -> Any:
    """Return what to send in place of a result that could not be pickled: the value itself if nothing helps.

    Iterators and views are replaced, also those in lists, tuples and dicts, unless pickle can do something with them.
    """
    return Local(value) if isinstance(value, _KINDS) else _lend_parts(value, _MAX_DEPTH)


def _lend_parts(value: Any, depth: int) -> Any:
    cls = type(value)
    if depth == 0 or not (cls is list or cls is dict or isinstance(value, tuple)):
        return value
    parts = list(value.values() if cls is dict else value)
    lent = [Local(part) if isinstance(part, _KINDS) and not _can_pickle(part) else _lend_parts(part, depth - 1)
            for part in parts]  # fmt: skip
    if all(new is old for new, old in zip(lent, parts)):
        return value
    if cls is dict:
        return dict(zip(value, lent))
    if cls is list:
        return lent
    return tuple(lent) if cls is tuple else cls._make(lent) if hasattr(cls, '_make') else value


def _can_pickle(part: Any) -> bool:
    try:
        pickle.dumps(part, protocol=4)
    except Exception:
        return False
    return True
