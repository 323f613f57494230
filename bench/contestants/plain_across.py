# SPDX-License-Identifier: MIT
"""across 0.1.0 with the servers it brings: its handlers for processes, mode 'own', or for threads."""

import sys

import across

from .across_peer import AcrossContestant
from .base import split_tcp

STDIO = 'import across\nwith across.Connection.from_stdio() as conn: conn.wait()'


class Contestant(AcrossContestant):
    name = 'across 0.1.0'

    def command(self, address, mode):
        if address == 'stdio':
            return [sys.executable, '-c', STDIO]
        return super().command(address, mode)

    def serve(self, address, mode):
        from across import servers

        handler = servers.ProcessConnectionHandler() if mode == 'own' else servers.LocalConnectionHandler()
        if address.startswith('unix:'):
            servers.run_unix(address[5:], handler=handler)
        else:
            servers.run_tcp(*split_tcp(address), handler=handler)


assert across.__version__.startswith('0.1'), 'this is to be plain across'
