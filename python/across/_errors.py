# SPDX-License-Identifier: MIT
"""The package's exceptions, and exceptions in one line."""

from __future__ import annotations

import sys
import threading

_MAX_CHARS = 1000  # of a description; what it ends up in is read by people
_MAX_MEMBERS_CHARS = 64 << 10  # of the exceptions of a group in a text, about
_MAX_MEMBERS_DEPTH = 20  # of groups in groups in a text


class OperationError(Exception):
    """An operation of a connection failed for another reason than the called function: something could not be pickled
    or unpickled, say. The connection goes on, unless it is a :exc:`DisconnectError`."""


class DisconnectError(OperationError):
    """The connection is closed or broken: this operation failed, and so will all that follow."""


class ProtocolError(Exception):
    """The peer sent what the protocol does not allow."""


class RemoteError(Exception):
    """What the called function raised, on a connection with Options(trust='data'): as text, and nothing but text.

    type_name
        The exception's class as it is named there: 'ValueError', or 'package.module.Missing'.
    text
        What str() made of it there, as far as its arguments tell.
    remote_traceback
        The frames of the other side, as text; tracebacks show them anyway.

    exceptions
        The exceptions in it, if it is a group; else an empty tuple.

    Its cause and its context are RemoteErrors, too.
    """

    exceptions: tuple[BaseException, ...] = ()

    def __init__(self, type_name: str, text: str = '', remote_traceback: str = '') -> None:
        super().__init__(type_name, text, remote_traceback)
        self.type_name = type_name
        self.text = text
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return self._describe() + _format_members(self.exceptions)

    def _describe(self) -> str:
        return '{}: {}'.format(self.type_name, self.text) if self.text else self.type_name


class UnknownExceptionError(OperationError, RemoteError):
    """The called function raised an exception that cannot be made in this process, because its class exists in the
    other one alone, for example: as text, with the attributes of :exc:`RemoteError`.

    reason
        Why it could not be made here.
    """

    reason: str = ''

    def _describe(self) -> str:
        text = super()._describe()
        return '{} (as text, for it cannot be made here: {})'.format(text, self.reason) if self.reason else text


class _Budget(threading.local):
    """What the members of groups may still take in one text. A peer may send a group that contains itself."""

    chars = _MAX_MEMBERS_CHARS
    depth = 0


_budget = _Budget()


def _format_members(exceptions: tuple[BaseException, ...]) -> str:
    """Return the exceptions of a group, as tracebacks show them; those of Python before 3.11 know no groups."""
    if not exceptions:
        return ''
    if _budget.depth == 0:
        _budget.chars = _MAX_MEMBERS_CHARS
    _budget.depth += 1
    try:
        text = ''
        for number, exc in enumerate(exceptions, 1):
            if _budget.chars <= 0 or _budget.depth > _MAX_MEMBERS_DEPTH:
                return text + '\n  [{} more]'.format(len(exceptions) - number + 1)
            lines = _format_lines(exc)
            text += '\n  [{}] '.format(number) + '\n      '.join(lines)
            _budget.chars -= sum(map(len, lines)) + 10 * len(lines)
        return text
    finally:
        _budget.depth -= 1


def _format_lines(exc: BaseException) -> list[str]:
    import traceback  # not before: errors are imported first, and rarely shown

    lines = ''.join(traceback.format_exception(type(exc), exc, exc.__traceback__)).splitlines()
    notes = getattr(exc, '__notes__', None) if sys.version_info < (3, 11) else None
    return [*lines, *(line for note in notes or () for line in str(note).splitlines())]


for _obj in (OperationError, DisconnectError, ProtocolError, RemoteError, UnknownExceptionError):
    _obj.__module__ = 'across'
del _obj


def describe_error(exc: BaseException) -> str:
    """Return an exception's type and message in one line, which is safe to show on a terminal.

    What a peer put into it may be control characters, or such as change the direction of text: they are escaped.
    """
    cls = type(exc)
    name = cls.__qualname__
    if cls.__module__ not in ('builtins', '__main__'):
        name = '{}.{}'.format(cls.__module__, name)
    try:
        text = ' '.join(str(exc).splitlines())
    except Exception as error:
        text = '<its message cannot be had due to {}>'.format(type(error).__name__)
    if len(text) > _MAX_CHARS:
        text = text[:_MAX_CHARS] + '…'
    text = '{}: {}'.format(name, text) if text else name
    return text if text.isprintable() else ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
