# SPDX-License-Identifier: MIT
"""The package's exceptions, and exceptions in one line."""

from __future__ import annotations

_MAX_CHARS = 1000  # of a description; what it ends up in is read by people


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

    Its cause and its context are RemoteErrors, too.
    """

    def __init__(self, type_name: str, text: str = '', remote_traceback: str = '') -> None:
        super().__init__(type_name, text, remote_traceback)
        self.type_name = type_name
        self.text = text
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return '{}: {}'.format(self.type_name, self.text) if self.text else self.type_name


for _obj in (OperationError, DisconnectError, ProtocolError, RemoteError):
    _obj.__module__ = 'across'
del _obj


def describe_error(exc: BaseException) -> str:
    """Return an exception's type and message in one line."""
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
    return '{}: {}'.format(name, text) if text else name
