# SPDX-License-Identifier: MIT
"""A server of plain across: plain_server.py unix:PATH | tcp:HOST:PORT | stdio."""

import sys

import across
from across.servers import LocalConnectionHandler, run_tcp, run_unix

address = sys.argv[1]
if address == 'stdio':
    with across.Connection.from_stdio() as conn:
        conn.wait()
elif address.startswith('unix:'):
    run_unix(address[5:], handler=LocalConnectionHandler())
else:
    host, _, port = address[4:].rpartition(':')
    run_tcp(host, int(port), handler=LocalConnectionHandler())
