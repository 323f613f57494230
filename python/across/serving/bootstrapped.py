# SPDX-License-Identifier: MIT
"""What a bare Python does once it has been sent this package: it serves the connection that the package came over."""

from __future__ import annotations

import sys
from typing import Any

from .._connection import Connection
from .._errors import describe_error
from .._options import Options


class _BootstrappedConnection(Connection):
    __slots__ = ()

    _is_acceptor = True  # the other side has sent its superblock, and with it the version
    _sends_package = False  # the other side is where the package came from, and packing it takes time


def serve(how: Any) -> None:
    """Serve a connection over `('stdio',)` or `('socket', sock)`."""
    options = Options(accept_exported_modules=True)
    if how[0] == 'stdio':
        conn = _BootstrappedConnection.from_stdio(options=options)
    else:
        conn = _BootstrappedConnection.from_socket(how[1], options=options)
    try:
        conn.wait()
        conn.close()
    except Exception as error:
        sys.exit('across: the connection broke: ' + describe_error(error))
