# SPDX-License-Identifier: MIT
"""Run Python functions in other processes, on other hosts, and hold on to objects that live there.

with across.Connection.from_unix('/run/acrossd.sock') as conn:
    print(conn.call(os.getpid))
"""

from . import engines
from ._connection import Connection, get_connection
from ._errors import DisconnectError, OperationError, ProtocolError, RemoteError, UnknownExceptionError
from ._log import set_debug_level
from ._options import Options
from ._remote import _apply_ref, _export
from .channels.bios import get_bios
from .values.proxies import _SELF, Local, Proxy, _apply_method, _get_obj, _make_proxy, get_proxy_connection, same_object
from .values.snippets import _execute

__version__ = '0.2.0'

ref = Reference = Local

#: Name of the engine that runs the connections of this process.
engine = engines.name

__all__ = [
    'Connection',
    'DisconnectError',
    'Local',
    'OperationError',
    'Options',
    'ProtocolError',
    'Proxy',
    'Reference',
    'RemoteError',
    'UnknownExceptionError',
    'engine',
    'get_bios',
    'get_connection',
    'get_proxy_connection',
    'ref',
    'same_object',
    'set_debug_level',
]
