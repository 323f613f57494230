# SPDX-License-Identifier: MIT
"""Forwarding of log records to the other end of a connection."""

from __future__ import annotations

import logging
import pickle
import threading
from typing import Any, Optional

from . import Connection, DisconnectError, OperationError, get_connection
from ._errors import describe_error

__all__ = ['AcrossHandler']

_OWN_LOGGER = 'across'
_formatter = logging.Formatter()
_PLAIN = frozenset([str, int, float, bool, type(None)])


class _Origin(threading.local):
    """The connection whose record is being handled in this thread."""

    conn: Optional[Connection] = None


_origin = _Origin()


class AcrossHandler(logging.Handler):
    """Forwards records over `conn`, to the logger of the same name in the other process.

    Without `conn` it is the connection whose call is running. Messages and exceptions are formatted here, so their
    arguments need not be picklable. Attributes that cannot be pickled arrive as their repr(); a handleError() that was
    overridden is told so. Records that cannot be delivered go to handleError() in any case. Records of this package's
    own logger stay here, and so do those that came over the same connection. When the connection has ended, records are
    dropped. A process that connects with Options(trust='data') refuses all records.
    """

    def __init__(self, conn: Optional[Connection] = None) -> None:
        super().__init__()
        self.__conn = get_connection() if conn is None else conn

    def handle(self, record: logging.LogRecord) -> Any:
        # Without the lock that a handler takes: the other process may log through this handler before emit() returns.
        result = self.filter(record)
        if result:
            self.emit(result if isinstance(result, logging.LogRecord) else record)
        return result

    def emit(self, record: logging.LogRecord) -> None:
        try:
            name = record.name
            if name == _OWN_LOGGER or name.startswith(_OWN_LOGGER + '.') or _origin.conn is self.__conn:
                return
            attrs, trouble = self.__make_attrs(record)
            self.__conn.call(_handle, attrs)
            if trouble is not None and self.__is_told_of_errors():
                raise OperationError(trouble)
        except DisconnectError:
            pass
        except Exception:
            self.handleError(record)

    def __is_told_of_errors(self) -> bool:
        # logging's own prints a traceback to standard error, too much for a record that has arrived.
        return getattr(self.handleError, '__func__', None) is not logging.Handler.handleError

    def __make_attrs(self, record: logging.LogRecord) -> tuple[dict[str, Any], Optional[str]]:
        """Return the attributes to send, and why one of them cannot be sent as it is, or None."""
        attrs = dict(record.__dict__)
        attrs['msg'] = record.getMessage()
        attrs['args'] = ()
        attrs['exc_info'] = None
        if record.exc_info and not record.exc_text:
            attrs['exc_text'] = (self.formatter or _formatter).formatException(record.exc_info)
        attrs.pop('message', None)
        attrs.pop('asctime', None)
        trouble = None
        for name, value in attrs.items():
            error = None if type(value) in _PLAIN else _try_to_pickle(value)
            if error is not None:
                attrs[name] = repr(value)
                text = 'Pickling the attribute {} of a log record failed due to {}'
                trouble = text.format(name, describe_error(error))
        return attrs, trouble


def _try_to_pickle(value: Any) -> Optional[Exception]:
    try:
        pickle.dumps(value, 4)
    except Exception as error:
        return error
    return None


def _handle(attrs: dict[str, Any]) -> None:
    """Handle a record that the other process forwards. Pickles name this function: it is part of the wire protocol."""
    record = logging.makeLogRecord(attrs)
    outer, _origin.conn = _origin.conn, get_connection()
    try:
        logging.getLogger(record.name).handle(record)
    finally:
        _origin.conn = outer
