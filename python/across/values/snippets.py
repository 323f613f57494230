# SPDX-License-Identifier: MIT
"""Snippets of source that a peer asks this process to execute.

Each distinct snippet has a file name of its own, under which linecache finds its lines: tracebacks show them. The
latest snippets are kept compiled; the bound is there because a peer may send a different one every time.
"""

from __future__ import annotations

import ast
import collections
import importlib.util
import itertools
import linecache
import os
import threading
from types import CodeType
from typing import Any, Union

_RESULT = '__across_result__'
_MAX_SNIPPETS = 64
_MAX_CHARS = 1 << 20  # of all snippets that are kept

_lock = threading.Lock()
_kept: collections.OrderedDict[str, CodeType] = collections.OrderedDict()
_numbers = itertools.count(1)


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may hold the lock, and may have left _kept half changed."""
    global _lock
    _lock = threading.Lock()
    _kept.clear()


os.register_at_fork(after_in_child=_renew_lock)


def run(source: Union[str, bytes], scope: dict[str, Any]) -> Any:
    """Execute `source` with `scope` as its globals; return the value of its last statement if that is an expression."""
    if isinstance(source, bytes):
        source = importlib.util.decode_source(source)
    if not isinstance(source, str):
        raise TypeError('source must be a str or bytes, not {}'.format(type(source).__name__))
    exec(_compiled(source), scope)
    return scope.pop(_RESULT, None)


def _execute(source: Union[str, bytes], scope: dict[str, Any]) -> Any:
    """Run a snippet for a peer; return the value of its last expression statement."""
    return run(source, scope)


_execute.__module__ = 'across'  # the name under which pickles find it, whatever the version of the peer


def _compiled(source: str) -> CodeType:
    with _lock:
        code = _kept.get(source)
        if code is not None:
            _kept.move_to_end(source)
            return code
    code = _compile(source, '<execute {}>'.format(next(_numbers)))
    with _lock:
        _kept[source] = code
        linecache.cache[code.co_filename] = (len(source), None, source.splitlines(True), code.co_filename)
        while len(_kept) > 1 and (len(_kept) > _MAX_SNIPPETS or sum(map(len, _kept)) > _MAX_CHARS):
            linecache.cache.pop(_kept.popitem(last=False)[1].co_filename, None)
    return code


def _compile(source: str, filename: str) -> CodeType:
    tree = ast.parse(source, filename)
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = tree.body[-1]
        target = ast.copy_location(ast.Name(_RESULT, ast.Store()), last)
        tree.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)
    return compile(tree, filename, 'exec', dont_inherit=True)
