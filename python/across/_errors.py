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


for _obj in (OperationError, DisconnectError, ProtocolError):
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
