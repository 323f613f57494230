# SPDX-License-Identifier: MIT
"""A peer's `__main__`, compiled so that importing it defines what it defines, and does not run the program."""

from __future__ import annotations

import ast
from types import CodeType
from typing import Optional


def compile_main(source: str, filename: str) -> CodeType:
    """Compile a main module as if `__name__` were not '__main__' in its guards.

    It keeps that name, because pickles name its functions and classes by it. ImportError when its last statement is no
    guard: nothing tells then where the definitions end and the program begins.
    """
    tree = ast.parse(source, filename)
    if not tree.body or not _has_guard(tree.body[-1]):
        raise ImportError(
            "__main__ cannot be imported from a peer: its last statement is not `if __name__ == '__main__':`, so that "
            'importing it would run the program',
            name='__main__',
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            node.test = _Blinded().visit(node.test)
    return compile(tree, filename, 'exec', dont_inherit=True)


def _has_guard(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If):
        return False
    test = statement.test
    tests = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    return any(_get_answer(item) is False for item in tests)


def _get_answer(test: ast.AST) -> Optional[bool]:
    """Return what `__name__ == '__main__'`, or `!=`, shall be; None when the test is no such."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    sides = {ast.dump(test.left), ast.dump(test.comparators[0])}
    if sides != {ast.dump(ast.Name('__name__', ast.Load())), ast.dump(ast.Constant('__main__'))}:
        return None
    return {ast.Eq: False, ast.NotEq: True}.get(type(test.ops[0]))


class _Blinded(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        answer = _get_answer(node)
        return node if answer is None else ast.copy_location(ast.Constant(answer), node)
